"""REALM on kinds of question that nobody taught: `factbook`, whose questions are split by kind as well as by country.

    realm run experiments/factbook_transfer.py --workdir runs/factbook_transfer

Fine-tuning has 1,675 questions of 14 kinds; the test sets are 349 questions of these kinds and 310 of 11 others, both
about new countries. So the second shows retrieval and reading that no question taught, which the paper's questions, of
endless forms, ask for. Dev questions, 152 of the kinds of training and 742 of 6 others, choose the checkpoint that is
evaluated.

Pre-training hides dates and numbers beside names, as kinds of question ask for them.

Time: not yet measured on idle cores; fine-tuning and evaluation take a few minutes more than those of `factbook`.
Expected: not yet measured.
"""

from dataclasses import replace

import factbook
from ablations import change

from realm_jax.config import Config


def get_config() -> Config:
    return change(
        replace(factbook.get_config(), name="factbook_transfer"),
        questions={"by_kind": True},
        masking={"types": ()},
        pretrain={"learning_rate": 1e-4, "patience": 0},
        finetune={"probe_questions": 100},
    )
