"""Wordpieces of some Factbook articles, with BERT's special ones in BERT's places.

    python -m tests.vocabulary FILE COUNT

A process of its own: where types are checked, as in that of the tests, reading the Factbook takes five times as long.
"""

import itertools
import sys
from pathlib import Path

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from realm_jax.factbook import articles

SPECIAL = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write(path: Path, count: int) -> None:
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=count, special_tokens=SPECIAL, show_progress=False)
    some = itertools.islice(articles.articles(), 0, 1000, 2)
    tokenizer.train_from_iterator((article.text for article in some), trainer)
    pieces = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    assert len(pieces) == count
    path.write_text("".join(f"{piece}\n" for piece in pieces))


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
