"""REALM at the paper's size: ICT, pre-training with X = Wikipedia, fine-tuning on NQ-open.

    realm run experiments/wikipedia.py --workdir runs/wikipedia

Corpus: a dump of the English Wikipedia in `data.path` (the paper: 2018-12-20, 13,353,718 passages of 288 wordpieces).
Salient spans: dates, and entities of a BERT tagger for CoNLL-2003 in `data.tagger_weights`. Warm start: BERT-base in
`model.weights`. Questions: NQ-open's files in `questions.train` and `questions.test`; dev is ORQA's tenth.

Hardware: the paper's 64 TPUs to train and 16 to build. Nobody has run this here. Fine-tuning takes one question a step,
which several devices cannot divide: run the stages one by one (docs/operations.md), `finetune` on one of them, or give
`run` also `--finetune.batch_size 64 --finetune.steps 2474` (untried).
Time: computed, not measured, at 40 TFLOP/s a chip on 64 chips: 8 hours of ICT, 30 of pre-training; fine-tuning, one
question a step, a day on one of them.
Expected: exact match 39.2 on NQ's test questions (the paper's table 1, X = Wikipedia), 38.2 on dev, where recall@5
before fine-tuning is 38.5 (table 2).
"""

from realm_jax.config import (
    Bert,
    Config,
    Data,
    Evaluation,
    Finetune,
    Ict,
    Index,
    Masking,
    Model,
    Pretrain,
    Questions,
)


def get_config() -> Config:
    return Config(
        name="wikipedia",
        seed=0,
        data=Data(
            source="wikipedia",
            path="dumps/enwiki",
            taggers=("dates", "ner"),
            tagger_weights="weights/bert-conll2003",
            holders=False,  # would take memory in proportion to the corpus
            passage_length=288,
            query_length=96,
            joint_length=384,
        ),
        questions=Questions(train=("questions/NQ-open.train.jsonl",), test=("questions/NQ-open.dev.jsonl",)),
        model=Model(weights="weights/bert-base-uncased", bert=Bert(dropout=0.1)),
        masking=Masking(kind="salient", max_masks=10, subject=False),
        index=Index(kind="exact", store="device", swap_after=500, rows_per_batch=256),
        ict=Ict(
            steps=100_000,
            batch_size=4096,
            learning_rate=1e-4,
            warmup_steps=10_000,
            checkpoint_every=2000,
            log_every=100,
        ),
        pretrain=Pretrain(
            steps=200_000,
            batch_size=512,
            candidates=8,
            learning_rate=3e-5,
            warmup_steps=10_000,
            checkpoint_every=500,
            log_every=50,
            probe_queries=0,
        ),
        # Two epochs, as ORQA has it for the larger sets.
        finetune=Finetune(
            steps=2 * 79_168,
            batch_size=1,
            learning_rate=1e-5,
            warmup_steps=10_000,
            checkpoint_every=5000,
            log_every=500,
            beam=5000,
            read=5,
            joint_length=320,
        ),
        evaluation=Evaluation(read=5, bm25=False),
    )
