"""Every passage is embedded once, with its own tokens and little padding, and what is published is searchable."""

import collections
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm_jax.config import Index
from realm_jax.errors import UserError
from realm_jax.index import embed_passages as build_module
from realm_jax.index.embed_passages import build_snapshot, embed_all
from realm_jax.index.snapshots import PARTS, SnapshotError, list_steps, load, load_index, remove_old, signs_of_work


def store(lengths, width, seed=0, dtype=np.uint16):
    """Token rows of the given lengths."""
    tokens = np.random.default_rng(seed).integers(1, 5000, (len(lengths), width))
    return np.where(np.arange(width) < np.array(lengths)[:, None], tokens, 0).astype(dtype)


def embed_by_hand(tokens):
    """A vector that tells the row, whatever the padding."""
    places = np.arange(1, tokens.shape[1] + 1)
    tokens = tokens.astype(np.float64)
    sums = [tokens.sum(1), (tokens * places).sum(1), (tokens > 0).sum(1)]
    return np.stack(sums, axis=1).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=70),
    width=st.sampled_from([50, 64]),
    rows_per_batch=st.sampled_from([1, 4, 32]),
)
def test_each_row_gets_its_own_vector_in_few_shapes(lengths, width, rows_per_batch):
    tokens, shapes, progress = store(lengths, width), collections.Counter(), []

    def embed(batch):
        assert batch.dtype == np.int32
        shapes[batch.shape] += 1
        return jnp.asarray(embed_by_hand(batch))

    vectors = embed_all(embed, tokens, rows_per_batch, lambda done, total: progress.append((done, total)))
    np.testing.assert_array_equal(vectors, embed_by_hand(tokens))
    assert vectors.dtype == np.float32
    assert {rows for rows, _ in shapes} == {min(rows_per_batch, len(lengths))}
    assert all(length % 16 == 0 or length == width for _, length in shapes)
    assert progress == sorted(progress) and progress[-1] == (len(lengths), len(lengths))
    assert len(progress) == sum(shapes.values())


def test_padding_is_not_embedded():
    tokens, work = store([10] * 90 + [40] * 20 + [60] * 3, 64), []

    def embed(batch):
        work.append(batch.size)
        return embed_by_hand(batch)

    embed_all(embed, tokens, 10)
    assert sum(work) == 90 * 16 + 20 * 48 + 10 * 64  # 3 rows of 60 wordpieces take a batch of their own
    work.clear()
    embed_all(embed, store([3] + [10] * 9 + [20] * 2 + [60] * 30, 64), 10)
    assert work == [10 * 16, *[10 * 64] * 4]  # too few rows of 20 for a shape of their own


@pytest.mark.parametrize("kind", ["exact", "scann"])
def test_build_publishes_and_measures(tmp_path, kind):
    tokens = store(np.random.default_rng(1).integers(3, 30, 2_201), 32)
    projection = np.random.default_rng(2).standard_normal((5_000, 12)).astype(np.float32)
    settings_ = Index(kind=kind, rows_per_batch=64)

    def embed(batch):
        return (projection[batch] * (batch > 0)[:, :, None]).mean(axis=1)

    for step in (0, 15):
        manifest = build_snapshot(step, embed, tokens, "f00d", settings_, tmp_path)
    assert list_steps(tmp_path) == [0, 15]
    assert (manifest.count, manifest.dimension, manifest.kind) == (2_200, 12, kind)
    assert set(manifest.seconds) == {"embed", "build", "recall"}
    assert manifest.recall is None if kind == "exact" else manifest.recall >= 0.95
    snapshot = load(tmp_path, 15, "f00d")
    np.testing.assert_allclose(snapshot.vectors[[7, -1]], embed_all(embed, tokens, 1)[[7, -1]], rtol=1e-5)
    _, found = load_index(tmp_path, 15, None, settings_).search(snapshot.vectors[:4], 3)
    assert found.max() < 2_200


def test_a_diverged_embedder_publishes_nothing(tmp_path):
    def embed(batch):
        return np.full((len(batch), 4), np.nan)

    with pytest.raises(SnapshotError, match="not finite"):
        build_snapshot(1, embed, store([5] * 30, 16), "f00d", Index(), tmp_path)
    assert list_steps(tmp_path) == []


def test_interrupting_by_progress_publishes_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_snapshot(1, embed_by_hand, store([5] * 30, 16), "f00d", Index(), tmp_path, stop)
    assert list_steps(tmp_path) == []


