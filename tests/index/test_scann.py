"""ScaNN against brute force: tree, hashing and reordering, saved and loaded, and searches deeper than its leaves."""

import builtins
import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from realm_jax.config import Index as IndexConfig
from realm_jax.errors import UserError
from realm_jax.index.base import Passages
from realm_jax.index.exact import ExactIndex, recall_against_exact
from realm_jax.index.scann import Parameters, ScannIndex, choose_parameters


def clustered(count, size, clusters=150, seed=0):
    generator = np.random.default_rng(seed)
    centers = generator.standard_normal((clusters, size))
    vectors = centers[generator.integers(clusters, size=count)] + 0.6 * generator.standard_normal((count, size))
    return vectors.astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    return clustered(5_000, 32)


@pytest.fixture(scope="module")
def queries(vectors):
    generator = np.random.default_rng(1)
    sample = vectors[generator.choice(len(vectors), 200, replace=False)]
    return sample + 0.3 * generator.standard_normal(sample.shape, dtype=np.float32)


@pytest.fixture(scope="module")
def index(vectors):
    return ScannIndex(vectors)


def test_recall(index, vectors, queries):
    assert index.parameters.leaves == 71  # the tree is there: this is no plain scan
    for k in (5, 10, 100):
        assert recall_against_exact(index, vectors, queries, k) >= 0.95


def test_scores_are_inner_products_in_order(index, vectors, queries):
    scores, ids = index.search(queries, 9)
    np.testing.assert_allclose(scores, np.einsum("be,bke->bk", queries, vectors[ids]), rtol=1e-4, atol=1e-4)
    assert (np.diff(scores, axis=1) <= 0).all() and scores.dtype == np.float32 and ids.dtype == np.int32


def test_finds_every_passage_when_asked_to(vectors, queries):
    narrow = ScannIndex(vectors, Parameters(len(vectors), leaves=71, leaves_to_search=1, min_leaf_size=1, reorder=5))
    scores, ids = narrow.search(queries[:3], len(vectors))
    np.testing.assert_array_equal(np.sort(ids, axis=1), np.tile(np.arange(len(vectors)), (3, 1)))
    assert np.isfinite(scores).all()


def test_soar_finds_more_in_as_many_leaves_and_nothing_twice(tmp_path, vectors, queries):
    recall = {}
    for soar in (0.0, 1.5):
        index = ScannIndex(vectors, Parameters(len(vectors), 71, 3, 1, 200, soar))
        recall[soar] = recall_against_exact(index, vectors, queries, 10)
    assert recall[1.5] > recall[0.0] + 0.02 and recall[0.0] < 0.9
    _, ids = index.search(queries[:3], len(vectors))
    np.testing.assert_array_equal(np.sort(ids, axis=1), np.tile(np.arange(len(vectors)), (3, 1)))
    (tmp_path / "saved").mkdir()
    index.save(tmp_path / "saved")
    loaded = ScannIndex.load(tmp_path / "saved")
    (scores, found), (wanted, expected) = loaded.search(queries, 10), index.search(queries, 10)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)  # where vectors lie in memory, sums are rounded otherwise
    assert all(len(set(row)) == 10 for row in found.tolist())


def test_soar_is_an_option_of_the_index(vectors):
    passages = Passages(vectors, np.zeros((len(vectors), 4), np.int32), {})
    for soar in (0.0, 1.5):
        built = ScannIndex.build(passages, IndexConfig(soar=soar))
        assert built.parameters == dataclasses.replace(choose_parameters(len(vectors)), soar=soar)


class OneLeaf(Parameters):
    """Searches one leaf, however many neighbours are asked for."""

    def for_depth(self, k):
        return super().for_depth(k) | {"leaves_to_search": 1}


def test_a_leaf_that_holds_too_few_is_not_the_end(vectors, queries):
    parameters = OneLeaf(len(vectors), leaves=700, leaves_to_search=1, min_leaf_size=1, reorder=30)
    narrow = ScannIndex(vectors, parameters)
    _, raw = narrow._searcher.search_batched(queries, **parameters.for_depth(30))
    assert np.isnan(raw).any(axis=1).sum() > 10  # ScaNN itself comes back with less
    scores, ids = narrow.search(queries, 30)
    assert (ids >= 0).all() and np.isfinite(scores).all()
    assert all(len(set(row)) == 30 for row in ids.tolist())


def test_a_query_that_is_not_finite_is_an_error(index, queries):
    queries = queries[:3].copy()
    queries[1, 5] = np.inf
    with pytest.raises(UserError, match="1 of 3 query vectors are not finite"):
        index.search(queries, 4)


@pytest.mark.parametrize("count", [1, 37, 2_500])
def test_saved_then_moved_then_loaded(tmp_path, count):
    vectors = clustered(count, 7)
    index, queries = ScannIndex(vectors), clustered(11, 7, seed=3)
    (tmp_path / "first").mkdir()
    index.save(tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "second")
    loaded = ScannIndex.load(tmp_path / "second")
    assert (loaded.num_passages, loaded.dimension, loaded.parameters) == (count, 7, index.parameters)
    for found, expected in zip(
        loaded.search(queries, min(count, 6)), index.search(queries, min(count, 6)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_equal_vectors_give_an_equal_index(tmp_path, vectors):
    """Without this, two runs of one experiment would retrieve differently."""
    content = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        ScannIndex(vectors).save(tmp_path / name)
        content.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert len(content[0]) > 4 and content[0] == content[1] == content[2]


def test_small_corpora_are_scanned_and_exact():
    vectors, queries = clustered(300, 6), clustered(5, 6, seed=2)
    np.testing.assert_array_equal(ScannIndex(vectors).search(queries, 8)[1], ExactIndex(vectors).search(queries, 8)[1])


def test_parameters_follow_the_size():
    assert choose_parameters(1_999).leaves == 0
    sizes = [2_000, 8_400, 20_000, 1_000_000, 13_353_718]
    chosen = [choose_parameters(n) for n in sizes]
    assert [p.leaves for p in chosen] == [45, 92, 141, 1000, 3654]
    shares = [round(p.leaves_to_search / p.leaves, 2) for p in chosen]
    assert shares == [0.51, 0.5, 0.5, 0.1, 0.1]
    deep = choose_parameters(8_400).for_depth(5_000)
    assert deep == {"final_num_neighbors": 5_000, "pre_reorder_num_neighbors": 8_400, "leaves_to_search": 92}


def test_building_prints_nothing_but_lets_other_lines_pass():
    program = (
        "import numpy as np; from realm_jax.index import scann\n"
        "scann.ScannIndex(np.random.default_rng(0).standard_normal((2100, 4)).astype('f'))\n"
        "with scann._without_log_lines():\n"
        "    __import__('os').write(2, b'other\\nI0000 00:00:1.5    7 some_file.cc:58] noise\\n')\n"
        "import sys; sys.exit('tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "other\n")


def test_missing_library_names_the_way_out(monkeypatch):
    original = builtins.__import__

    def without_scann(name, *arguments, **keywords):
        if name.startswith("scann"):
            raise ImportError("No module named 'scann'")
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_scann)
    with pytest.raises(UserError, match="--index.kind exact"):
        ScannIndex(np.zeros((3, 2), np.float32))
