"""The record of a sweep in its folder: its runs, finished or not, and their answers question by question."""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from realm_jax.config import Config, Sweep, decisive
from realm_jax.errors import UserError
from realm_jax.evaluation.bootstrap import Difference, paired_difference
from realm_jax.evaluation.recall import SUFFIXES, TEST_SPLITS, ranks_file
from realm_jax.locks import owner
from realm_jax.qa.answers import exact_match
from realm_jax.qa.predictions import read_predictions
from realm_jax.qa.questions import Question, load_questions, prepared_set
from realm_jax.reports.run_record import Record, read_record
from realm_jax.runtime import costs
from realm_jax.settings import changes, from_dict
from realm_jax.workdir import SweepDir, Workdir, read_json


class Asked(NamedTuple):
    """A test question: a digest that tells whether two runs were asked the same, and its subject."""

    id: str
    subject: str
    digest: str


Scores = tuple[list[Asked], np.ndarray]
"""Questions, and the exact match of each."""
EXACT_MATCH, RECALL_AT = "qa/exact_match", 5
COMPARED = {
    f"{metric}{SUFFIXES[split]}": split
    for metric in (EXACT_MATCH, f"retrieval/recall@{RECALL_AT}")
    for split in TEST_SPLITS
}
"""{metric that arms are compared in question by question: the split}."""
ELSEWHERE = "elsewhere"
"""State of a run that has not finished here, but that another report tells of (reports/sweep_elsewhere.py)."""
FINISHED = ("done", ELSEWHERE)


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One variant with one seed."""

    variant: str
    seed: int
    config: Config
    workdir: Workdir

    @functools.cached_property
    def state(self) -> str:
        """`done`, `running`, `failed` or `not finished`; of runs elsewhere, ELSEWHERE."""
        if self.workdir.is_finished:
            return "done"
        if owner(self.workdir.root, "run") is not None:
            return "running"
        return "failed" if self.workdir.failed_job else "not finished"

    @functools.cached_property
    def record(self) -> Record:
        return read_record(self.config, self.workdir)

    @functools.cached_property
    def checkpoint(self) -> tuple[int, int] | None:
        """The step of pre-training whose parameters went on, and the last step taken; None where nothing tells."""
        stage = self.workdir.stage("pretrain")
        done = next((read_json(path, step=int) for path in (stage.done, stage.forgotten) if path.exists()), {})
        return (done["step"], done["last_step"]) if self.config.pretrain.steps and "last_step" in done else None

    @functools.cached_property
    def settings(self) -> str:
        """A digest of the options that make a variant."""
        unplaced = dataclasses.replace(self.config.data, directory="")
        return _digest(decisive(dataclasses.replace(self.config, name="", seed=0, data=unplaced)))

    @functools.cached_property
    def data(self) -> Path:
        """The folder of the prepared data, not the link by which the run has it."""
        return costs.folder_of((self.config, self.workdir), "prepare")

    @functools.cached_property
    def scores(self) -> dict[str, Scores]:
        """{metric: test questions, and 0 or 1 for each}, of those in `COMPARED` that were measured."""
        found = {metric: self._score(metric, split) for metric, split in COMPARED.items() if self.state == "done"}
        return {metric: scores for metric, scores in found.items() if scores is not None}

    def _score(self, metric: str, split: str) -> Scores | None:
        said, ranks = self.workdir.evaluation / f"predictions_{split}.jsonl", ranks_file(self.workdir)
        is_recall = metric.startswith("retrieval/")
        if not (ranks if is_recall else said).exists() or not said.exists():
            return None
        data, match = self.workdir.data(self.config.data.directory), self.config.questions.match
        questions = _questions(prepared_set(self.config.questions, data).resolve(), split)
        if is_recall:
            scores = [0 < rank <= RECALL_AT for rank in read_json(ranks, **{split: list[int]})[split]]
        else:
            pairs = zip(read_predictions(said, questions), questions, strict=True)
            scores = [text is not None and exact_match(text, q.answers, match) for text, q in pairs]
        asked = [Asked(one.id, one.subject, _digest(dataclasses.asdict(one))) for one in questions]
        return asked, np.array(scores, float)


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


@functools.lru_cache
def _questions(folder: Path, split: str) -> list[Question]:
    return load_questions(folder, split)


@dataclasses.dataclass(frozen=True)
class SweepRecord:
    """All runs of a sweep; `runs` has the reference's first."""

    name: str
    reference: str
    runs: list[RunRecord]

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(run.variant for run in self.runs))

    def of(self, variant: str, *states: str) -> list[RunRecord]:
        """The runs of a variant in any of these states; without any, the finished ones, here and elsewhere."""
        return [run for run in self.runs if run.variant == variant and run.state in (states or FINISHED)]

    def numbers(self, variant: str, metric: str) -> list[float]:
        """A metric of the variant's finished runs that have it."""
        return [value for run in self.of(variant) if (value := run.record.number(metric)) is not None]

    @functools.cached_property
    def seconds(self) -> dict[costs.Made, list[float]]:
        return costs.seconds((run.config, run.workdir) for run in self.runs)

    def cost(self, run: RunRecord) -> dict[str, float]:
        """{job: seconds} of a run, shared stages included."""
        return costs.of_run((run.config, run.workdir), self.seconds)

    def jobs_without_cost(self, run: RunRecord) -> list[str]:
        """Jobs of which a run has the result, but nobody the time, as another sweep or machine did them."""
        return costs.unknown((run.config, run.workdir), self.seconds)

    def changes(self, variant: str) -> dict[str, tuple[Any, Any]]:
        """{option: (the reference's, the variant's)} where they differ, name and seed aside."""
        theirs, ours = (
            next(run.config for run in self.runs if run.variant == name) for name in (self.reference, variant)
        )
        return {name: values for name, values in changes(theirs, ours).items() if name not in ("name", "seed")}

    @functools.cached_property
    def on_other_data(self) -> list[RunRecord]:
        """Finished runs of the reference's settings of data, but of other data: files have changed meanwhile."""
        done = [run for run in self.runs if run.state == "done"]
        first = next((run for run in done if run.variant == self.reference), None)
        same = [run for run in done if first and run.config.data == first.config.data]
        return [run for run in same if run.data != first.data]

    def asked(self, variants: Sequence[str], split: str) -> list[int]:
        """How many questions of a split the finished runs of these variants answered: one number, if all were asked the
        same."""
        metric = f"qa/exact_match{SUFFIXES[split]}"
        answered = [run for name in variants for run in self.of(name) if run.record.number(metric) is not None]
        return sorted({count for run in answered if (count := run.record.results.get("counts", {}).get(split))})

    def pairs(self, variant: str, other: str, metric: str = EXACT_MATCH) -> list[tuple[RunRecord, RunRecord]]:
        """The runs of two variants with the seeds that both have; none where they answered other questions."""
        ours, theirs = ({run.seed: run for run in self.of(name) if metric in run.scores} for name in (variant, other))
        pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
        return [] if any(one.scores[metric][0] != two.scores[metric][0] for one, two in pairs) else pairs

    def difference(self, variant: str, other: str, metric: str = EXACT_MATCH) -> Difference | None:
        """Of a metric in `COMPARED`, over the seeds of `pairs`; None where there are none."""
        if not (pairs := self.pairs(variant, other, metric)):
            return None
        groups = [question.subject or question.id for question in pairs[0][0].scores[metric][0]]
        scores = (np.stack([run.scores[metric][1] for run in runs]) for runs in zip(*pairs, strict=True))
        return paired_difference(*scores, groups)


