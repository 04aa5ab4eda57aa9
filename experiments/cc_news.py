"""`wikipedia` with X = CC-News: masked sentences of news, passages of Wikipedia.

    realm run experiments/cc_news.py --workdir runs/cc_news

Text: CC-News as JSON lines, {"title", "text"}, in `data.text_path`. ICT learns from Wikipedia's sentences, as ever.

Time: that of `wikipedia`.
Expected: exact match 40.4 on NQ's test questions (the paper's table 1, X = CC-News).
"""

from dataclasses import replace

import wikipedia
from ablations import change

from realm_jax.config import Config


def on_cc_news(config: Config) -> Config:
    """The experiment with X = CC-News."""
    return change(config, data={"text_source": "jsonl", "text_path": "text/cc_news"})


def get_config() -> Config:
    return replace(on_cc_news(wikipedia.get_config()), name="cc_news")
