"""The record of a run in its workdir; parts that were not run are missing. Reports, tables and sweeps read this."""

import contextlib
import dataclasses
import datetime
import math
from typing import Any

from realm_jax.config import Config
from realm_jax.remote import AnyPath, is_remote
from realm_jax.stages import STAGES
from realm_jax.training.metrics import read_metrics
from realm_jax.workdir import Workdir, read_known, read_usage

SUMMARY_KEYS = (
    "seed",
    "config",
    "retrieval/utility_start",
    "retrieval/utility",
    "retrieval/p_null_start",
    "retrieval/p_null",
    "retrieval/span_recall@5_start",
    "retrieval/span_recall@5",
    "retrieval/unfiltered_span_recall@5_start",
    "retrieval/unfiltered_span_recall@5",
    "retrieval/recall@5_start",
    "retrieval/recall@5_zero_shot",
    "retrieval/recall@5",
    "bm25/recall@5",
    "qa/exact_match",
    "qa/exact_match_closed_book",
    "qa/f1",
    "index/snapshots_used",
    "index/max_staleness_steps",
    "index/recall",
    "time/minutes",
    "memory/peak_gib",
)
RESULTS = {
    "counts": dict[str, int],
    "risk_coverage": dict[str, list[tuple[float, float, float]]],
    "qa/labels": str,
    "qa/match": str,
    "examples": [{"answers": list[str], "before": [{}], "after": [{}]}],
    "readings": [{"text": str, "truth": str, "null": float, "best": float, "marginal": float, "p_z": float}],
}
"""Types of what the results may have; figures are looked at one by one."""
MANIFEST = {"step": int, "seconds": dict[str, float] | float, "recall": float | None}


@dataclasses.dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
      results: evaluation/results.json.
      run: run.json: minutes, memory, seconds per stage.
      metrics: {stage: lines of its metrics file}, for the stages that have any, in the order of the experiment.
      snapshots: manifests of the snapshots still on disk, by step.
    """

    config: Config
    results: dict[str, Any]
    run: dict[str, Any]
    metrics: dict[str, list[dict[str, Any]]]
    snapshots: list[dict[str, Any]]
    date: str
    machine: str
    """"" where the jobs were started by hand: nobody recorded it."""

    def series(self, stage: str, name: str) -> tuple[list[int], list[float]]:
        """Steps and values of one metric, where it was written and finite."""
        points = [
            (line["step"], float(line[name])) for line in self.metrics.get(stage, ()) if _is_finite(line.get(name))
        ]
        return [step for step, _ in points], [value for _, value in points]

    def swaps(self) -> list[int]:
        """Steps of pre-training at which a snapshot newer than the first was swapped in."""
        steps, snapshots = self.series("pretrain", "index/snapshot")
        return [step for step, old, new in zip(steps[1:], snapshots, snapshots[1:], strict=False) if new != old]

    def number(self, name: str) -> float | None:
        """A figure of the results or of run.json; None where it was not measured or is not finite."""
        value = self.results.get(name, self.run.get(name))
        return float(value) if _is_finite(value) else None


def read_record(config: Config, workdir: Workdir) -> Record:
    """Raises UserError for a file that is no JSON object."""
    results_file, run_file = workdir.results, workdir.usage
    run = read_usage(run_file)
    metrics = {stage: lines for stage in STAGES if (lines := read_metrics(workdir.stage(stage).metrics))}
    manifests = [read_known(path, MANIFEST) for path in workdir.stage("pretrain").snapshots.glob("[!.]*/manifest.json")]
    return Record(
        config=config,
        results=read_known(results_file, RESULTS),
        run=run,
        metrics=metrics,
        snapshots=sorted((m for m in manifests if "step" in m), key=lambda m: m["step"]),
        date=f"{_date(run, results_file, run_file, workdir.config):%-d %B %Y}",
        machine=str(run.get("machine") or ""),
    )


def summary(record: Record) -> dict[str, Any]:
    """Every scalar that the run produced; `SUMMARY_KEYS` are always there, null where not run or not finite."""
    found = {
        name: value for name, value in {**record.run, **record.results}.items() if not isinstance(value, list | dict)
    }
    found = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in found.items()
    }
    known = {"seed": record.config.seed, "config": record.config.name}
    return dict.fromkeys(SUMMARY_KEYS) | known | found


def _date(run: dict[str, Any], *paths: AnyPath) -> datetime.date:
    """Of the last work, or where the jobs were started by hand, of the last change of a file."""
    with contextlib.suppress(KeyError, ValueError):  # a date that is none tells nothing
        return datetime.date.fromisoformat(run["date"])
    times = [path.stat().mtime if is_remote(path) else path.stat().st_mtime for path in paths if path.exists()]
    return datetime.date.fromtimestamp(max(times)) if times else datetime.date.today()


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
