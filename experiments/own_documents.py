"""Answers from your own documents: docs/own_documents.md tells how, from a folder and a file of questions to answers.

    realm run experiments/own_documents.py --workdir runs/mine --data.path documents --questions.train questions.jsonl

Corpus: the text, Markdown, HTML, reStructuredText and PDF files of the folder `data.path` (JSON lines, tables, SQuAD:
`--data.source`), cut into passages of 128 wordpieces. Questions: JSON lines, {"question": ..., "answers": [...]}; dev
and test questions are taken out of them. Without a file of them all steps learn from made questions.
Warm start: MiniLM, as in `factbook`, whose settings hold for all else. Its retrieval stays as it is. The reader learns
from questions made of the documents, then from yours. REALM's pre-training is left out: a few hundred documents are too
few for it. With more, add `--warm_up.steps 400 --pretrain.steps 190`, and compare the reports.

Time: 45 minutes of fine-tuning on one core without AVX-512 (QED, 1,343 paragraphs); more cores need less.
Expected: depends on the documents. On QED's paragraphs the start has recall@1 0.899 and recall@5 0.993 of the test
questions, and exact match of dev questions is 0.135 after 200 steps of made questions (docs/results/README.md).
"""

from dataclasses import replace

import ablations
import factbook

from realm_jax.config import ClosedBook, Config, Index, Questions

SENTENCE_ENCODER = {
    "pooling": "auto",
    "vector_size": 0,
    "normalize": "auto",
    "query_prefix": "auto",
    "passage_prefix": "auto",
}
"""Vectors as the weights' makers have them, whose cosines differ by a tenth where `factbook`'s products do by ten."""
SCALE = 20.0


def get_config() -> Config:
    base = ablations.no_pretraining(factbook.get_config())
    return replace(
        base,
        name="own_documents",
        questions=Questions(),
        data=replace(base.data, source="folder", passage_length=128, joint_length=176),
        model=replace(base.model, **SENTENCE_ENCODER),
        index=Index(kind="exact", swap_after=base.index.swap_after),
        # As in the paper: few documents tell anything twice, which the filters of `factbook` ask for.
        masking=replace(base.masking, min_holders=0, max_holders=0),
        pretrain=replace(base.pretrain, score_scale=SCALE, patience=2),
        # The reader learns, and the retriever stays as it was made: a few hundred questions would only harm it. Dev
        # questions choose the checkpoint.
        finetune=replace(
            base.finetune,
            steps=400,
            made_steps=200,
            checkpoint_every=100,
            joint_length=176,
            beam=50,
            score_scale=SCALE,
            embedder_rate=0.0,
            probe_questions=100,
        ),
        closed_book=ClosedBook(),
    )
