"""How sure a difference between two arms is, that answered the same questions after training with the same seeds."""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

SAMPLES = 10_000


@dataclasses.dataclass(frozen=True)
class Difference:
    """Mean of one arm less that of the other, and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(
    one: Float[np.ndarray, "seeds questions"],
    other: Float[np.ndarray, "seeds questions"],
    groups: Sequence[Hashable],
    samples: int = SAMPLES,
) -> Difference:
    """Paired bootstrap of the mean of `one - other` (percentile interval).

    Both arms have the score of each question after training with each seed. A sample draws groups of questions with
    replacement, and, independently, as many seeds as there are with replacement; both arms get the same draw, and the
    figure is the mean over all drawn questions and seeds. So the interval tells of other questions and of other
    seeds at once. Of few seeds (3) it is somewhat too short: it knows no more than they show; of one seed it
    tells of questions alone.

    Args:
      groups: the subject of each question, such as its country, whose questions are right or wrong together; questions
        of a group are drawn together. Distinct values make each question a group.
    """
    difference = np.asarray(one, float) - np.asarray(other, float)
    _, group_of = np.unique(np.asarray([str(group) for group in groups]), return_inverse=True)
    count = int(group_of.max()) + 1
    sizes = np.bincount(group_of, minlength=count)
    sums = np.stack([np.bincount(group_of, weights=row, minlength=count) for row in difference])
    draw, seeds = np.random.default_rng(0), len(difference)
    group_draws = draw.multinomial(count, np.full(count, 1 / count), samples)
    seed_draws = draw.multinomial(seeds, np.full(seeds, 1 / seeds), samples)
    means = ((seed_draws @ sums) * group_draws).sum(1) / (seeds * (group_draws @ sizes))
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(float(difference.mean()), float(low), float(high))


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean over seeds, and its standard error; None for the error of a single one."""
    values = np.asarray(values, float)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return float(values.mean()), error
