"""A piece of the English Wikipedia, from dump to answers: 96 articles, for a look at how a dump is treated.

    realm run experiments/wikipedia_excerpt.py --workdir runs/excerpt
    realm ask runs/excerpt "The Apollo 11 lunar module was named [MASK]." --truth Eagle

Corpus: some 2,100 passages of 288 wordpieces, out of a dump that the package `gensim` ships for its own tests (fetched
by a pinned hash; the package's code is left alone). Salient spans: dates, and entities by links and titles. No
questions, so nothing is fine-tuned.

Time: not measured as a whole. Expected: nothing but that it goes through; 96 articles are no corpus to learn from.
"""

from dataclasses import replace

import factbook

from realm_jax.config import ClosedBook, Config, Finetune, Masking, Questions


def get_config() -> Config:
    base = factbook.get_config()
    return replace(
        base,
        name="wikipedia_excerpt",
        questions=Questions(),
        data=replace(
            base.data,
            source="wikipedia",
            path="excerpt",
            taggers=("dates", "links"),
            passage_length=288,
            query_length=64,
            joint_length=352,
        ),
        masking=Masking(kind="salient", min_holders=1, subject=False),
        finetune=Finetune(joint_length=352, beam=50),
        closed_book=ClosedBook(),
    )
