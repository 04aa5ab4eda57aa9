"""What REALM pre-training is worth to answering on the Factbook, at equal steps and with each arm's own temperature.

    realm sweep experiments/factbook_gain_sweep.py

Three arms, each fine-tuned with three temperatures (`finetune.score_scale`), of which dev exact match chooses one for
each arm: REALM; the reader's warm-up alone; the published weights. The last two take in fine-tuning the steps that the
first takes before it.

Time: estimated from `factbook` on two idle CPU cores: 6 to 15 minutes a run; what comes before fine-tuning is shared.
Expected: not measured yet.
"""

import ablations
import factbook_sweep
from ablations import change

from realm_jax.config import Sweep

SCALES = (0.06, 0.12, 0.25)


def get_sweep() -> Sweep:
    base = factbook_sweep.get_base()
    arms = {
        "realm": base,
        "warm_up_only": ablations.warm_up_only_equal_steps(base),
        "no_pretraining": ablations.no_pretraining_equal_steps(base),
    }
    variants = {
        f"{name}-{scale}": change(config, finetune={"score_scale": scale})
        for name, config in arms.items()
        for scale in SCALES
    }
    return Sweep(variants=variants, seeds=factbook_sweep.SEEDS, reference=f"realm-{base.finetune.score_scale}")
