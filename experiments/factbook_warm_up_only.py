"""`factbook` with the reader's warm-up but without REALM: the warm-up's share of the gain.

    realm run experiments/factbook_warm_up_only.py --data.directory runs/factbook/data

Time: minutes on two CPU cores; the data of runs/factbook are used again.
Expected: not measured by itself; `factbook_transfer_sweep` has this arm, and others that are fine-tuned for longer.
"""

from dataclasses import replace

import ablations
import factbook

from realm_jax.config import Config


def get_config() -> Config:
    return replace(ablations.warm_up_only(factbook.get_config()), name="factbook_warm_up_only")
