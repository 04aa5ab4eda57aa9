"""Recipes of REALM for kinds of question that nobody taught: each variant changes one thing of `factbook`.

    realm sweep experiments/factbook_recipe_sweep.py --sweep_dir runs/factbook_recipe_sweep --seeds 0

To be chosen by dev questions of new kinds alone (`qa/exact_match_dev_new_kinds`, `retrieval/recall@5_dev_new_kinds`).

Time: not yet measured as a whole.
Expected: not yet measured.
"""

import ablations
import factbook_transfer_sweep
from ablations import change

from realm_jax.config import Sweep


def get_sweep() -> Sweep:
    base = factbook_transfer_sweep.get_base()
    everything = {"types": (), "min_holders": 0, "max_holders": 0}
    variants = {
        ablations.REFERENCE: base,
        # What pre-training hides and reads.
        "names_only": change(base, masking={"types": ("name",)}),
        "answer_within_20": change(base, masking=everything, pretrain={"answer_within": 20}),
        "candidates_8": ablations.candidates_8(base),
        "twice_the_queries": change(base, pretrain={"steps": 2 * base.pretrain.steps}),
        "twice_the_batch": change(base, pretrain={"batch_size": 2 * base.pretrain.batch_size}),
        # How much of the retriever fine-tuning on seen forms may unlearn.
        "embedder_kept": change(base, finetune={"embedder_rate": 0.0}),
        "embedder_slow": change(base, finetune={"embedder_rate": 0.1}),
        # REALM is undertrained when it is fine-tuned (Balachandran et al. 2021).
        "read_5": change(base, finetune={"read": 5}),
        "longer": change(base, finetune={"steps": 340}),
        "longer_embedder_slow": change(base, finetune={"steps": 340, "embedder_rate": 0.1}),
    }
    return Sweep(variants=variants, seeds=factbook_transfer_sweep.SEEDS, reference=ablations.REFERENCE)
