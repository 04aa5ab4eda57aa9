"""The ablation table: every ablation of ablations.py with three seeds each, on kinds of question that are all taught.

    realm sweep experiments/factbook_sweep.py --sweep_dir runs/factbook_sweep
    realm report --sweep runs/factbook_sweep

Settings are those that `factbook` had when the table was made: its questions are split by country alone, and
pre-training hides names alone. `factbook_transfer_sweep` has new kinds.

The closed-book baseline and BM25, which no ablation changes, are left out; `factbook` itself measures them.

A part of it: `--seeds 0 --variants reference no_pretraining`.

Time: on one CPU core (`--jobs 2` on two), 15 minutes for a run with a pre-training of its own (20 with 8
candidates), 5 where that is shared, and 3 for each seed's warm-up; so some 8 hours for all on two cores of an
AMD EPYC with AVX-512, three times as long without.
Expected: (three seeds, docs/results/factbook) test exact match of REALM 0.772, of `no_pretraining` 0.727, of
`warm_up_only` 0.786; recall@5 of test questions before fine-tuning 0.812, without pre-training 0.682.
"""

from dataclasses import replace

import ablations
import factbook
from ablations import change

from realm_jax.config import ClosedBook, Config, Sweep

SEEDS = (0, 1, 2)


def get_base() -> Config:
    base = change(
        factbook.get_config(),
        questions={"by_kind": False},
        masking={"types": ("name",)},
        pretrain={"learning_rate": 5e-5, "patience": 2},
    )
    return replace(base, closed_book=ClosedBook(), evaluation=replace(base.evaluation, bm25=False))


def get_sweep() -> Sweep:
    return Sweep(variants=ablations.variants(get_base()), seeds=SEEDS, reference=ablations.REFERENCE)
