"""Measure retrieval and question answering, before and after training.

Reads the checkpoints of all stages and writes <workdir>/evaluation/results.json: recall, utility and p(null) on
held-out spans, recall and exact match on test questions, and the same for BM25 and the closed-book baseline. With
--predictions you get the scores of a file of answers from elsewhere instead; it needs prepared questions only.

    realm evaluate runs/factbook --predictions answers.jsonl
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from realm_jax.config import QUESTION_SPLITS, Config
from realm_jax.jobs.job import Job
from realm_jax.workdir import Workdir


@dataclass(frozen=True)
class Arguments:
    """Arguments of `evaluate`."""

    predictions: str = ""
    """A file of answers to score: JSON lines with `question` and `prediction`, or another official form
    (docs/questions.md)."""
    split: Literal[*QUESTION_SPLITS] = "test"
    """The questions that --predictions answers."""


def main(config: Config, workdir: Workdir, arguments: Arguments) -> None:
    from realm_jax.evaluation.evaluate import evaluate, evaluate_file

    if arguments.predictions:
        evaluate_file(config, workdir, Path(arguments.predictions), arguments.split)
    else:
        evaluate(config, workdir)


JOB = Job("evaluate", __doc__, main, Arguments, begins=False)
