"""The paper's tables 1 and 2 at the paper's size: ORQA and REALM on three sets of questions, and all ablations on NQ.

    realm sweep experiments/wikipedia_sweep.py --print

Time: not known as a whole; of `wikipedia`, computed, 38 hours on 64 chips for each pre-training of its own.
Expected: the paper's numbers, which stand in ablations.py, and in `orqa`, `webquestions` and `curatedtrec`; ORQA on
WebQuestions 36.4, on CuratedTREC 30.1 (table 1).
"""

import ablations
import curatedtrec
import webquestions
import wikipedia

from realm_jax.config import Sweep


def get_sweep() -> Sweep:
    variants = ablations.variants(wikipedia.get_config())
    for module in (webquestions, curatedtrec):
        config = module.get_config()
        variants |= {config.name: config, f"{config.name}_no_pretraining": ablations.no_pretraining(config)}
    return Sweep(variants=variants, seeds=(0,), reference=ablations.REFERENCE)
