"""`factbook` without REALM pre-training: the warm start is fine-tuned with the same budget. The arm to compare with.

    realm run experiments/factbook_no_pretraining.py --data.directory runs/factbook/data

Time: minutes on two CPU cores; the data of runs/factbook are used again.
Expected: (seed 0, docs/results/factbook_no_pretraining-seed0.json) test recall@1 0.794, recall@5 0.982, exact match
0.743: not below `factbook`, whose exact match is 0.731.
"""

from dataclasses import replace

import factbook

from realm_jax.config import Config


def get_config() -> Config:
    base = factbook.get_config()
    return replace(base, name="factbook_no_pretraining", pretrain=replace(base.pretrain, steps=0))
