"""Snapshots are visible whole or not at all, and damage is seen before anything is read."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from realm_jax.config import Index
from realm_jax.index import snapshots
from realm_jax.index.exact import ExactIndex
from realm_jax.index.scann import ScannIndex
from realm_jax.index.snapshots import SnapshotError, list_steps, load, load_index, publish_snapshot, remove_old


def vectors(count=40, size=6, seed=0):
    return np.random.default_rng(seed).standard_normal((count + 1, size), dtype=np.float32)


def publish(directory, step, kind="exact", array=None):
    array = vectors() if array is None else array
    index = ScannIndex(array[:-1]) if kind == "scann" else None
    return publish_snapshot(directory, step, array, kind=kind, fingerprint="f00d", index=index, recall=0.97)


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_what_was_published_is_loaded(tmp_path, kind):
    manifest = publish(tmp_path, 12, kind)
    snapshot = load(tmp_path, 12, "f00d")
    assert snapshot.manifest == manifest and (manifest.step, manifest.count, manifest.dimension) == (12, 40, 6)
    assert isinstance(snapshot.vectors, np.memmap)
    np.testing.assert_array_equal(snapshot.vectors, vectors())
    queries = vectors(seed=1)[:5]
    index = load_index(tmp_path, 12, "f00d", Index())
    assert isinstance(index, ScannIndex if kind == "scann" else ExactIndex)
    expected = ExactIndex(vectors()[:-1]).search(queries, 7)[1]
    np.testing.assert_array_equal(index.search(queries, 7)[1], expected)


@pytest.mark.parametrize("rows", [1, 7, 41, 50])
def test_vectors_are_read_a_part_at_a_time(tmp_path, monkeypatch, rows):
    """From anything with a shape and slices; a vector that is not finite is seen in any part."""

    class Parts:
        def __init__(self, array):
            self.array, self.shape = array, array.shape

        def __getitem__(self, part):
            assert part.stop - part.start <= rows
            return self.array[part]

    monkeypatch.setattr(snapshots, "_ROWS_AT_ONCE", rows)
    publish(tmp_path, 1, array=Parts(vectors()))
    np.testing.assert_array_equal(load(tmp_path, 1).vectors, vectors())
    for row in (0, 19, 40):
        bad = vectors()
        bad[row, 2] = np.nan
        with pytest.raises(SnapshotError, match="1 of 41 passage vectors are not finite"):
            publish(tmp_path, 2, array=Parts(bad))
    assert list_steps(tmp_path) == [1]


def test_snapshots_survive_a_move_of_their_folder(tmp_path):
    publish(tmp_path / "here", 3, "scann", vectors(2_300, 4))
    (tmp_path / "here").rename(tmp_path / "there")
    queries = vectors(seed=2, size=4)
    found = load_index(tmp_path / "there", 3, None, Index()).search(queries, 5)[1]
    assert found.max() < 2_300


def test_a_kind_that_this_version_lacks_is_an_error_that_lists_what_there_is(tmp_path):
    publish(tmp_path, 1, kind="tree")
    with pytest.raises(SnapshotError, match="index of kind 'tree'; this version has scann, exact, hybrid, bm25"):
        load(tmp_path, 1).index(Index())


def test_steps_are_listed_in_order_and_nothing_else(tmp_path):
    assert list_steps(tmp_path / "absent") == []
    for step in (100, 0, 9):
        publish(tmp_path, step)
    (tmp_path / "50").mkdir()  # no manifest
    (tmp_path / ".70.tmp").mkdir()
    (tmp_path / "notes").mkdir()
    assert list_steps(tmp_path) == [0, 9, 100]


def test_a_snapshot_that_is_removed_while_they_are_listed_is_left_out(tmp_path, monkeypatch):
    """As by the first of several builders, while the others look whether the new one is there."""
    for step in (1, 2):
        publish(tmp_path, step)
    fingerprint, read = load(tmp_path, 1).manifest.fingerprint, snapshots._read_manifest

    def removed(path):
        shutil.rmtree(tmp_path / "1", ignore_errors=True)
        return read(path)

    monkeypatch.setattr(snapshots, "_read_manifest", removed)
    assert list_steps(tmp_path, fingerprint) == [2]


def test_publishing_a_step_again_replaces_it(tmp_path):
    publish(tmp_path, 4)
    publish(tmp_path, 4, array=vectors(seed=8))
    np.testing.assert_array_equal(load(tmp_path, 4).vectors, vectors(seed=8))


def test_a_flipped_byte_in_any_file_is_seen(tmp_path):
    manifest = publish(tmp_path, 1, "scann", vectors(2_300, 4))
    assert len(manifest.files) >= 6
    for name in manifest.files:
        path = tmp_path / "1" / name
        content = path.read_bytes()
        if not content:
            continue
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(SnapshotError, match=f"{name}: damaged"):
            load(tmp_path, 1)
        path.write_bytes(content)
    load(tmp_path, 1)


def test_a_truncated_or_missing_file_is_seen(tmp_path):
    manifest = publish(tmp_path, 1, "scann", vectors(2_300, 4))
    for name in [*manifest.files, snapshots.MANIFEST]:
        path = tmp_path / "1" / name
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        if content:
            with pytest.raises(SnapshotError):
                load(tmp_path, 1)
        path.unlink()
        with pytest.raises(SnapshotError, match=f"incomplete, {path.name} is missing"):
            load(tmp_path, 1)
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 39}, r"vectors \(41, 6\) of step 2, but should hold float32 vectors \(40, 6\)"),
        ({"step": 3}, "of step 3, but should hold"),
        ({"surprise": 1}, "not a manifest of this version"),
        ({"files": 7}, "not a manifest of this version"),
        ({"files": {}}, "lists no vectors.npy"),
    ],
)
def test_a_manifest_that_does_not_fit_is_seen(tmp_path, change, message):
    publish(tmp_path, 2)
    path = tmp_path / "2" / snapshots.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SnapshotError, match=message):
        load(tmp_path, 2)


def test_another_corpus_and_a_missing_step_are_errors(tmp_path):
    publish(tmp_path, 2)
    with pytest.raises(SnapshotError, match="passage store f00d, but this is store beef"):
        load(tmp_path, 2, "beef")
    with pytest.raises(SnapshotError, match=r"no such snapshot.*these steps: 2"):
        load(tmp_path, 5)


def test_vectors_that_are_not_finite_are_not_published(tmp_path):
    array = vectors()
    array[[3, 9], 1] = np.nan
    with pytest.raises(SnapshotError, match="2 of 41 passage vectors are not finite"):
        publish(tmp_path, 2, array=array)
    assert os.listdir(tmp_path) == []


def test_old_ones_go_the_first_and_the_open_stay(tmp_path):
    for step in (0, 10, 20, 30, 40):
        publish(tmp_path, step)
    opened = load(tmp_path, 10)
    (tmp_path / ".5.removed").mkdir()
    (tmp_path / ".7.tmp").mkdir()
    assert remove_old(tmp_path, keep=2) == [10, 20]
    assert sorted(os.listdir(tmp_path)) == ["0", "30", "40"]
    np.testing.assert_array_equal(opened.vectors, vectors())  # the reader keeps what it has open
    with pytest.raises(SnapshotError, match="no such snapshot"):
        load(tmp_path, 10)
    assert remove_old(tmp_path, keep=2) == []
    assert remove_old(tmp_path, keep=1, keep_always=()) == [0, 30]


def test_index_of_a_removed_snapshot_is_an_error_of_its_own(tmp_path):
    publish(tmp_path, 1, "scann")
    publish(tmp_path, 2, "scann")
    opened = load(tmp_path, 1)
    remove_old(tmp_path, keep=1)
    with pytest.raises(SnapshotError, match="was removed while it was being read"):
        opened.index(Index())
    assert isinstance(dataclasses.replace(opened, directory=tmp_path / "2").index(Index()), ScannIndex)


def test_what_a_killed_remover_left_is_in_nobodys_way(tmp_path):
    for step in (1, 2):
        publish(tmp_path, step)
    (tmp_path / f".1{snapshots.REMOVED}").mkdir()
    (tmp_path / f".1{snapshots.REMOVED}" / "half").touch()
    assert remove_old(tmp_path, keep=1) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from realm_jax.config import Index
from realm_jax.index import snapshots
directory, stop_at = Path(sys.argv[1]), sys.argv[2]
vectors = np.random.default_rng(0).standard_normal((41, 6), dtype=np.float32)

def stop(original):
    def stopping(*arguments, **keywords):
        result = original(*arguments, **keywords)
        print("here", flush=True)
        time.sleep(60)
        return result
    return stopping

if stop_at == "vectors":
    snapshots._write_vectors = stop(snapshots._write_vectors)
elif stop_at == "checksums":
    snapshots._checksums = stop(snapshots._checksums)
elif stop_at == "manifest":
    snapshots.write_json = stop(snapshots.write_json)
snapshots.publish_snapshot(directory, 6, vectors, kind="exact", fingerprint="f00d")
"""


