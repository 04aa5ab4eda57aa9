"""The ablation table of `factbook`: every ablation of ablations.py, with three seeds each.

    realm sweep experiments/factbook_sweep.py --sweep_dir runs/factbook_sweep
    realm report --sweep runs/factbook_sweep

The closed-book rival and BM25, which no ablation changes, are left out; `factbook` itself measures them.

Time: estimated from the stages of `factbook` on two idle CPU cores: 8 to 15 minutes a run of its own, 3 to 6 where
pre-training is shared.
Expected: not measured yet.
"""

from dataclasses import replace

import ablations
import factbook

from realm_jax.config import ClosedBook, Config, Sweep

SEEDS = (0, 1, 2)


def get_base() -> Config:
    base = factbook.get_config()
    return replace(base, closed_book=ClosedBook(), evaluation=replace(base.evaluation, bm25=False))


def get_sweep() -> Sweep:
    return Sweep(variants=ablations.variants(get_base()), seeds=SEEDS, reference=ablations.REFERENCE)
