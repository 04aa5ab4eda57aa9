"""`wikipedia` with X = CC-News: masked sentences of news, passages of Wikipedia.

    realm import_weights experiments/cc_news.py --source weights/ict weights/bert-base-uncased --workdir runs/cc_news
    realm run runs/cc_news

Text: CC-News as JSON lines, {"title", "text"}, in `data.text_path`. ICT learns from Wikipedia's sentences, so it is a
run of its own (`orqa`), whose embedder is saved into weights/ict (docs/published_weights.md, "In Python").

Time: that of `wikipedia` without ICT: computed, 30 hours of pre-training on 64 chips.
Expected: exact match 40.4 on NQ's test questions (the paper's table 1, X = CC-News).
"""

from dataclasses import replace

import ablations
import wikipedia

from realm_jax.config import Config


def get_config() -> Config:
    base = ablations.no_ict(wikipedia.get_config())
    data = replace(base.data, text_source="jsonl", text_path="text/cc_news")
    return replace(base, name="cc_news", data=data)
