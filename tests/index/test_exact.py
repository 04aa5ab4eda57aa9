"""The exact index equals brute force, whatever the blocks; ties go to the lower row; nothing leaves the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm_jax.errors import UserError
from realm_jax.index.exact import ExactIndex, recall_against_exact


def brute_force(vectors, queries, k):
    """Rows of the k largest products; of equal ones the lower row first."""
    products = queries.astype(np.float64) @ vectors.astype(np.float64).T
    ids = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(products, ids, axis=1), ids


@settings(max_examples=40, deadline=None)
@given(
    count=st.sampled_from([1, 7, 8, 9, 40]),
    block_rows=st.sampled_from([3, 8, 16, 100]),
    k=st.sampled_from([1, 5, 11]),
    seed=st.integers(0, 2**16),
)
def test_equals_brute_force_with_many_ties(count, block_rows, k, seed):
    generator = np.random.default_rng(seed)
    vectors = generator.integers(-2, 3, (count, 3)).astype(
        np.float32
    )  # small integers: products are exact, ties abound
    queries = generator.integers(-2, 3, (4, 3)).astype(np.float32)
    k = min(k, count)
    scores, ids = ExactIndex(vectors, block_rows).search(queries, k)
    expected_scores, expected_ids = brute_force(vectors, queries, k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)
    assert scores.dtype == np.float32 and ids.dtype == np.int32


def test_equals_brute_force_on_real_numbers():
    generator = np.random.default_rng(0)
    vectors, queries = generator.standard_normal((1003, 32)), generator.standard_normal((5, 32))
    vectors, queries = vectors.astype(np.float32), queries.astype(np.float32)
    scores, ids = ExactIndex(vectors, 128).search(queries, 17)
    expected_scores, expected_ids = brute_force(vectors, queries, 17)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5)


def test_all_products_negative_still_finds_real_rows_only():
    vectors = np.ones((9, 2), np.float32)
    _, ids = ExactIndex(vectors, 4).search(-np.ones((1, 2), np.float32), 9)
    np.testing.assert_array_equal(ids, [np.arange(9)])


def test_stays_on_the_device_and_traces_once():
    index = ExactIndex(np.eye(12, dtype=np.float32), 5)
    traces = []

    @jax.jit
    def search(blocks, count, queries):
        traces.append(1)
        return index.search_device(queries, 2)

    queries = jax.device_put(jnp.eye(12)[:3])
    search(index.blocks, index.count, queries)
    with jax.transfer_guard("disallow"):
        scores, ids = search(index.blocks, index.count, queries)
        index.search_device(queries, 2)
    assert isinstance(ids, jax.Array) and len(traces) == 1
    np.testing.assert_array_equal(ids[:, 0], [0, 1, 2])


def test_score_matrix_is_never_whole():
    index = ExactIndex(np.zeros((4096, 2), np.float32), 256)
    lowered = jax.jit(lambda queries: index.search_device(queries, 3)).lower(jnp.zeros((64, 2)))
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 64 * 4096 * 4 / 2


def test_errors_name_what_is_wrong():
    index = ExactIndex(np.zeros((4, 3), np.float32))
    with pytest.raises(UserError, match="5 passages: the index holds 4"):
        index.search(np.zeros((1, 3), np.float32), 5)
    with pytest.raises(ValueError, match="size 2 do not fit vectors of size 3"):
        index.search(np.zeros((1, 2), np.float32), 1)


def test_recall_counts_products_not_rows():
    vectors = np.repeat(np.arange(1, 4, dtype=np.float32), 5)[:, None]  # rows 10 to 14 are alike

    class Last(ExactIndex):
        def _search(self, queries, k):
            scores, _ = super()._search(queries, k)
            return scores, np.tile(np.arange(14, 14 - k, -1, dtype=np.int32), (len(queries), 1))

    queries = np.ones((2, 1), np.float32)
    assert recall_against_exact(Last(vectors), vectors, queries, 3) == 1.0
    assert recall_against_exact(Last(vectors), vectors, -queries, 3) == 0.0
