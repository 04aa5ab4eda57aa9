"""REALM on real questions: those of Natural Questions that QED has a Wikipedia paragraph for.

    python experiments/qed.py                                  # writes the corpus
    realm run experiments/qed.py --workdir runs/qed

`runs/qed_data` must hold QED's dev part (google-research-datasets/QED, CC BY-SA 3.0) as JSON lines: `documents.jsonl`
with `id`, `title` and `text` of its 1,343 paragraphs; `train.jsonl`, `dev.jsonl` and `test.jsonl` with `question` and
`answers` of its 700, 200 and 455 questions. Corpus: these paragraphs, and as distractors the 96 articles of
`wikipedia_excerpt`. Settings are those of `factbook`, with longer passages. MiniLM was trained on Natural
Questions among others, so recall before fine-tuning is no zero-shot recall.

Time: not yet measured.
Expected: not yet measured.
"""

import json
from dataclasses import replace
from pathlib import Path

import factbook
from ablations import change
from own_documents import SCALE, SENTENCE_ENCODER

from realm_jax.config import ClosedBook, Config, Questions

DATA = Path("runs/qed_data")
CORPUS = DATA / "corpus"


def get_config() -> Config:
    base = replace(factbook.get_config(), name="qed", closed_book=ClosedBook())
    files = {split: (str(DATA / f"{split}.jsonl"),) for split in ("train", "dev", "test")}
    return change(
        replace(base, questions=Questions(**files)),
        data={"source": "jsonl", "path": str(CORPUS), "passage_length": 128, "joint_length": 176},
        model=SENTENCE_ENCODER,
        index={"kind": "exact"},
        pretrain={"score_scale": SCALE},
        finetune={"joint_length": 176, "beam": 50, "score_scale": SCALE, "probe_questions": 200},
    )


def write_corpus() -> None:
    from realm_jax.corpus.source import open_source

    excerpt = open_source("wikipedia", "excerpt")
    articles = [article for shard in excerpt.shards() for article in excerpt.read(shard)]
    lines = [json.dumps({"id": f"excerpt-{a.id}", "title": a.title, "text": a.text}) for a in articles]
    CORPUS.mkdir(parents=True, exist_ok=True)
    (CORPUS / "excerpt.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (CORPUS / "documents.jsonl").write_bytes((DATA / "documents.jsonl").read_bytes())


if __name__ == "__main__":
    write_corpus()
