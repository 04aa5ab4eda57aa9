"""`wikipedia` for one GPU and a day: the paper's models, on the Simple English Wikipedia, with smaller batches.

    realm run experiments/wikipedia_small.py --workdir runs/wikipedia_small

Corpus: a dump of the Simple English Wikipedia in `data.path`, some hundred thousand passages of 128 wordpieces, which
know the answers to less than half of NQ-open. All else as in `wikipedia`; the trainer embeds the passages itself.

Hardware: one GPU of 40 GB or more. Nobody has run this yet.
Time: computed, not measured, at 50 TFLOP/s: 3 hours of ICT, 10 of pre-training, 1 of embedding, 3 of fine-tuning.
Expected: not known; the paper has no such size. Compare: its ablations, by `wikipedia_small_sweep.py`.
"""

from dataclasses import replace

import wikipedia
from ablations import change

from realm_jax.config import Config


def get_config() -> Config:
    base = change(
        wikipedia.get_config(),
        data={"path": "dumps/simplewiki", "passage_length": 128, "query_length": 64, "joint_length": 192},
        index={"refresh": "inline"},
        ict={"steps": 10_000, "batch_size": 512, "warmup_steps": 1000},
        pretrain={"steps": 20_000, "batch_size": 64, "warmup_steps": 1000, "checkpoint_every": 1000},
        finetune={"joint_length": 192, "beam": 1000},
    )
    return replace(base, name="wikipedia_small")
