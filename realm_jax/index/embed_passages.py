"""From an embedder and a passage store to a published snapshot. The embedder is a function of token rows, no more."""

import contextlib
import functools
import hashlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from realm_jax import disk
from realm_jax.config import Index
from realm_jax.index.base import Embed, Passages, Retriever
from realm_jax.index.effort import reach
from realm_jax.index.exact import Recall
from realm_jax.index.snapshots import (
    PARTS,
    Manifest,
    SnapshotError,
    check_finite,
    known_vectors,
    list_steps,
    publish_snapshot,
)
from realm_jax.kinds import INDEXES
from realm_jax.locks import wait_for
from realm_jax.remote import AnyPath, is_remote, remove
from realm_jax.text.features import PAD

BUCKET = 16
BLOCK_ROWS = 1 << 16
"""Passages embedded and written at a time: a killed builder loses no more."""
PROBE_QUERIES = 256
PROBE_DEPTH = 10
Progress = Callable[[int, int], None]
"""Called with the number of rows done and of all rows."""


class Known:
    """Vectors [R, E] that can be taken over, by `row_digests` [R, 2] of the rows that they were made from."""

    def __init__(self, digests: Integer[np.ndarray, "R 2"], vectors: Float[np.ndarray, "R E"]):
        self.vectors, self._order = vectors, np.lexsort((digests[:, 1], digests[:, 0]))
        self._ordered = _scalars(digests[self._order])

    def places(self, digests: Integer[np.ndarray, "rows 2"]) -> Int[np.ndarray, " rows"]:
        """For each row its place among the vectors, or -1."""
        wanted = _scalars(digests)
        at = np.minimum(np.searchsorted(self._ordered, wanted), len(self._ordered) - 1)
        return np.where(self._ordered[at] == wanted, self._order[at], -1)


def embed_all(
    embed: Embed,
    tokens: Integer[np.ndarray, "rows P"],
    rows_per_batch: int,
    progress: Progress | None = None,
) -> Float[np.ndarray, "rows E"]:
    """Vectors of all rows of a passage store, without embedding padding: rows of like length go together.

    `embed` sees batches of `rows_per_batch` rows (of all rows, where these are fewer) and few different lengths, at
    most P / 16, so that few shapes are compiled.
    """
    total, done, vectors = len(tokens), 0, np.empty((0, 0), np.float32)
    for rows, result in _one_ahead(embed, _batches(tokens, min(rows_per_batch, total))):
        result = np.asarray(result, dtype=np.float32)
        if not done:
            vectors = np.empty((total, result.shape[1]), np.float32)
        vectors[rows] = result[: len(rows)]
        done += len(rows)
        if progress is not None:
            progress(done, total)
    return vectors


def build_snapshot(
    step: int,
    embed: Embed,
    store_tokens: Integer[np.ndarray, "rows P"],
    fingerprint: str,
    index_config: Index,
    directory: AnyPath,
    progress: Progress | None = None,
    *,
    vocabulary: Mapping[str, int] = MappingProxyType({}),
    embedder: str = "",
    part: tuple[int, int] = (0, 1),
    elsewhere: Sequence[AnyPath] = (),
    queries: Callable[[], Float[np.ndarray, "R E"] | None] = lambda: None,
) -> Manifest | None:
    """Embeds every passage, builds the index and publishes snapshot `step`.

    If the same embedder made a snapshot before, at another step or from another passage store, the vectors of passages
    that both have are taken over. Which old ones may go (`snapshots.remove_old`) only the caller knows.

    Args:
      vocabulary: the number of each wordpiece.
      embedder: digest of the parameters behind `embed`; without it no vector is kept. A half-done embedding by the
        same ones is gone on with.
      part: (i, n), where this process is the i-th of n that embed together; the first one publishes.
      elsewhere: directories of snapshots that other runs own; vectors of this very store are taken over from them, too.
      queries: gives vectors that recall is measured with, by the same embedder; None for stand-ins.

    Returns:
      the manifest in the first process; None in the others, once the snapshot is published.
    """
    start = time.monotonic()
    folder = directory / f".{step}-{embedder}-{fingerprint[:16]}{PARTS}"
    found = known_vectors(directory, embedder)
    for place in () if found else elsewhere:
        with contextlib.suppress(FileNotFoundError, SnapshotError):  # its owner may be removing it
            found = found or known_vectors(place, embedder, fingerprint)
    known = found and Known(*found)
    if part[0]:

        def published() -> bool | None:
            return step in list_steps(directory, fingerprint) or None

        if not published():  # all parts may have stood there already
            embed_part(embed, store_tokens, index_config.rows_per_batch, folder, part, progress, known)
        wait_for(
            published,
            f"snapshot {step} in {directory}, which process 0 publishes (--index.stop-after-s)",
            stop_after_s=index_config.stop_after_s,
        )
        return None
    embed_part(embed, store_tokens, index_config.rows_per_batch, folder, part, progress, known)
    vectors = gather_parts(folder, len(store_tokens), part[1], index_config.stop_after_s)
    check_finite(step, vectors)  # ScaNN would fail on such ones in its own words
    embedded = time.monotonic()
    passages = Passages(vectors[:-1], store_tokens[:-1], vocabulary)
    index, recall, seconds = build_index(step, passages, index_config, queries)
    manifest = publish_snapshot(
        directory,
        step,
        vectors,
        kind=index_config.kind,
        fingerprint=fingerprint,
        index=index,
        recall=recall,
        seconds={"embed": round(embedded - start, 3)} | seconds,
        digests=row_digests(store_tokens),
        embedder=embedder,
    )
    remove(folder)
    return manifest


