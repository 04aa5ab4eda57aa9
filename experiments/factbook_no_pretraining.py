"""`factbook` without any pre-training of ours: the warm start, MiniLM, is fine-tuned with the same budget.

    realm run experiments/factbook_no_pretraining.py --data.directory runs/factbook/data

Time: minutes on two CPU cores; the data of runs/factbook are used again.
Expected: (seed 0, docs/results/factbook_no_pretraining-seed0.json) test recall@1 0.832, recall@5 0.978, exact match
0.727; `factbook` has 0.746.
"""

from dataclasses import replace

import factbook

from realm_jax.config import Config


def get_config() -> Config:
    base = factbook.get_config()
    return replace(
        base,
        name="factbook_no_pretraining",
        warm_up=replace(base.warm_up, steps=0),
        pretrain=replace(base.pretrain, steps=0),
    )
