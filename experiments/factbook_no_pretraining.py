"""`factbook` without any pre-training of ours: the warm start, MiniLM, is fine-tuned with the same budget.

    realm run experiments/factbook_no_pretraining.py --data.directory runs/factbook/data

Time: minutes on two CPU cores; the data of runs/factbook are used again.
Expected: not measured by itself; `factbook_transfer_sweep` has this arm, and others that are fine-tuned for longer.
"""

from dataclasses import replace

import ablations
import factbook

from realm_jax.config import Config


def get_config() -> Config:
    return replace(ablations.no_pretraining(factbook.get_config()), name="factbook_no_pretraining")
