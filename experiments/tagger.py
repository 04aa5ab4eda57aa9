"""A tagger of named entities for `--data.taggers ner`: MiniLM, fine-tuned on CoNLL-2003, as REALM's authors had a BERT.

    realm tagger experiments/tagger.py --tagger.train eng.train --tagger.dev eng.testa
    realm prepare experiments/mine.py --data.taggers dates ner --data.tagger_weights runs/tagger/tagger/weights

Text: CoNLL-2003's files (a word and its label a line), or TFDS's data set, prepared by `tfds build conll2003
--file_format array_record`: `--tagger.train ~/tensorflow_datasets/conll2003/1.0.0:train`, and `...:dev`. Another BERT
to start from: `--model.weights FOLDER`; one with case has a tokenizer_config.json that says so.

Time: some 41 minutes on two CPU cores that ten other processes share (20 steps at 0.54 a second, 2026-11-22).
Expected: not measured, for CoNLL-2003's text is licensed to its holders alone. `probe/entity_f1` in
tagger/metrics.jsonl is F1 on dev, which chooses the checkpoint.
"""

from dataclasses import replace

import factbook

from realm_jax.config import Config, Tagger


def get_config() -> Config:
    base = factbook.get_config()
    return replace(
        base,
        name="tagger",
        model=replace(base.model, bert=replace(base.model.bert, dropout=0.1)),
        # Three passes over the 14,041 sentences, of which few are longer than 64 wordpieces.
        tagger=Tagger(steps=1320, batch_size=32, warmup_steps=130, checkpoint_every=220, log_every=20, length=64),
    )
