"""REALM on the Factbook from a start that knows language but no retrieval, as the paper's BERT: ICT, warm-up, REALM.

    realm run experiments/factbook_paper.py --workdir runs/factbook_paper

The trunks are the first three layers of `factbook`'s weights; the layers that made these a retriever are above, so
recall@5 of questions is 0.00 at the start. The inverse cloze task teaches retrieval without labels, then follow
the stages of `factbook`. Half the layers are half the time.

Time: not yet measured.
Expected: not yet measured.
"""

from dataclasses import replace

import factbook
from ablations import change

from realm_jax.config import Config, Ict


def get_config() -> Config:
    base = replace(factbook.get_config(), name="factbook_paper")
    ict = Ict(
        steps=600, batch_size=32, learning_rate=2e-4, warmup_steps=60, bias_correction=True, score_scale=0.1,
        checkpoint_every=200,
    )  # fmt: skip
    return change(replace(base, ict=ict), model={"layers": 3})
