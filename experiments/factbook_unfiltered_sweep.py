"""Unfiltered salient spans on the Factbook: recipes that keep pre-training from destroying retrieval.

    realm sweep experiments/factbook_unfiltered_sweep.py

On any salient span a short run learns to fetch the same field of other countries: utility rises and recall falls
(docs/design.md). `reference` shows that; each of the others changes one thing about it. Pre-training takes 300 steps
and never ends early; in its metrics, probe/span_recall@5 and probe/question_recall@5 at the last step count, against
those of step 0. Fine-tuning, which adds nothing to that, is left out.

Time: 25 to 30 minutes a run on one busy CPU core of two; those with a larger batch more.
Expected: (seed 0, docs/results/factbook) recall@5 of spans and questions at the start 0.28 and 0.89; after 300 steps
0.28 and 0.77 as `reference` (of an older commit), 0.37 and 0.93 as `answer_within_20`; the others have not been run.
"""

from dataclasses import replace

import ablations
import factbook_sweep
from ablations import change

from realm_jax.config import Config, Finetune, Sweep

STEPS = 300


def get_base() -> Config:
    base = change(ablations.all_salient_masks(factbook_sweep.get_base()), pretrain={"steps": STEPS, "patience": 0})
    return replace(base, finetune=Finetune(joint_length=base.finetune.joint_length, labels=base.finetune.labels))


def get_sweep() -> Sweep:
    base = get_base()
    variants = {
        ablations.REFERENCE: base,
        "hidden_label": change(base, masking={"hide_label": True}),
        # Four queries are drawn for each, so that some that count are left.
        "answer_within_20": change(base, pretrain={"answer_within": 20, "oversample": 4}),
        "lower_rate": change(base, pretrain={"embedder_rate": 0.1}),
        "larger_batch": change(base, pretrain={"batch_size": 3 * base.pretrain.batch_size}),
        "learned_salience": ablations.learned_salience(base),
        "hidden_label_answer_within_20": change(
            base, masking={"hide_label": True}, pretrain={"answer_within": 20, "oversample": 4}
        ),
    }
    return Sweep(variants=variants, seeds=(0,), reference=ablations.REFERENCE)
