"""The candidates are the null passage and the best passages that are allowed; never one that is banned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm_jax.errors import UserError
from realm_jax.index.base import Index
from realm_jax.index.candidates import NULL_CANDIDATE, search_candidates, search_candidates_device
from realm_jax.index.exact import ExactIndex
from realm_jax.index.scann import ScannIndex

N, B = 23, 3


class Forgetful(Index):
    """Finds half of what is asked for, and nothing in the other places, until everything is asked for."""

    num_passages, dimension = N, 2

    def __init__(self, vectors):
        self.exact, self.depths = ExactIndex(vectors), []

    def _search(self, queries, k):
        self.depths.append(k)
        scores, ids = map(np.copy, self.exact.search(queries, k))
        if k < N:
            scores[:, (k + 1) // 2 :], ids[:, (k + 1) // 2 :] = -np.inf, -1
        return scores, ids


def problem(seed, banned_count):
    """Integer vectors with ties, and the very best passages banned, some places of the ban left empty."""
    generator = np.random.default_rng(seed)
    vectors = generator.integers(-3, 4, (N, 2)).astype(np.float32)
    queries = generator.integers(-3, 4, (B, 2)).astype(np.float32)
    order = np.argsort(-(queries @ vectors.T), axis=1, kind="stable").astype(np.int32)
    banned = generator.permuted(order[:, : banned_count + 2], axis=1)[:, :banned_count]
    banned = np.where(generator.random(banned.shape) < 0.2, -1, banned).astype(np.int32)
    return vectors, queries, order, banned


def expected(order, banned, k):
    rows = [[i for i in best if i not in set(ban)] for best, ban in zip(order.tolist(), banned.tolist(), strict=True)]
    return np.array([[N, *row[: k - 1]] for row in rows])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), banned_count=st.sampled_from([0, 1, 4, 12]), k=st.sampled_from([2, 5, 9]))
@pytest.mark.parametrize("kind", ["exact", "forgetful", "device", "scann"])
def test_null_passage_then_the_best_that_are_allowed(kind, seed, banned_count, k):
    vectors, queries, order, banned = problem(seed, banned_count)
    if kind == "device":
        found = search_candidates_device(ExactIndex(vectors), jnp.asarray(queries), jnp.asarray(banned), k, N)
        found = np.asarray(found)
    else:
        index = {"exact": ExactIndex, "forgetful": Forgetful, "scann": ScannIndex}[kind](vectors)
        found = search_candidates(index, queries, banned, k, N)
    assert found.shape == (B, k) and found.dtype == np.int32
    assert (found[:, NULL_CANDIDATE] == N).all() and (found[:, 1:] != N).all()
    assert not any(set(row) & set(ban) for row, ban in zip(found.tolist(), banned.tolist(), strict=True))
    if kind == "scann":  # it leaves the order of ties open
        products = np.take_along_axis(queries @ vectors.T, found[:, 1:], axis=1)
        best = np.take_along_axis(queries @ vectors.T, expected(order, banned, k)[:, 1:], axis=1)
        np.testing.assert_allclose(products, best, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, expected(order, banned, k))


def test_device_search_runs_under_jit_without_the_host():
    vectors, queries, order, banned = problem(3, 4)
    index = ExactIndex(vectors)
    search = jax.jit(lambda queries, banned: search_candidates_device(index, queries, banned, 5, N))
    arguments = jnp.asarray(queries), jnp.asarray(banned)
    search(*arguments)
    with jax.transfer_guard("disallow"):
        found = search(*arguments)
    np.testing.assert_array_equal(found, expected(order, banned, 5))


def test_searches_deeper_only_when_needed():
    vectors, queries, order, banned = problem(5, 4)
    index = Forgetful(vectors)
    search_candidates(index, queries, order[:, :4], 5, N)
    assert index.depths == [8, 16]
    index.depths.clear()
    search_candidates(index, queries, np.full((B, 4), -1, np.int32), 4, N)
    assert index.depths == [7]


@pytest.mark.parametrize("kind", [ExactIndex, Forgetful])
def test_too_few_passages_is_an_error_not_a_banned_passage(kind):
    vectors, queries, order, _ = problem(7, 0)
    banned = order[:, : N - 3]
    assert search_candidates(kind(vectors), queries, banned, 4, N).shape == (B, 4)
    with pytest.raises(UserError, match="only 3 of 23 passages may be read, but 4 are asked for.*answer_within"):
        search_candidates(kind(vectors), queries, banned, 5, N)
    with pytest.raises(UserError, match="cannot be taken from 23; take a larger corpus.*answer_within"):
        search_candidates_device(ExactIndex(vectors), jnp.asarray(queries), jnp.asarray(banned), 5, N)
