"""`wikipedia`, fine-tuned on WebQuestions.

    realm run experiments/webquestions.py --workdir runs/webquestions

ICT and pre-training are those of `wikipedia`: `wikipedia_sweep.py` does them once for all sets of questions.

Time: that of `wikipedia`; fine-tuning, computed, hours on one chip.
Expected: exact match 40.2 on the test questions (the paper's table 1, X = Wikipedia).
"""

from dataclasses import replace

import wikipedia
from ablations import change

from realm_jax.config import Config, Questions


def get_config() -> Config:
    # Twenty epochs of 3,417 questions, as ORQA has it for the smaller sets.
    base = change(wikipedia.get_config(), finetune={"steps": 20 * 3_417, "warmup_steps": 2000})
    questions = Questions(train=("questions/webquestions.train.json",), test=("questions/webquestions.test.json",))
    return replace(base, name="webquestions", questions=questions)
