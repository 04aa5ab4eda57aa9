"""The passage store: token ids of every passage, one row each, memory-mapped; the null passage is the last row."""

import contextlib
import dataclasses
import hashlib
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from realm_jax import disk
from realm_jax.errors import UserError
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.workdir import publish, read_json

_TOKENS, _META = "tokens.npy", "meta.json"
_ROWS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class PassageStore:
    """Rows are `[CLS] title [SEP] body [SEP] PAD...`; row `null_id` is `[CLS] [SEP] [SEP] PAD...`."""

    tokens: np.ndarray
    """uint16 or int32 [N+1, P], memory-mapped."""
    fingerprint: str
    """Hex digest of the rows: two stores with equal fingerprints hold equal passages."""

    @classmethod
    def open(cls, directory: Path, most: int | None = None) -> "PassageStore":
        """Opens it after comparing its rows with their checksums.

        Args:
          most: blocks of rows that are compared, drawn by chance, where it has more; by default all are.

        Raises:
          UserError: there is no whole store.
        """
        if not is_written(directory):
            raise UserError(f"{directory}: holds no passage store; run `prepare` first")
        meta = read_json(directory / _META, shape=list, fingerprint=str)
        path, remedy = directory / _TOKENS, f"delete the folder {directory} and run `prepare` again"
        tokens = disk.read_array(path, remedy)
        if list(tokens.shape) != meta["shape"] or tokens.dtype not in (np.uint16, np.int32):
            raise UserError(f"{path}: {tokens.dtype} {list(tokens.shape)}, but {_META} says {meta['shape']}; {remedy}")
        with disk.reading(directory / _META, remedy):
            if "checksums" in meta:
                _compare(path, tokens, meta["checksums"], most, remedy)
            elif most is None and _fingerprint(tokens) != meta["fingerprint"]:  # of an earlier version
                raise UserError(f"{path}: damaged, its rows have not the fingerprint of {_META}; {remedy}")
        return cls(tokens, meta["fingerprint"])

    @property
    def num_passages(self) -> int:
        """N, without the null passage."""
        return len(self.tokens) - 1

    @property
    def null_id(self) -> int:
        return self.num_passages

    @property
    def null_row(self) -> np.ndarray:
        """int32 [P]: `[CLS] [SEP] [SEP] PAD...`."""
        return self.rows(self.null_id)

    def rows(self, ids: np.ndarray | np.integer | int | slice) -> np.ndarray:
        """int32 [..., P], in memory."""
        return np.asarray(self.tokens[ids], np.int32)


def _compare(path: Path, tokens: np.ndarray, noted: dict[str, Any], most: int | None, remedy: str) -> None:
    """Raises UserError for a block of rows without its checksum; `most` as in `open`."""
    size, checksums = noted["rows"], noted["of"]
    chosen = range(len(checksums))
    # Of a generator of its own: a store may be opened beside others, who seed Python's own.
    for i in chosen if most is None or most >= len(chosen) else random.Random().sample(chosen, most):
        first, limit = i * size, min((i + 1) * size, len(tokens))
        if disk.checksum(tokens[first:limit].tobytes()) != checksums[i]:
            raise UserError(f"{path}: damaged, rows {first} to {limit - 1} are not those of {_META}; {remedy}")


def _fingerprint(tokens: np.ndarray) -> str:
    digest = hashlib.sha256(f"{tokens.dtype} {tokens.shape[1]}".encode())
    digest.update(np.ascontiguousarray(tokens))
    return digest.hexdigest()[:32]


def is_written(directory: Path) -> bool:
    """Whether there is a store, with every file of it."""
    return all((directory / name).exists() for name in (_TOKENS, _META))


def write_store(directory: Path, rows: Iterable[np.ndarray], passage_length: int, tokenizer: Tokenizer) -> int:
    """Writes a store whole or not at all, holding few rows at a time, and adds the null passage.

    Args:
      rows: token ids of each passage, unpadded, at most `passage_length` of them, specials included.

    Returns:
      N, the number of passages.
    """
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size < 1 << 16 else np.int32)
    with publish(directory) as folder:
        digest, checksums = hashlib.sha256(f"{dtype} {passage_length}".encode()), []
        with contextlib.closing(GrowingArray(folder / _TOKENS, dtype, (passage_length,))) as array:
            for block in _padded(rows, passage_length, dtype, tokenizer):
                digest.update(block.tobytes())
                checksums.append(disk.checksum(block.tobytes()))
                array.append(block)
        count = array.count
        meta = {
            "shape": [count, passage_length],
            "vocab_size": tokenizer.vocab_size,
            "fingerprint": digest.hexdigest()[:32],
            "checksums": {"rows": _ROWS_AT_ONCE, "of": checksums},
        }
        (folder / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    return count - 1


class GrowingArray:
    """A .npy file that is written block by block."""

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...] = ()):
        """`shape` is that of one row."""
        self._dtype, self._shape, self.count = dtype, shape, 0
        self._file = open(path, "wb")  # noqa: SIM115
        self._write_header()

    def append(self, rows: np.ndarray) -> None:
        self._file.write(np.asarray(rows, self._dtype).tobytes())
        self.count += len(rows)

    def close(self) -> None:
        # NumPy leaves room in the header for a first axis that grows, so the header keeps its length.
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        descr = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _padded(rows: Iterable[np.ndarray], length: int, dtype: np.dtype, tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    """Blocks [R, P] of the rows, then the null passage."""
    block = np.full((_ROWS_AT_ONCE, length), tokenizer.pad_id, dtype)
    filled = 0

    def with_null():
        yield from rows
        yield np.array([tokenizer.cls_id, tokenizer.sep_id, tokenizer.sep_id])

    for row in with_null():
        block[filled, : len(row)] = row
        filled += 1
        if filled == _ROWS_AT_ONCE:
            yield block
            block[:] = tokenizer.pad_id
            filled = 0
    if filled:
        yield block[:filled]
