"""BERT's wordpieces from a vocab.txt, with the place of every wordpiece in the text."""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import SupportsInt

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from realm_jax.errors import BadJson, UserError, from_json

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
    """Lower-cased and accents stripped, unless `lowercase` or `strip_accents` (None: as `lowercase`) is off. Special
    tokens in a text are plain words, but for `[MASK]` where that is asked for."""

    def __init__(
        self,
        vocab: Sequence[str],
        source: str = "vocabulary",
        lowercase: bool = True,
        strip_accents: bool | None = None,
    ):
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
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        if self.strip_accents != lowercase:
            self.fingerprint += "-stripped" if self.strip_accents else "-accents"
        self._tokenizer = self._built(table)
        self._with_mask = self._built(table)
        self._with_mask.add_special_tokens([tokenizers.AddedToken("[MASK]", normalized=False, special=True)])

    def _built(self, table: dict[str, int]) -> tokenizers.Tokenizer:
        built = tokenizers.Tokenizer(models.WordPiece(table, unk_token="[UNK]", max_input_chars_per_word=100))
        built.normalizer = normalizers.BertNormalizer(lowercase=self.lowercase, strip_accents=self.strip_accents)
        built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        built.decoder = decoders.WordPiece(cleanup=True)
        return built

    @classmethod
    def from_vocab(cls, path: str | Path) -> "Tokenizer":
        """The vocabulary in a file; lower-cased unless tokenizer_config.json beside it has `do_lower_case` false;
        accents are stripped as its `strip_accents` says, or where that is null as `do_lower_case`.

        Raises:
          UserError: `path` is no BERT vocabulary; tokenizer_config.json is no JSON, or does not say true or false.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot read the vocabulary ({error}); a BERT vocab.txt is wanted here") from None
        if lines and not lines[-1]:
            lines.pop()
        return cls([line.rstrip("\r") for line in lines], str(path), *_settings(Path(path).with_name(SETTINGS)))

    @property
    def vocab_size(self) -> int:
        return len(self._vocab)

    @property
    def vocabulary(self) -> dict[str, int]:
        """The number of each wordpiece."""
        return self._tokenizer.get_vocab()

    def piece(self, token: int) -> str:
        """Embeddings may have rows that the vocabulary has no wordpiece for."""
        return self._vocab[token] if token < len(self._vocab) else f"[row {token}]"

    def encode(self, text: str) -> Encoding:
        return _encoding(self._tokenizer.encode(text, add_special_tokens=False))

    def encode_batch(self, texts: Sequence[str], mask: bool = False) -> list[Encoding]:
        """With `mask`, a literal `[MASK]` is the mask token."""
        tokenizer = self._with_mask if mask else self._tokenizer
        return [_encoding(result) for result in tokenizer.encode_batch(list(texts), add_special_tokens=False)]

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
        return self._tokenizer.decoder.decode([self.piece(int(i)) for i in ids if int(i) not in hidden])


def _settings(path: Path) -> tuple[bool, bool | None]:
    """(do_lower_case, strip_accents) of a tokenizer_config.json."""
    try:
        values = from_json(path.read_bytes()) if path.exists() else {}
    except (OSError, BadJson) as error:
        raise UserError(f"{path}: cannot be read ({error}); it says by `do_lower_case` true or false") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a JSON object; it says by `do_lower_case` true or false")
    lowercase, strip_accents = values.get("do_lower_case", True), values.get("strip_accents")
    if not isinstance(lowercase, bool):
        raise UserError(f"{path}: do_lower_case is {lowercase!r}; it must be true or false")
    if not isinstance(strip_accents, bool | None):
        raise UserError(f"{path}: strip_accents is {strip_accents!r}; it must be true, false or null")
    return lowercase, strip_accents


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
