"""Runs that another machine's report of the same sweep tells of: a table goes on where the folders of its runs are
not."""

import contextlib
import csv
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from realm_jax.errors import UserError
from realm_jax.reports.run_record import Record
from realm_jax.reports.sweep_record import COMPARED, ELSEWHERE, FINISHED, Asked, RunRecord, Scores, SweepRecord

RUNS_CSV = "runs.csv"
SCORES_CSV = dict(
    zip(COMPARED, ("scores.csv", "scores_new_kinds.csv", "recalls.csv", "recalls_new_kinds.csv"), strict=True)
)
"""Files of a report: a line for each run, and, of each metric, one for each question (reports/sweep_tables.py)."""
COUNTS = "counts/"
"""Before the columns that say how many questions were asked."""
ROUNDING = 1e-4
Key = tuple[str, str]
"""A variant and a seed, as they are written."""


@dataclasses.dataclass(frozen=True)
class RunElsewhere(RunRecord):
    """A run as a report tells of it; its workdir is that of the sweep here, where it has not finished."""

    report: Path
    figures: dict[str, str]
    """Its line of runs.csv, without empty cells."""
    told: dict[str, Scores]
    """Of the metrics that the report has scores of."""

    @functools.cached_property
    def state(self) -> str:
        return ELSEWHERE

    @functools.cached_property
    def scores(self) -> dict[str, Scores]:
        return self.told

    @functools.cached_property
    def record(self) -> Record:
        """Its figures, no more."""
        results = {name: _value(text) for name, text in self.figures.items()}
        counts = {name.removeprefix(COUNTS): value for name, value in results.items() if name.startswith(COUNTS)}
        counts |= {COMPARED[metric]: len(asked) for metric, (asked, _) in self.told.items()}
        return Record(self.config, results | {"counts": counts}, {}, {}, [], "", self.figures.get("machine", ""))

    @functools.cached_property
    def checkpoint(self) -> tuple[int, int] | None:
        places = [self.record.number(f"pretrain/{name}") for name in ("checkpoint", "last_step")]
        return None if None in places else tuple(map(int, places))


def with_reports(sweep: SweepRecord, reports: Sequence[Path]) -> SweepRecord:
    """The sweep, with the reports' figures of its runs that have not finished here; of a run that several tell of, the
    first that has its scores counts, or else the first.

    Raises:
      UserError: a folder is no report or none of this sweep, a file in it is damaged, or a run had other settings.
    """
    runs = {(run.variant, str(run.seed)): run for run in sweep.runs}
    found: dict[Key, RunElsewhere] = {}
    for report in reports:
        told, scores = _runs(report / RUNS_CSV), {metric: _scores(report / name) for metric, name in SCORES_CSV.items()}
        if not runs.keys() & told.keys():
            raise UserError(f"--beside: {report} tells of no finished run of this sweep's variants and seeds")
        for key in runs.keys() & told.keys():
            here, figures = runs[key], told[key]
            answers = {metric: of[key] for metric, of in scores.items() if key in of}
            if figures.get("settings", here.settings) != here.settings:
                raise UserError(
                    f"{report / RUNS_CSV}: {here.variant} with seed {here.seed} had other settings there than in this "
                    "sweep; leave this report out of --beside, or give the variant another name"
                )
            _check_scores(report, key, figures, answers)
            if key not in found or (answers and not found[key].told):
                found[key] = RunElsewhere(here.variant, here.seed, here.config, here.workdir, report, figures, answers)
    return dataclasses.replace(
        sweep, runs=[run if run.state == "done" else found.get(key, run) for key, run in runs.items()]
    )


def _check_scores(report: Path, key: Key, figures: dict[str, str], answers: dict[str, Scores]) -> None:
    """Of a file that was cut, or of columns that were mixed up, intervals would be wrong."""
    for metric, (asked, scores) in answers.items():
        if metric not in figures:
            continue
        right, count = float(scores.mean()), figures.get(f"{COUNTS}{COMPARED[metric]}", str(len(asked)))
        if abs(right - float(figures[metric])) > ROUNDING or count != str(len(asked)):
            raise UserError(
                f"{report / SCORES_CSV[metric]}: {'/'.join(key)} has {len(asked)} questions of which {right:.4f} are "
                f"right; {RUNS_CSV} says {count} and {figures[metric]}: one of the files is not what the report wrote"
            )


def _runs(path: Path) -> dict[Key, dict[str, str]]:
    """The finished runs of a runs.csv."""
    if not path.exists():
        inner = path.parent / "report"
        near = f"; did you mean {inner}?" if (inner / path.name).exists() else ""
        raise UserError(
            f"--beside: {path.parent} has no {path.name}; name a folder that `realm report --sweep` wrote{near}"
        )
    columns, lines = _read(path)
    if missing := {"variant", "seed", "state"} - set(columns):
        raise UserError(f"{path}: no column {min(missing)!r}; this is not what `realm report --sweep` wrote")
    found: dict[Key, dict[str, str]] = {}
    for number, line in lines:
        figures = {name: text for name, text in zip(columns, line, strict=True) if text}
        key = figures.get("variant", ""), figures.get("seed", "")
        if figures.get("state") not in FINISHED:
            continue
        if key in found:
            raise UserError(f"{path}:{number}: {key[0]} with seed {key[1]} is there already; take one line out")
        for name, text in figures.items():
            value = _value(text)
            if name in COMPARED and not (isinstance(value, int | float) and 0 <= value <= 1):
                raise UserError(f"{path}:{number}: {name} is {text!r}; it must be a number between 0 and 1")
            if name.startswith(COUNTS) and not (isinstance(value, int) and value >= 0):
                raise UserError(f"{path}:{number}: {name} is {text!r}; it must be a number of questions")
        found[key] = figures
    return found


def _scores(path: Path) -> dict[Key, Scores]:
    """The columns of a scores.csv; none where there is no such file, as in reports of before it."""
    if not path.exists():
        return {}
    columns, lines = _read(path)
    if tuple(columns[:3]) != Asked._fields:
        raise UserError(f"{path}: the first columns must be {', '.join(Asked._fields)}")
    found = {}
    for place, column in enumerate(columns[3:], 3):
        for number, line in lines:
            if line[place] not in ("", "0", "1"):
                raise UserError(f"{path}:{number}: {column} is {line[place]!r}; it must be 0, 1 or empty")
        answered = [line for _, line in lines if line[place]]
        variant, _, seed = column.rpartition("/")
        if answered:
            scores = np.array([float(line[place]) for line in answered])
            found[variant, seed] = [Asked(*line[:3]) for line in answered], scores
    return found


def _read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Columns, and lines with their numbers; additions of a spreadsheet (a mark at the front, empty lines) are left
    out."""
    with _said(path), open(path, newline="", encoding="utf-8-sig") as file:
        lines = [(number, line) for number, line in enumerate(csv.reader(file), 1) if line]
    if not lines:
        raise UserError(f"{path}: is empty; a report has a line of names there")
    (_, columns), *lines = lines
    if len(set(columns)) < len(columns):
        raise UserError(f"{path}: two columns of one name; this is not what `realm report --sweep` wrote")
    for number, line in lines:
        if len(line) != len(columns):
            raise UserError(f"{path}:{number}: {len(line)} fields; the first line names {len(columns)}")
    return columns, lines


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV file in UTF-8 ({error})") from None


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            if math.isfinite(value := kind(text)):
                return value
    return text