def build_index(
    step: int,
    passages: Passages,
    settings: Index,
    queries: Callable[[], Float[np.ndarray, "R E"] | None] = lambda: None,
) -> tuple[Retriever | None, float | None, dict[str, float]]:
    """The index, if its kind has files; its recall against exact search, if it is approximate; the seconds of both.

    An approximate index looks as far as `settings.recall` of the best passages take. Without `queries`, noisy vectors
    of passages stand in for them.
    """
    start = time.monotonic()
    index, recall = INDEXES[settings.kind].load().build(passages, settings), None
    built = time.monotonic()
    if index is not None and index.approximate:
        given = queries()
        asked = probe_queries(passages.vectors, step) if given is None else given
        recall_of = Recall(passages.vectors, asked, min(PROBE_DEPTH, index.num_passages))
        index, recall = reach(index, recall_of, settings.recall)
        if recall < settings.recall:
            print(
                f"warning: index.recall: {settings.recall} of the {PROBE_DEPTH} best passages are wanted; the index "
                f"finds {recall:.3f}, though it looks as far as it can",
                file=sys.stderr,
            )
    return index, recall, {"build": round(built - start, 3), "recall": round(time.monotonic() - built, 3)}


def blocks(rows: int, processes: int) -> list[tuple[int, int]]:
    """(start, stop) of the rows that are embedded and written at a time."""
    size = min(BLOCK_ROWS, -(-rows // processes))
    return [(start, min(start + size, rows)) for start in range(0, rows, size)]


def embed_part(
    embed: Embed,
    tokens: Integer[np.ndarray, "rows P"],
    rows_per_batch: int,
    folder: AnyPath,
    part: tuple[int, int],
    progress: Progress | None = None,
    known: Known | None = None,
) -> None:
    """Writes vectors of every n-th block of rows, each whole or not at all; blocks that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    mine = blocks(len(tokens), part[1])[part[0] :: part[1]]
    total, before = sum(stop - start for start, stop in mine), 0

    def done(count: int, _: int) -> None:
        if not is_remote(folder):
            os.utime(folder)  # by which a trainer that waits sees that there is something to wait for
        if progress is not None:
            progress(before + count, total)

    for start, stop in mine:
        path = folder / f"{start}-{stop}.npy"
        if not _holds(path, stop - start):
            _save(path, embed_new(embed, tokens[start:stop], known, rows_per_batch, done))
        before += stop - start


def _save(path: AnyPath, array: np.ndarray) -> None:
    """Whole or not at all."""
    if is_remote(path):
        buffer = io.BytesIO()
        np.save(buffer, array)
        path.write_bytes(buffer.getvalue())
        return
    with disk.written(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def _load(path: AnyPath) -> np.ndarray:
    return np.load(io.BytesIO(path.read_bytes()) if is_remote(path) else path)


def _holds(path: AnyPath, rows: int) -> bool:
    """Whether a block is there, with all its rows: a power cut may have left it empty."""
    try:
        return len(_load(path)) == rows
    except FileNotFoundError:
        return False
    except (ValueError, EOFError, TypeError):
        print(f"{path}: damaged; it is embedded again", flush=True)
        return False


def _there(path: AnyPath) -> bool | None:
    return path.exists() or None


def gather_parts(folder: AnyPath, rows: int, processes: int, stop_after_s: float) -> Float[np.ndarray, "rows E"]:
    """All vectors, once every block is there.

    Raises:
      UserError: no further block came within `stop_after_s` seconds.
    """
    parts = []
    for i, (start, stop) in enumerate(blocks(rows, processes)):
        path = folder / f"{start}-{stop}.npy"
        what = f"{path}, which process {i % processes} of build_index embeds (--index.stop-after-s)"
        wait_for(functools.partial(_there, path), what, stop_after_s=stop_after_s)
        parts.append(_load(path))
    return np.concatenate(parts)


def embed_new(
    embed: Embed,
    tokens: Integer[np.ndarray, "rows P"],
    known: Known | None,
    rows_per_batch: int,
    progress: Progress | None = None,
) -> Float[np.ndarray, "rows E"]:
    """As `embed_all`, but rows that are `known` take their vectors from there."""
    if known is None:
        return embed_all(embed, tokens, rows_per_batch, progress)
    place = known.places(row_digests(tokens))
    new = np.flatnonzero(place < 0)
    vectors = np.empty((len(tokens), known.vectors.shape[1]), np.float32)
    vectors[place >= 0] = known.vectors[place[place >= 0]]
    if len(new):
        vectors[new] = embed_all(embed, tokens[new], rows_per_batch, progress)
    return vectors


def row_digests(tokens: Integer[np.ndarray, "rows P"]) -> Integer[np.ndarray, "rows 2"]:
    """uint64: 128 bits of each row's tokens."""
    digests = np.empty((len(tokens), 2), np.uint64)
    for row, digest in zip(tokens, digests, strict=True):
        digest[:] = np.frombuffer(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), np.uint64)
    return digests


def _scalars(digests: np.ndarray) -> np.ndarray:
    """One element a row, which can be compared."""
    return np.ascontiguousarray(digests).view([("a", np.uint64), ("b", np.uint64)]).reshape(-1)


def probe_queries(vectors: Float[np.ndarray, "N E"], seed: int) -> Float[np.ndarray, "R E"]:
    """Stand-ins for query vectors: passage vectors of a sample, moved by half the spread of each coordinate."""
    generator = np.random.default_rng([seed, len(vectors)])
    sample = vectors[generator.choice(len(vectors), min(PROBE_QUERIES, len(vectors)), replace=False)]
    noise = generator.standard_normal(sample.shape, dtype=np.float32)
    return sample + 0.5 * vectors[: 100 * PROBE_QUERIES].std(axis=0) * noise


def _one_ahead(embed: Embed, batches: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, Any]]:
    """(rows, vectors) of each batch; the next batch is dispatched before the vectors of this one are waited for."""
    waiting = None
    for rows, batch in batches:
        waiting, ready = (rows, embed(batch)), waiting
        if ready is not None:
            yield ready
    if waiting is not None:
        yield waiting


