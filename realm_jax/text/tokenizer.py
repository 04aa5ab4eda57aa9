"""BERT's wordpieces from a vocab.txt, with the place of every wordpiece in the text."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import SupportsInt

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from realm_jax.errors import UserError

SPECIAL = {"pad_id": "[PAD]", "unk_id": "[UNK]", "cls_id": "[CLS]", "sep_id": "[SEP]", "mask_id": "[MASK]"}
SETTINGS = "tokenizer_config.json"


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Wordpieces of a text, without special tokens."""

    ids: np.ndarray
    """int32 [n]"""
    offsets: np.ndarray
    """int32 [n, 2]: first and past-the-last character of each wordpiece in the text."""

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer:
    """Lower-cased and accents stripped, unless `lowercase` is off. A literal `[MASK]` in a text is the mask token; no
    other special token is read."""

    def __init__(self, vocab: Sequence[str], source: str = "vocabulary", lowercase: bool = True):
        self._vocab = list(vocab)
        table = {piece: i for i, piece in enumerate(self._vocab)}
        missing = [piece for piece in SPECIAL.values() if piece not in table]
        if missing:
            raise UserError(
                f"{source}: lacks {', '.join(missing)}; a BERT vocab.txt has one wordpiece a line, these among them"
            )
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (table[piece] for piece in SPECIAL.values())
        if self.pad_id != 0:
            raise UserError(f"{source}: [PAD] stands on line {self.pad_id + 1}; it must be the first")
        self.continues = np.array([piece.startswith("##") for piece in self._vocab])
        """bool [V]: the wordpiece goes on with a word, it does not begin one."""
        self.lowercase = lowercase
        self.fingerprint = hashlib.sha256("\n".join(self._vocab).encode()).hexdigest()[:16]
        """Two tokenizers with equal fingerprints make the same wordpieces of a text."""
        if not lowercase:
            self.fingerprint += "-cased"
        self._tokenizer = tokenizers.Tokenizer(models.WordPiece(table, unk_token="[UNK]", max_input_chars_per_word=100))
        self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._tokenizer.decoder = decoders.WordPiece(cleanup=True)
        self._tokenizer.add_special_tokens([tokenizers.AddedToken("[MASK]", normalized=False, special=True)])

    @classmethod
    def from_vocab(cls, path: str | Path) -> "Tokenizer":
        """The vocabulary in a file; lower-cased unless tokenizer_config.json beside it has `do_lower_case` false.

        Raises:
          UserError: `path` is no BERT vocabulary; tokenizer_config.json is no JSON, or does not say true or false.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot read the vocabulary ({error}); a BERT vocab.txt is wanted here") from None
        if lines and not lines[-1]:
            lines.pop()
        return cls([line.rstrip("\r") for line in lines], str(path), _is_lowercase(Path(path).with_name(SETTINGS)))

    @property
    def vocab_size(self) -> int:
        return len(self._vocab)

    @property
    def vocabulary(self) -> dict[str, int]:
        """The number of each wordpiece."""
        return self._tokenizer.get_vocab()

    def piece(self, token: int) -> str:
        return self._vocab[token]

    def encode(self, text: str) -> Encoding:
        return _encoding(self._tokenizer.encode(text, add_special_tokens=False))

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        return [_encoding(result) for result in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def ids_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Wordpieces alone, without their places: a third faster."""
        return [result.ids for result in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def row(self, ids: np.ndarray, length: int) -> np.ndarray:
        """int32 [length]: `[CLS] ids [SEP]`, the ids cut to fit, then padding."""
        row, ids = np.full(length, self.pad_id, np.int32), ids[: length - 2]
        row[: len(ids) + 2] = [self.cls_id, *ids, self.sep_id]
        return row

    def decode(self, ids: Iterable[SupportsInt]) -> str:
        """Readable text: wordpieces joined, special tokens but [MASK] and [UNK] left out."""
        hidden = (self.pad_id, self.cls_id, self.sep_id)
        return self._tokenizer.decoder.decode([self._vocab[int(i)] for i in ids if int(i) not in hidden])


def _is_lowercase(settings: Path) -> bool:
    if not settings.exists():
        return True
    try:
        value = json.loads(settings.read_text(encoding="utf-8")).get("do_lower_case", True)
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{settings}: not a JSON object ({error}); it says by `do_lower_case` true or false") from None
    if not isinstance(value, bool):
        raise UserError(f"{settings}: do_lower_case is {value!r}; it must be true or false")
    return value


def _encoding(result: tokenizers.Encoding) -> Encoding:
    return Encoding(np.array(result.ids, np.int32), np.array(result.offsets, np.int32).reshape(-1, 2))


def byte_offsets(text: str) -> np.ndarray:
    """int64 [len(text) + 1]: the UTF-8 byte at which each character starts, and the length in bytes."""
    if text.isascii():
        return np.arange(len(text) + 1)
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    widths = 1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)
    return np.concatenate([[0], np.cumsum(widths)])


def characters(text: str, offsets: np.ndarray) -> np.ndarray:
    """The characters at which byte `offsets` (any shape) of the UTF-8 text lie; the inverse of `byte_offsets`."""
    offsets = np.asarray(offsets)
    return offsets if text.isascii() else np.searchsorted(byte_offsets(text), offsets)
