"""The worth of REALM for real questions of which 100, 300 or 700 are labelled: see `qed`, which writes the corpus.

    realm sweep experiments/qed_sweep.py --sweep_dir runs/qed_sweep
    realm report --sweep runs/qed_sweep

Arms: REALM; the reader's warm-up without REALM; the start as published. Each is fine-tuned until dev questions stop
rising.

Time: not yet measured as a whole.
Expected: not yet measured.
"""

from dataclasses import replace

import ablations
import factbook_transfer_sweep
import qed
from ablations import change

from realm_jax.config import Config, Sweep

COUNTS = (100, 300)


def get_base() -> Config:
    base = qed.get_config()
    return change(replace(base, evaluation=replace(base.evaluation, bm25=False)), finetune=factbook_transfer_sweep.END)


def get_sweep() -> Sweep:
    base = get_base()
    variants = {ablations.REFERENCE: base}
    arms = (ablations.warm_up_only, ablations.no_pretraining)
    variants |= {arm.__name__: arm(base) for arm in arms}
    for count in COUNTS:
        few = change(base, finetune={"questions": count})
        variants |= {f"realm-{count}": few} | {f"{arm.__name__}-{count}": arm(few) for arm in arms}
    return Sweep(variants=variants, seeds=factbook_transfer_sweep.SEEDS, reference=ablations.REFERENCE)
