"""What questions made of the documents are worth where none, 100 or 700 are labelled: on QED's paragraphs (see `qed`).

    realm sweep experiments/qed_made_sweep.py --sweep_dir runs/qed_made_sweep
    realm report --sweep runs/qed_made_sweep

Arms: made questions alone; labelled ones alone; made ones first. MiniLM's retriever stays as it is, so that all arms
read the same passages, and exact match tells of the reader. Dev questions choose the checkpoint.

Time: 400 steps take 45 minutes on one core without AVX-512.
Expected: (seed 0) exact match of dev questions 0.005 at the start, 0.150 after 300 steps of made questions. The rest is
not yet measured.
"""

from dataclasses import replace

import ablations
import qed
from ablations import change

from realm_jax.config import Config, Sweep

STEPS = 400
"""Of made questions, and again of labelled ones."""
COUNTS = {"100": 100, "all": 0}
"""Labelled questions, as `finetune.questions` has them."""


def get_base() -> Config:
    base = ablations.no_pretraining(qed.get_config())
    alone = {"path": str(qed.DATA / "documents.jsonl")}
    probe = {"checkpoint_every": 100, "probe_questions": 200, "embedder_rate": 0.0}
    return change(replace(base, evaluation=replace(base.evaluation, bm25=False)), data=alone, finetune=probe)


def get_sweep() -> Sweep:
    base = get_base()
    made = {"made_steps": STEPS}
    variants = {"made": change(base, finetune={"steps": STEPS, **made})}
    for name, count in COUNTS.items():
        labelled = change(base, finetune={"questions": count})
        variants[f"labelled-{name}"] = change(labelled, finetune={"steps": STEPS})
        variants[f"made-labelled-{name}"] = change(labelled, finetune={"steps": 2 * STEPS, **made})
    return Sweep(variants=variants, seeds=(0, 1, 2), reference="made-labelled-all")