def test_vectors_of_unchanged_rows_are_kept(tmp_path):
    before, seen = store([20] * 30 + [9] * 10, 32), []

    def embed(batch):
        seen.append(batch)
        return embed_by_hand(batch)

    settings = Index(kind="exact", rows_per_batch=4)
    build_snapshot(5, embed, before, "a", settings, tmp_path, embedder="e")
    after = np.concatenate([before[12:], store([25] * 3, 32, seed=9), before[:4]])
    seen.clear()
    build_snapshot(5, embed, after, "b", settings, tmp_path, embedder="e")
    assert {tuple(row[row > 0]) for batch in seen for row in batch} == {tuple(row[row > 0]) for row in after[28:31]}
    np.testing.assert_array_equal(load(tmp_path, 5, "b").vectors, embed_by_hand(after))
    assert list_steps(tmp_path) == list_steps(tmp_path, "b") == [5] and list_steps(tmp_path, "a") == []
    seen.clear()
    build_snapshot(5, embed, before, "a", settings, tmp_path, embedder="another")
    assert sum(map(len, seen)) >= len(before)
    build_snapshot(5, pytest.fail, before[::-1], "c", settings, tmp_path, embedder="another")
    np.testing.assert_array_equal(load(tmp_path, 5).vectors, embed_by_hand(before[::-1]))


def test_an_embedder_that_has_not_changed_embeds_nothing_anew(tmp_path):
    tokens, settings = store([20] * 30 + [9] * 10, 32), Index(kind="exact", rows_per_batch=4)
    for step, embed in ((0, embed_by_hand), (5, pytest.fail)):
        build_snapshot(step, embed, tokens, "a", settings, tmp_path, embedder="e")
        np.testing.assert_array_equal(load(tmp_path, step, "a").vectors, embed_by_hand(tokens))


def build(folder, tokens, part=(0, 1), embed=embed_by_hand, embedder="e1", stop_after_s=60.0):
    exact = Index(kind="exact", stop_after_s=stop_after_s)
    return build_snapshot(1, embed, tokens, "f00d", exact, folder, embedder=embedder, part=part)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_embed_each_a_part_and_the_first_one_publishes(tmp_path, monkeypatch, processes):
    monkeypatch.setattr(build_module, "BLOCK_ROWS", 16)
    tokens, embedded = store([5, 9, 20] * 33, 32), [[] for _ in range(processes)]

    def embed_of(process):
        return lambda batch: embedded[process].append(len(batch)) or embed_by_hand(batch)

    with ThreadPoolExecutor(processes) as threads:
        running = [
            threads.submit(build, tmp_path, tokens, (i, processes), embed_of(i)) for i in reversed(range(processes))
        ]
        *others, first = [future.result(60) for future in running]
    assert others == [None] * (processes - 1) and first.count == 98 and all(embedded)
    np.testing.assert_array_equal(load(tmp_path, 1).vectors, embed_by_hand(tokens))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize(
    "part, message",
    [
        (0, r"waited .* for .*16-32.npy, which process 1 of build_index embeds \(--index.stop-after-s\)"),
        (1, r"waited .* for snapshot 1 .*which process 0 publishes \(--index.stop-after-s\)"),
    ],
)
def test_a_part_that_does_not_come_is_an_error_that_says_whose_it_is(tmp_path, monkeypatch, part, message):
    monkeypatch.setattr(build_module, "BLOCK_ROWS", 16)
    with pytest.raises(UserError, match=message):
        build(tmp_path, store([7] * 64, 16), (part, 2), stop_after_s=0.3)
    assert list_steps(tmp_path) == []
    build(tmp_path, store([7] * 64, 16))  # nothing embedded is lost, and a single process goes on
    assert list_steps(tmp_path) == [1]


def test_a_half_done_embedding_is_gone_on_with_by_the_same_embedder_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(build_module, "BLOCK_ROWS", 16)
    tokens, embedded = store([7] * 64, 16), []

    def count(batch):
        embedded.append(batch)
        return embed_by_hand(batch)

    def stop_after_two(batch):
        if len(embedded) == 2:
            raise KeyboardInterrupt
        return count(batch)

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, tokens, embed=stop_after_two)
    assert list_steps(tmp_path) == []
    (parts,) = tmp_path.iterdir()
    (parts / "32-48.tmp.npy").write_bytes(b"torn")
    shutil.copytree(parts, kept := tmp_path / "kept")
    for embedder, left in (("e1", 2), ("e2", 4)):
        embedded.clear()
        build(tmp_path, tokens, embed=count, embedder=embedder)
        assert len(embedded) == left
        np.testing.assert_array_equal(load(tmp_path, 1).vectors, embed_by_hand(tokens))
        shutil.copytree(kept, parts, dirs_exist_ok=True)
    remove_old(tmp_path, keep=2)
    assert not parts.exists()


def test_each_batch_is_a_sign_of_work(tmp_path):
    """By which a trainer knows that a builder gets on, whatever the size of its blocks."""
    folder, seen = tmp_path / f".0-x-y{PARTS}", []

    def embed(rows):
        os.utime(folder, ns=(0, 0))
        return np.ones((len(rows), 2), np.float32)

    assert signs_of_work(tmp_path / "none") == []
    build_module.embed_part(
        embed, store([3] * 8, 4), 2, folder, (0, 1), lambda *_: seen.append(signs_of_work(tmp_path))
    )
    assert len(seen) == 4
    for ((name, changed),) in seen:
        assert name == folder.name and changed > 0
