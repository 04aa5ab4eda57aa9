"""The baseline of the paper's tables: `wikipedia` with ICT but without REALM, as ORQA is trained.

    realm run experiments/orqa.py --workdir runs/orqa --data.directory runs/wikipedia/data

Time: that of ICT and fine-tuning in `wikipedia`.
Expected: exact match 33.3 on NQ's test questions (the paper's table 1), 31.3 on dev, where recall@5 before fine-tuning
is 13.9 (table 2).
"""

from dataclasses import replace

import ablations
import wikipedia

from realm_jax.config import Config


def get_config() -> Config:
    return replace(ablations.no_pretraining(wikipedia.get_config()), name="orqa")
