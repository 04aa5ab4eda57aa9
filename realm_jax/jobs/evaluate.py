"""Measure retrieval and question answering, before and after training.

Reads the checkpoints of all stages, writes <workdir>/evaluation/results.json: recall, utility and p(null) on held-out
spans, recall and exact match on test questions, and the same for BM25 and the closed-book rival.
"""

from typing import Any

from realm_jax.config import Config
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Any = None) -> None:
    from realm_jax.evaluation.evaluate import evaluate

    evaluate(config, workdir)
