"""When to say "I do not know": how often an answer is right among those of at least some probability."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from realm_jax.workdir import Workdir, write_json

POINTS = 50
"""Of a curve, at most."""
BELOW = "below"
"""The key of the threshold in `Workdir.unknown`."""


def threshold(p: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], wrong_costs: float) -> float:
    """The probability below which an answer is not worth giving: with it, right answers less `wrong_costs` times the
    wrong ones are most; of several, the lowest. 0 answers always; above all of `p`, never."""
    p, right = _descending(p, right)
    gains = np.concatenate([[0.0], np.cumsum(np.where(right, 1.0, -wrong_costs))])
    ends = np.flatnonzero(np.concatenate([[True], p[:-1] != p[1:], [True]]))  # equal ones are given or left together
    answered = ends[len(ends) - 1 - gains[ends][::-1].argmax()]
    if answered == len(p):
        return 0.0
    return float(p[answered - 1] + p[answered]) / 2 if answered else float(np.nextafter(p[0], 2))


def curve(p: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> list[list[float]]:
    """[coverage, share of wrong answers, the least probability answered], from the surest answers to all of them."""
    p, right = _descending(p, right)
    counts = np.unique(np.linspace(1, len(p), min(POINTS, len(p))).round().astype(int))
    wrong = np.cumsum(~right)[counts - 1] / counts
    return np.stack([counts / len(p), wrong, p[counts - 1]], axis=1).tolist()


def figures(p: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], below: float, suffix: str) -> dict[str, float]:
    """The share of questions that are answered, and how many of these answers are right; 0 where none is given."""
    given = p >= below
    return {
        f"qa/coverage{suffix}": float(given.mean()),
        f"qa/exact_match_answered{suffix}": float(right[given].mean()) if given.any() else 0.0,
    }


def measure(
    workdir: Workdir, of_splits: dict[str, tuple[np.ndarray, np.ndarray]], suffixes: dict[str, str], wrong_costs: float
) -> dict[str, Any]:
    """Chooses the threshold on dev, keeps it in the workdir, and gives the metrics of all splits.

    Args:
      of_splits: the probability of each answer and whether it is right; nothing is measured without dev.
    """
    workdir.unknown.unlink(missing_ok=True)
    if "dev" not in of_splits:
        return {}
    below = threshold(*of_splits["dev"], wrong_costs)
    write_json(workdir.unknown, {BELOW: below, "wrong_costs": wrong_costs})
    results: dict[str, Any] = {"qa/unknown_below": below}
    for split, answers in of_splits.items():
        results |= figures(*answers, below, suffixes[split])
    return results | {"risk_coverage": {split: curve(*answers) for split, answers in of_splits.items()}}


def _descending(p: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-p, kind="stable")
    return p[order], right[order]
