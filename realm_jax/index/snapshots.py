"""Snapshots: one embedder's vectors of all passages and the index over them, published whole or not at all.

<snapshots>/<step>/vectors.npy     float32 [N + 1, E]; the last row is the null passage
<snapshots>/<step>/<kind>/         the index's own files, where its kind has any
<snapshots>/<step>/digests.npy     uint64 [N + 1, 2]; of each passage's tokens, so that its vector can be kept
<snapshots>/<step>/manifest.json its description, and the checksum of every other file
"""

import contextlib
import dataclasses
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Integer

from realm_jax import remote
from realm_jax.config import Index
from realm_jax.errors import BadJson, UserError, from_json
from realm_jax.index.base import Retriever
from realm_jax.kinds import INDEXES
from realm_jax.remote import AnyPath, is_remote
from realm_jax.workdir import publish, write_json

VECTORS, DIGESTS, MANIFEST = "vectors.npy", "digests.npy", "manifest.json"
REMOVED, PARTS = ".removed", ".parts"
REMEDY = "delete this folder: build_index makes the snapshot again if training needs it, and the result's afterwards"
FIRST_STEP = 0
"""The snapshot that training starts from; kept for the comparison of before and after."""


_ROWS_AT_ONCE = 1 << 16


@runtime_checkable
class Rows(Protocol):
    """Anything like an array [rows, E] in these respects."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


class SnapshotError(UserError):
    """A snapshot that must not be used: damaged, removed, or of another corpus."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The description of a snapshot; written last."""

    step: int
    """The trainer's step whose embedder made the vectors."""
    count: int
    """Passages, N, without the null passage."""
    dimension: int
    kind: str
    """Of index, a name in `kinds.INDEXES`."""
    fingerprint: str
    """Of the passage store that was embedded."""
    recall: float | None
    """Share of the exact index's results that this one finds, `index/recall`; None where it was not measured."""
    seconds: dict[str, float]
    """Time of each part of the making."""
    files: dict[str, str]
    """{path within the snapshot: SHA-256}."""
    embedder: str = ""
    """Digest of the embedder's parameters."""
    looks: dict[str, int] = dataclasses.field(default_factory=dict)
    """How far the index looks (`Retriever.looks`)."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A published snapshot."""

    step: int
    directory: AnyPath
    vectors: Float[np.ndarray, "rows E"]
    """Memory-mapped; stays readable when the snapshot is removed."""
    manifest: Manifest

    def index(self, settings: Index, mesh: Mesh | None = None) -> Retriever:
        """The index over all passages but the null passage; `mesh` as for `Retriever.open`.

        Raises:
          SnapshotError: the snapshot was removed in the meantime, or is of a kind that this version does not know.
          UserError: an index on the devices does not fit there.
        """
        kind = self.manifest.kind
        if kind not in INDEXES:
            raise SnapshotError(f"{self.directory}: index of kind {kind!r}; this version has {', '.join(INDEXES)}")
        try:
            return INDEXES[kind].load().open(self.directory / kind, self.vectors[:-1], settings, mesh)
        except (OSError, ValueError, RuntimeError):
            if self.directory.is_dir():
                raise
            raise SnapshotError(f"{self.directory}: was removed while it was being read; take a newer one") from None


def publish_snapshot(
    directory: AnyPath,
    step: int,
    vectors: Float[np.ndarray, "rows E"] | Rows,
    *,
    kind: str,
    fingerprint: str,
    index: Retriever | None = None,
    recall: float | None = None,
    seconds: dict[str, float] | None = None,
    digests: Integer[np.ndarray, "rows 2"] | None = None,
    embedder: str = "",
) -> Manifest:
    """Makes snapshot `step` visible in `directory`, replacing one of that step.

    Args:
      vectors: the last row is the null passage. They are read a part at a time, so they may be larger than memory.
      index: over all rows but the last, where its kind has files.
      digests: of the rows' tokens; together with `embedder`, the digest of the parameters, they let a later build keep
        the vectors of rows that have not changed.

    Raises:
      SnapshotError: a vector is not finite.
    """
    check_finite(step, vectors)
    with publish(directory / str(step)) as folder:
        _write_vectors(folder / VECTORS, vectors)
        if digests is not None:
            np.save(folder / DIGESTS, digests)
        if index is not None:
            (folder / kind).mkdir()
            index.save(folder / kind)
        manifest = Manifest(
            step=step,
            count=vectors.shape[0] - 1,
            dimension=vectors.shape[1],
            kind=kind,
            fingerprint=fingerprint,
            recall=recall,
            seconds=seconds or {},
            files=_checksums(folder),
            embedder=embedder,
            looks=index.looks if index is not None else {},
        )
        write_json(folder / MANIFEST, dataclasses.asdict(manifest))
    return manifest


