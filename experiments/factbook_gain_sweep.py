"""The worth of REALM pre-training to answers on the Factbook, by the number of labelled questions.

    realm sweep experiments/factbook_gain_sweep.py --jobs 2

Each arm starts from the same warm start: REALM; the warm start alone, fine-tuned for as many steps as REALM is; the
warm start alone, fine-tuned for as many steps as REALM's pre-training and fine-tuning have together; REALM's retriever
with the warm start's reader. With 100 labelled questions, dev exact match chooses each arm's temperature
(`finetune.score_scale`); with all 3,700, it is that of
`factbook_sweep`.

Pre-training differs from `factbook_sweep`'s: dates and numbers are hidden beside names, twice the learning rate, no
early stop. With 100 questions and seed 0, dev preferred that to names alone, at either rate (docs/results/factbook).

Time: minutes a run on one CPU core of two: 6 to 14 where pre-training is there already, 24 with it.
Expected: (100 questions, seeds 0 and 1, of a commit whose pre-training drew the sentences of the warm-up again:
docs/results/factbook) test exact match at the temperature that dev chooses:
REALM 0.479, the warm start with as many steps 0.508, REALM's retriever with the warm start's reader 0.512 (which was
run at 0.25 alone); standard errors 0.03 to 0.04.
"""

import ablations
import factbook_sweep
from ablations import change

from realm_jax.config import Config, Sweep

FEW = 100
SCALES = (0.12, 0.25)


def get_base() -> Config:
    return change(
        factbook_sweep.get_base(),
        masking={"types": ()},
        pretrain={"learning_rate": 1e-4, "patience": 0},
        # What is compared is answers; recall and utility of held-out spans are measured on fewer than by default.
        evaluation={"heldout_queries": 100, "read_queries": 32},
    )


def get_sweep() -> Sweep:
    base = get_base()
    few = change(base, finetune={"questions": FEW})
    variants = {f"warm_up_only-{FEW}": ablations.warm_up_only(few)}
    arms = {
        "realm": lambda config: config,
        "realm_retriever": ablations.realm_retriever_warmed_up_encoder,
        "equal_steps": ablations.warm_up_only_equal_steps,
    }
    for name, arm in arms.items():
        for scale in SCALES:
            variants[f"{name}-{FEW}-{scale}"] = change(arm(few), finetune={"score_scale": scale})
    variants |= {f"{name}-all": arm(base) for name, arm in arms.items()}
    return Sweep(variants=variants, seeds=factbook_sweep.SEEDS, reference=f"realm-{FEW}-{SCALES[0]}")
