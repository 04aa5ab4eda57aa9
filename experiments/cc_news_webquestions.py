"""`cc_news`, fine-tuned on WebQuestions.

    realm run experiments/cc_news_webquestions.py --workdir runs/cc_news_webquestions

ICT and pre-training are those of `cc_news`: `wikipedia_sweep.py` does them once for all sets of questions.

Time: that of `cc_news`; fine-tuning, computed, hours on one chip.
Expected: exact match 40.7 on the test questions (the paper's table 1, X = CC-News).
"""

from dataclasses import replace

import webquestions
from cc_news import on_cc_news

from realm_jax.config import Config


def get_config() -> Config:
    return replace(on_cc_news(webquestions.get_config()), name="cc_news_webquestions")
