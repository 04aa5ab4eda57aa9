"""The claim: on kinds of question that nobody taught, REALM is ahead of the start it had, with as many steps in all.

    realm sweep experiments/factbook_transfer_sweep.py --sweep_dir runs/factbook_transfer_sweep
    realm report --sweep runs/factbook_transfer_sweep

Two comparisons, of which the first is the stricter one: every arm takes as many gradient steps in all, of which REALM's
pre-training is a part, and its last checkpoint is evaluated; or every arm is fine-tuned until the dev questions stop
rising (`..._to_the_end`), as in the paper. Settings are those of `factbook`.

Time: one seed of `reference` and `warm_up_only_equal_steps` some 70 minutes on one idle core without AVX-512. Warm-up
and pre-training of a seed are shared by its arms.
Expected: (means of seeds 0 and 1, docs/results) test questions of new kinds: recall@5 0.655 at the start, 0.794 after
pre-training, 0.852 after fine-tuning as `reference`, 0.808 as `warm_up_only_equal_steps`; exact match 0.213 and 0.179.
"""

from dataclasses import replace

import ablations
import factbook
from ablations import change

from realm_jax.config import ClosedBook, Config, Sweep

SEEDS = (0, 1, 2)
END = {"steps": 800, "checkpoint_every": 50, "probe_questions": 150, "patience": 4}


def get_base() -> Config:
    base = factbook.get_config()
    return replace(base, closed_book=ClosedBook(), evaluation=replace(base.evaluation, bm25=False))


def get_sweep() -> Sweep:
    base = get_base()
    arms = (
        ablations.warm_up_only,
        ablations.warm_up_only_equal_steps,
        ablations.no_pretraining,
        ablations.no_pretraining_equal_steps,
        ablations.realm_retriever_warmed_up_encoder,
        ablations.baseline_retriever_realm_encoder,
        ablations.refreshed_passages,
    )
    variants = {ablations.REFERENCE: base} | {arm.__name__: arm(base) for arm in arms}
    end = change(base, finetune=END)
    variants["realm_to_the_end"] = end
    for arm in (ablations.warm_up_only, ablations.no_pretraining):
        variants[f"{arm.__name__}_to_the_end"] = arm(end)
    return Sweep(variants=variants, seeds=SEEDS, reference=ablations.REFERENCE)
