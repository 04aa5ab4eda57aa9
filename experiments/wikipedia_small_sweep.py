"""The paper's table 2 and more at the size of `wikipedia_small`: every ablation of ablations.py.

    realm sweep experiments/wikipedia_small_sweep.py

Time: computed, not measured: 17 hours a run on one GPU, 14 where ICT is shared, less where pre-training is.
Expected: the orderings of the paper's table 2, which ablations.py has beside each ablation.
"""

import ablations
import wikipedia_small

from realm_jax.config import Sweep


def get_sweep() -> Sweep:
    variants = ablations.variants(wikipedia_small.get_config())
    return Sweep(variants=variants, seeds=(0,), reference=ablations.REFERENCE)