@pytest.mark.parametrize("stop_at", ["vectors", "checksums", "manifest"])
def test_a_writer_killed_while_publishing_leaves_nothing_visible(tmp_path, stop_at):
    publish(tmp_path, 5)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), stop_at], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "here\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert list_steps(tmp_path) == [5] and len(os.listdir(tmp_path)) == 2  # the half-written folder has no step's name
    with pytest.raises(SnapshotError, match="no such snapshot"):
        load(tmp_path, 6)
    publish(tmp_path, 6)
    remove_old(tmp_path, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["5", "6"]
    np.testing.assert_array_equal(load(tmp_path, 6).vectors, vectors())


def test_a_reader_beside_a_writer_meets_whole_snapshots_only(tmp_path):
    """A real second process publishes and removes as fast as it can."""
    program = (
        "import sys; from pathlib import Path; import numpy as np; from realm_jax.index.snapshots import *\n"
        "for step in range(60):\n"
        "    vectors = np.full((2000, 8), step, np.float32)\n"
        "    publish_snapshot(Path(sys.argv[1]), step, vectors, kind='exact', fingerprint='f00d')\n"
        "    remove_old(Path(sys.argv[1]), keep=2)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    seen, deadline = set(), time.monotonic() + 60
    while writer.poll() is None and time.monotonic() < deadline:
        step = max(list_steps(tmp_path), default=None)
        if step is None:
            continue
        try:
            snapshot = load(tmp_path, step, "f00d")
        except SnapshotError as error:
            assert "no such snapshot" in str(error) or "incomplete" in str(error)
            continue
        assert (snapshot.vectors == step).all()
        seen.add(step)
    assert writer.wait() == 0 and len(seen) > 5
