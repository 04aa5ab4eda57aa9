"""Words and vectors together: the weighted sum over all passages, in the vectors' own scores, through files."""

import dataclasses

import numpy as np
import pytest

from realm_jax.config import Index
from realm_jax.errors import UserError
from realm_jax.evaluation.hybrid import chosen
from realm_jax.index.base import Passages
from realm_jax.index.bm25 import Bm25Index
from realm_jax.index.exact import ExactIndex
from realm_jax.index.hybrid import HybridIndex
from tests.index.test_bm25 import VOCABULARY, N, row

E = 5


@pytest.fixture(scope="module")
def passages():
    draw = np.random.default_rng(3)
    bodies = [draw.integers(200, 230, draw.integers(1, 8)).tolist() for _ in range(N)]
    tokens = np.array([row(12, [200 + i], body) for i, body in enumerate(bodies)])
    return Passages(draw.normal(size=(N, E)).astype(np.float32), tokens, VOCABULARY)


@pytest.fixture(scope="module")
def encoded():
    draw = np.random.default_rng(4)
    pieces = ([205, 211, 205], [229, 103], [103])  # the last stands nowhere
    return draw.normal(size=(3, E)).astype(np.float32), np.array([row(8, one) for one in pieces], np.int32)


def unit(scores):
    return (scores - scores.min()) / (np.ptp(scores) or 1)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("k", [1, 7, N])
def test_it_finds_what_the_sum_of_both_finds(passages, encoded, weight, k):
    """N is below the depth to which each of the two is searched, so that none is missed."""
    settings = Index(kind="hybrid", bm25_weight=weight)
    scores, rows = HybridIndex.build(passages, settings).search(encoded, k)
    words = list(Bm25Index.build(passages, settings).all_scores(encoded[1]))
    for i, vector in enumerate(encoded[0]):
        products = passages.vectors @ vector
        both = (1 - weight) * unit(products) + weight * unit(words[i])
        assert rows[i].tolist() == np.argsort(-both, kind="stable")[:k].tolist()
        np.testing.assert_allclose(scores[i], products[rows[i]], rtol=1e-5)


def test_alone_each_is_itself(passages, encoded):
    index = HybridIndex.build(passages, Index(bm25_weight=0.0))
    exact, words = ExactIndex(passages.vectors), Bm25Index.build(passages, Index())
    for found, expected in zip(index.search(encoded, 6), exact.search(encoded[0], 6), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = index.weighted(1.0).search(encoded, 6)[1]
    assert found.tolist() == words.search(encoded[1], 6)[1].tolist()


def test_a_passage_that_only_one_of_them_finds_is_found(monkeypatch):
    """Of more passages than either is searched for."""
    monkeypatch.setattr("realm_jax.index.hybrid.LEAST_DEPTH", 2)
    tokens = np.array([row(12, [], [210]) for _ in range(40)])
    tokens[33] = row(12, [], [229])
    vectors = np.zeros((40, E), np.float32)
    vectors[17] = 1
    query = np.ones((1, E), np.float32), np.array([row(8, [229])], np.int32)
    index = HybridIndex.build(Passages(vectors, tokens, VOCABULARY), Index(bm25_weight=0.4))
    assert index.search(query, 2)[1].tolist() == [[17, 33]]
    assert index.weighted(0.6).search(query, 2)[1].tolist() == [[33, 17]]


def test_through_files_nothing_changes(passages, encoded, tmp_path):
    settings = Index(kind="hybrid", bm25_weight=0.4)
    index = HybridIndex.build(passages, settings)
    index.save(tmp_path)
    opened = HybridIndex.open(tmp_path, passages.vectors, settings, None)
    for one, other in zip(index.search(encoded, 9), opened.search(encoded, 9), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_searches_with_vectors_and_rows_and_the_models_score(passages, encoded):
    index = HybridIndex.build(passages, Index())
    queries = encoded[1]
    assert index.encode(lambda rows: 2 * rows, queries)[1] is queries and index.own_scores(encoded, queries) is None
    with pytest.raises(UserError, match="not finite"):
        index.search((encoded[0] * np.nan, queries), 2)
    with pytest.raises(UserError, match="the index holds 23"):
        index.search(encoded, N + 1)


def test_the_weight_is_in_the_middle_of_equals():
    assert chosen((0.0, 0.1, 0.2, 0.3, 0.4), [1.0, 1.5, 1.5, 1.5, 1.2]) == 0.2
    assert chosen((0.0, 0.5, 1.0), [1.0, 0.9, 0.8]) == 0.0


def test_a_store_on_the_devices_is_refused():
    with pytest.raises(UserError, match=r"index\.store: device needs index\.kind exact, not hybrid"):
        dataclasses.replace(Index(kind="hybrid"), store="device").check("index.")
