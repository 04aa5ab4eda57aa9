"""Runs that another machine's report of the same sweep tells of: a table goes on where the folders of its runs are
not."""

import contextlib
import csv
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from realm_jax.errors import UserError
from realm_jax.evaluation.record import Record
from realm_jax.evaluation.sweep_record import ELSEWHERE, Asked, RunRecord, SweepRecord

RUNS_CSV, SCORES_CSV = "runs.csv", "scores.csv"
"""Files of a report: a line for each run, and one for each test question (evaluation/sweep_tables.py)."""
COUNTS = "counts/"
"""Before the columns that say how many questions were asked."""
Key = tuple[str, str]
"""A variant and a seed, as they are written."""
Scores = tuple[list[Asked], np.ndarray]
"""Questions, and the exact match of each."""


@dataclasses.dataclass(frozen=True)
class RunElsewhere(RunRecord):
    """A run as a report tells of it; its workdir is that of the sweep here, where it has not finished."""

    report: Path
    figures: dict[str, str]
    """Its line of runs.csv, what is empty left out."""
    answers: Scores | None
    """None where the report has no scores of it."""

    @functools.cached_property
    def state(self) -> str:
        return ELSEWHERE

    @functools.cached_property
    def record(self) -> Record:
        """Its figures, no more."""
        results = {name: _value(text) for name, text in self.figures.items()}
        counts = {name.removeprefix(COUNTS): value for name, value in results.items() if name.startswith(COUNTS)}
        return Record(self.config, results | {"counts": counts}, {}, {}, [], "", "")

    @functools.cached_property
    def checkpoint(self) -> tuple[int, int] | None:
        places = [self.record.number(f"pretrain/{name}") for name in ("checkpoint", "last_step")]
        return None if None in places else tuple(map(int, places))

    @functools.cached_property
    def asked(self) -> list[Asked]:
        return self.answers[0]

    @functools.cached_property
    def scores(self) -> np.ndarray | None:
        return self.answers and self.answers[1]


def with_reports(sweep: SweepRecord, reports: Sequence[Path]) -> SweepRecord:
    """The sweep, with what the reports tell of its runs that have not finished here; of a run that several tell of,
    what the first of them says.

    Raises:
      UserError: a folder is no report, a file in it is damaged, or a run had other settings than here.
    """
    found: dict[Key, tuple[Path, dict[str, str], Scores | None]] = {}
    for report in reports:
        scores = _scores(report / SCORES_CSV)
        for key, figures in _runs(report / RUNS_CSV).items():
            found.setdefault(key, (report, figures, scores.get(key)))

    def told(run: RunRecord) -> RunRecord:
        key = (run.variant, str(run.seed))
        if run.state == "done" or key not in found:
            return run
        report, figures, answers = found[key]
        if figures.get("settings", run.settings) != run.settings:
            raise UserError(
                f"{report / RUNS_CSV}: {run.variant} with seed {run.seed} had other settings there than in this sweep; "
                "leave this report out of --beside, or give the variant another name"
            )
        return RunElsewhere(run.variant, run.seed, run.config, run.workdir, report, figures, answers)

    return dataclasses.replace(sweep, runs=[told(run) for run in sweep.runs])


def _runs(path: Path) -> dict[Key, dict[str, str]]:
    """The finished runs of a runs.csv."""
    if not path.exists():
        raise UserError(f"--beside: {path.parent} has no {path.name}; name a folder that `realm report --sweep` wrote")
    columns, lines = _read(path)
    if missing := {"variant", "seed", "state"} - set(columns):
        raise UserError(f"{path}: no column {min(missing)!r}; this is not what `realm report --sweep` wrote")
    named = [dict(zip(columns, line, strict=True)) for line in lines]
    return {
        (line["variant"], line["seed"]): {name: text for name, text in line.items() if text}
        for line in named
        if line["state"] in ("done", ELSEWHERE)
    }


def _scores(path: Path) -> dict[Key, Scores]:
    """The columns of a scores.csv; none where there is no such file, as in reports of before it."""
    if not path.exists():
        return {}
    columns, lines = _read(path)
    if tuple(columns[:3]) != Asked._fields:
        raise UserError(f"{path}: the first columns must be {', '.join(Asked._fields)}")
    found = {}
    for place, column in enumerate(columns[3:], 3):
        answered = [line for line in lines if line[place]]
        for number, line in enumerate(lines, 2):
            if line[place] not in ("", "0", "1"):
                raise UserError(f"{path}:{number}: {column} is {line[place]!r}; it must be 0, 1 or empty")
        variant, _, seed = column.rpartition("/")
        scores = np.array([float(line[place]) for line in answered])
        found[variant, seed] = [Asked(*line[:3]) for line in answered], scores
    return found


def _read(path: Path) -> tuple[list[str], list[list[str]]]:
    """Columns and lines."""
    with open(path, newline="", encoding="utf-8") as file:
        columns, *lines = list(csv.reader(file)) or [[]]
    for number, line in enumerate(lines, 2):
        if len(line) != len(columns):
            raise UserError(f"{path}:{number}: {len(line)} fields; the first line names {len(columns)}")
    return columns, lines


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
