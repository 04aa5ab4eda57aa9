"""The passage that has a sentence of one corpus, if passages come from another: by content, in bounded memory."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from realm_jax.corpus.shards import Record, rows_of
from realm_jax.workdir import publish

PARTS = 64
"""Sentences are compared by parts of their digests' range: memory holds one part."""
_SENTENCE = np.dtype([("digest", "<u8"), ("place", "<i8")])


def write_origins(target: Path, knowledge: Iterable[Record], text: Iterable[Record]) -> None:
    """Writes, for every sentence of `text`, the first row of the knowledge's passages in which the same wordpieces are
    a sentence, or -1: int32 [sentences of text], raw."""
    with publish(target) as folder:
        _spread(folder / "knowledge", _passages(knowledge))
        total = _spread(folder / "text", ((digest, i) for i, digest in enumerate(_sentences(text))))
        origins = np.memmap(folder / "origins", np.int32, "w+", shape=(max(total, 1),))
        origins[:] = -1
        for part in range(PARTS):
            known, asked = (np.fromfile(folder / f"{name}.{part}", _SENTENCE) for name in ("knowledge", "text"))
            known = known[np.lexsort((known["place"], known["digest"]))]
            if len(known):
                at = np.minimum(np.searchsorted(known["digest"], asked["digest"]), len(known) - 1)
                found = known["digest"][at] == asked["digest"]
                origins[asked["place"][found]] = known["place"][at[found]]
            for name in ("knowledge", "text"):
                (folder / f"{name}.{part}").unlink()
        origins.flush()


def read_origins(target: Path) -> np.ndarray:
    """The output of `write_origins`, memory-mapped."""
    return np.memmap(target / "origins", np.int32, "r")


def _passages(records: Iterable[Record]) -> Iterator[tuple[int, int]]:
    """(digest of a sentence, row of its passage)"""
    first_row = 0
    for record in records:
        for digest, origin in zip(_sentences([record]), record["origins"], strict=True):
            yield digest, first_row + origin
        first_row += len(record["passages"])


def _sentences(records: Iterable[Record]) -> Iterator[int]:
    for record in records:
        rows = rows_of(record)
        for origin, (first, limit) in zip(record["origins"], record["places"], strict=True):
            yield int.from_bytes(hashlib.blake2b(rows[origin][first:limit].tobytes(), digest_size=8).digest())


def _spread(path: Path, sentences: Iterable[tuple[int, int]]) -> int:
    """Writes (digest, place) to the file of the part that the digest belongs to; returns how many there were."""
    count, files = 0, [open(f"{path}.{part}", "wb") for part in range(PARTS)]  # noqa: SIM115
    for digest, place in sentences:
        files[digest % PARTS].write(np.array((digest, place), _SENTENCE).tobytes())
        count += 1
    for file in files:
        file.close()
    return count