def check_finite(step: int, vectors: Float[np.ndarray, "rows E"] | Rows) -> None:
    """Raises SnapshotError where a vector is not finite."""
    if bad := sum(int((~np.isfinite(block).all(axis=1)).sum()) for block in _blocks(vectors)):
        raise SnapshotError(
            f"snapshot of step {step}: {bad} of {vectors.shape[0]} passage vectors are not finite, so nothing is "
            "published; training has diverged: go on from an earlier checkpoint with a smaller learning rate"
        )


def _write_vectors(path: AnyPath, vectors: Float[np.ndarray, "rows E"] | Rows) -> None:
    """As np.save does, a part at a time."""
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(vectors.shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in _blocks(vectors):
            np.asarray(block, np.float32).tofile(file)


def _blocks(vectors: Rows) -> Iterator[np.ndarray]:
    return (vectors[first : first + _ROWS_AT_ONCE] for first in range(0, vectors.shape[0], _ROWS_AT_ONCE))


def list_steps(directory: AnyPath, fingerprint: str | None = None) -> list[int]:
    """Steps of the published snapshots, ascending; only those of one passage store, where its fingerprint is given."""
    if not directory.is_dir():
        return []
    folders = [path for path in directory.iterdir() if path.name.isdecimal() and (path / MANIFEST).exists()]
    if fingerprint is not None:
        folders = [path for path in folders if _fingerprint(path) == fingerprint]
    return sorted(int(folder.name) for folder in folders)


def _fingerprint(folder: AnyPath) -> str | None:
    """Of the store that a snapshot was made from; None where the snapshot was removed meanwhile."""
    try:
        return _read_manifest(folder / MANIFEST).fingerprint
    except FileNotFoundError:
        return None


def load(directory: AnyPath, step: int, fingerprint: str | None = None) -> Snapshot:
    """Opens a snapshot after checking every file of it.

    Args:
      fingerprint: of the passage store it is to be used with; None checks nothing.

    Raises:
      SnapshotError: it is not there, damaged, or made from another passage store.
    """
    folder = directory / str(step)
    try:
        if is_remote(folder):
            folder = _fetch(folder)
        manifest = _read_manifest(folder / MANIFEST)
        for name, expected in manifest.files.items():
            if _checksum(folder / name) != expected:
                raise SnapshotError(f"{folder / name}: damaged, its checksum is not the one in {MANIFEST}; {REMEDY}")
        vectors = np.load(folder / VECTORS, mmap_mode="r")
    except FileNotFoundError as error:
        missing = f"incomplete, {Path(error.filename or str(error)).name} is missing"
        state = missing if folder.is_dir() else "no such snapshot (any more)"
        there = ", ".join(map(str, list_steps(directory))) or "none"
        raise SnapshotError(
            f"{folder}: {state}; there are snapshots of these steps: {there}. The job build_index makes that of a "
            "checkpoint that is there"
        ) from None
    shape = (manifest.count + 1, manifest.dimension)
    if (manifest.step, vectors.shape, vectors.dtype) != (step, shape, np.float32):
        raise SnapshotError(
            f"{folder}: holds {vectors.dtype} vectors {vectors.shape} of step {manifest.step}, but should hold float32 "
            f"vectors {shape} of step {step}; {REMEDY}"
        )
    if fingerprint is not None and manifest.fingerprint != fingerprint:
        raise SnapshotError(
            f"{folder}: made from passage store {manifest.fingerprint}, but this is store {fingerprint}: the "
            f"passages have changed since, or {MANIFEST} has. Use the data that it was made from, or {REMEDY}"
        )
    return Snapshot(step, folder, vectors, manifest)


def _fetch(folder: AnyPath) -> Path:
    """The local copy of a snapshot; those of older ones go, but for the first. Who has one open keeps it."""
    local = remote.mirror(folder)
    remote.copy_down(folder, local, MANIFEST)
    for other in local.parent.iterdir():
        if other.name.isdecimal() and FIRST_STEP < int(other.name) < int(local.name):
            shutil.rmtree(other, ignore_errors=True)
    return local


def known_vectors(
    directory: AnyPath, embedder: str, fingerprint: str | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """(digests uint64 [R, 2], vectors float32 [R, E]) of the newest snapshot that this embedder made, of any step, and
    of any store unless its `fingerprint` is given; None where there is none."""
    made = [
        step
        for step in list_steps(directory, fingerprint)
        if _read_manifest(directory / str(step) / MANIFEST).embedder == embedder
    ]
    if not (embedder and made):
        return None
    snapshot = load(directory, made[-1])
    if DIGESTS not in snapshot.manifest.files:
        return None
    return np.load(snapshot.directory / DIGESTS), snapshot.vectors


def load_index(
    directory: AnyPath, step: int, fingerprint: str | None, settings: Index, mesh: Mesh | None = None
) -> Retriever:
    """The index of a snapshot, which `load` has checked."""
    return load(directory, step, fingerprint).index(settings, mesh)


def signs_of_work(directory: AnyPath) -> list[tuple[str, int]]:
    """A count that changes while a builder embeds: its unfinished folders with the time of the last batch; in a bucket,
    the blocks in them."""
    parts = [path for path in directory.iterdir() if path.name.endswith(PARTS)] if directory.exists() else []
    if is_remote(directory):
        return sorted((str(path), 0) for part in parts for path in remote.files(part))
    with contextlib.suppress(FileNotFoundError):  # published just now
        return [(path.name, path.stat().st_mtime_ns) for path in parts]
    return []


def remove_old(directory: AnyPath, keep: int, keep_always: Collection[int] = (FIRST_STEP,)) -> list[int]:
    """Removes all but the newest `keep` snapshots and those of `keep_always`; returns the removed steps.

    Nobody waits: a snapshot disappears at once, by a new name, so that a reader meets it whole or not at all, and who
    has it open keeps it. The leftovers of killed writers and removers go too, so only the one writer may call this.
    """
    old = [step for step in list_steps(directory)[:-keep] if step not in keep_always]
    if is_remote(directory):
        parts = [path for path in directory.iterdir() if path.name.endswith(PARTS)]
        for folder in [directory / str(step) for step in old] + parts:
            remote.remove(folder)
        return old
    for _ in range(2):  # a killed remover's would stand in the way of the first
        for leftover in [path for ending in (REMOVED, PARTS, ".tmp") for path in directory.glob(f".*{ending}")]:
            shutil.rmtree(leftover, ignore_errors=True)
        for step in old:
            with contextlib.suppress(FileNotFoundError):
                os.rename(directory / str(step), directory / f".{step}{REMOVED}")
    return old


def _read_manifest(path: AnyPath) -> Manifest:
    try:
        manifest = Manifest(**from_json(path.read_bytes()))
        typed = {"step": int, "count": int, "dimension": int, "kind": str, "fingerprint": str, "embedder": str}
        for name, kind in typed.items():
            if not isinstance(getattr(manifest, name), kind):
                raise TypeError(f"its {name!r} is {getattr(manifest, name)!r}")
        whole = VECTORS in manifest.files and all(isinstance(value, str) for value in manifest.files.values())
    except (BadJson, TypeError, AttributeError) as error:  # no JSON, other names, or values of other kinds
        raise SnapshotError(f"{path}: not a manifest of this version ({error}); {REMEDY}") from None
    if not whole:
        raise SnapshotError(f"{path}: lists no {VECTORS} with a checksum; {REMEDY}")
    return manifest


def _checksums(folder: AnyPath) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _checksum(path) for path in files}


def _checksum(path: AnyPath) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