def _batches(tokens: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows, their tokens [size, T]) by length; where too few rows are left, the last one fills the batch up."""
    lengths = _lengths(tokens)
    order = np.argsort(lengths, kind="stable")
    start = 0
    for limit in _bucket_limits(lengths, size, tokens.shape[1]):
        stop = int(np.searchsorted(lengths[order], limit, side="right"))
        for first in range(start, stop, size):
            rows = order[first : min(first + size, stop)]
            filled = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))])
            yield rows, np.asarray(tokens[filled, :limit], np.int32)
        start = stop


def _lengths(tokens: np.ndarray, rows: int = 1 << 16) -> Int[np.ndarray, " rows"]:
    """Tokens per row, block by block: the store is memory-mapped and may be larger than memory."""
    return np.concatenate([(tokens[i : i + rows] != PAD).sum(axis=1) for i in range(0, len(tokens), rows)])


def _bucket_limits(lengths: np.ndarray, size: int, longest: int) -> list[int]:
    """Lengths, multiples of 16, that rows are cut to; a bucket that would not fill one batch is joined to the next."""
    limits, begun = [], 0
    for limit in [*range(BUCKET, longest, BUCKET), longest]:
        rows = int((lengths <= limit).sum())
        if rows - begun >= size or (limit == longest and rows > begun):
            limits.append(limit)
            begun = rows
    return limits
