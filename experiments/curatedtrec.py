"""`wikipedia`, fine-tuned on CuratedTREC.

    realm run experiments/curatedtrec.py --workdir runs/curatedtrec

ICT and pre-training are those of `wikipedia`: `wikipedia_sweep.py` does them once for all sets of questions.

Time: that of `wikipedia`; fine-tuning, computed, hours on one chip.
Expected: exact match 46.8 on the test questions (the paper's table 1, X = Wikipedia).
"""

from dataclasses import replace

import wikipedia
from ablations import change

from realm_jax.config import Config, Questions


def get_config() -> Config:
    # Twenty epochs of 1,353 questions, as ORQA has it for the smaller sets.
    base = change(wikipedia.get_config(), finetune={"steps": 20 * 1_353, "warmup_steps": 2000})
    questions = Questions(
        train=("questions/curatedtrec.train.tsv",), test=("questions/curatedtrec.test.tsv",), match="regex"
    )
    return replace(base, name="curatedtrec", questions=questions)