def matched(arms: dict[str, list[RunRecord]]) -> dict[str, list[RunRecord]]:
    """Of the variants that have runs, those with the seeds that all of them have."""
    arms = {name: runs for name, runs in arms.items() if runs}
    seeds = set.intersection(*({run.seed for run in runs} for runs in arms.values())) if arms else set()
    return {name: [run for run in runs if run.seed in seeds] for name, runs in arms.items()}


def read_sweep(root: Path) -> SweepRecord:
    """Raises UserError where the folder is not a sweep's."""
    folder = SweepDir(root)
    sweep = read_settings(folder)
    names = sorted(sweep.variants, key=lambda name: name != sweep.reference)
    runs = [
        RunRecord(name, seed, _settings(workdir := folder.run(name, seed)) or sweep.run(name, seed), workdir)
        for name in names
        for seed in sweep.seeds
    ]
    return SweepRecord(root.resolve().name, sweep.reference, runs)


def read_settings(folder: SweepDir) -> Sweep:
    """A sweep as its folder has it: the record of each variant's first run there.

    Raises:
      UserError: the folder is not a sweep's, or has no run of a variant.
    """
    folder.check_local()
    if not folder.root.is_dir():
        raise UserError(f"{folder.root}: no such folder; name that of `realm sweep`")
    if not folder.manifest.exists():
        raise UserError(
            f"{folder.root}: a folder without {folder.manifest.name} is no sweep; name that of `realm sweep`"
        )
    found = read_manifest(folder)
    variants = {}
    for name in found["variants"]:
        recorded = filter(None, (_settings(folder.run(name, seed)) for seed in found["seeds"]))
        if (config := next(recorded, None)) is None:
            raise UserError(
                f"{folder.root / 'runs' / name}: no run of this variant is there any more; begin it again from the "
                f"experiment file: `realm sweep FILE --sweep_dir {folder.root}`"
            )
        variants[name] = config
    return Sweep(variants, tuple(found["seeds"]), found["reference"])


def read_manifest(folder: SweepDir) -> dict[str, Any]:
    """Raises UserError if `realm sweep` did not write the file."""
    found = None
    with contextlib.suppress(UserError):
        found = read_json(folder.manifest)
    match found:
        case {"reference": reference, "variants": [*variants], "seeds": [*seeds]}:
            typed = all(isinstance(name, str) for name in variants) and all(isinstance(seed, int) for seed in seeds)
            if typed and seeds and reference in variants:
                return found
    raise UserError(
        f"{folder.manifest}: not the file of a sweep, with its reference, variants and seeds; name another folder, or, "
        f"if it is damaged, delete it and give `realm sweep FILE --sweep_dir {folder.root}`"
    )


def _settings(workdir: Workdir) -> Config | None:
    """The record of a run, if any."""
    if not workdir.config.exists():
        return None
    values = read_json(workdir.config)
    if not (isinstance(values, dict) and isinstance(values.get("config"), dict)):
        raise UserError(f"{workdir.config}: not the settings of a run; delete the file and begin the sweep again")
    try:
        return from_dict(values["config"], Config)
    except UserError as error:
        raise UserError(f"{workdir.config}: {error}") from None
