"""`factbook` with the reader's warm-up but without REALM: what of the gain is the warm-up's.

    realm run experiments/factbook_warm_up_only.py --data.directory runs/factbook/data

Time: minutes on two CPU cores; the data of runs/factbook are used again.
Expected: (seed 0, docs/results/factbook_warm_up_only-seed0.json) test recall@1 0.827, recall@5 0.982, exact match
0.783; `factbook` has 0.746.
"""

from dataclasses import replace

import factbook

from realm_jax.config import Config


def get_config() -> Config:
    base = factbook.get_config()
    return replace(base, name="factbook_warm_up_only", pretrain=replace(base.pretrain, steps=0))
