"""BM25 over wordpieces: against the formula, through files, with what stands in no passage."""

import numpy as np
import pytest

from realm_jax.errors import UserError
from realm_jax.index.bm25 import K1, B, Bm25Index

CLS, SEP, PAD = 101, 102, 0
N, P = 23, 12


def row(pieces: list[int], length: int) -> list[int]:
    return [CLS, *pieces, SEP] + [PAD] * (length - len(pieces) - 2)


@pytest.fixture(scope="module")
def tokens():
    draw = np.random.default_rng(1)
    return np.array([row(draw.integers(200, 230, draw.integers(1, P - 1)).tolist(), P) for _ in range(N)], np.int32)


@pytest.fixture(scope="module")
def queries():
    return np.array([row([205, 211, 205], 8), row([229, 103, 999_999], 8), row([103], 8)], np.float32)


@pytest.fixture(scope="module")
def expected(tokens, queries):
    """Lucene's formula, term by term."""
    passages = [[piece for piece in passage[1:] if piece not in (PAD, SEP)] for passage in tokens.tolist()]
    mean, scores = np.mean([len(passage) for passage in passages]), np.zeros((len(queries), N))
    for q, query in enumerate(queries.astype(int).tolist()):
        for piece in (piece for piece in query[1:] if piece not in (PAD, SEP)):
            holding = sum(piece in passage for passage in passages)
            idf = np.log(1 + (N - holding + 0.5) / (holding + 0.5))
            for i, passage in enumerate(passages):
                count = passage.count(piece)
                scores[q, i] += idf * count / (count + K1 * (1 - B + B * len(passage) / mean))
    return scores


def test_scores_are_the_formulas(tokens, queries, expected):
    assert expected[0].max() > 1 and expected[1].any() and not expected[2].any()
    found, rows = Bm25Index(tokens).search(queries, N)
    np.testing.assert_allclose(found, np.take_along_axis(expected, rows, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rows[2], np.arange(N))  # nothing in common: ties go to the lower row
    assert (np.diff(found, axis=1) <= 0).all()


def test_scores_of_given_passages_and_none_for_the_null_passage(tokens, queries, expected):
    rows = np.array([[N, 3, 0], [N, 22, 5], [7, N, 1]])
    padded = np.concatenate([expected, np.zeros((len(queries), 1))], axis=1)
    found = Bm25Index(tokens).scores(queries, rows)
    np.testing.assert_allclose(found, np.take_along_axis(padded, rows, 1), rtol=1e-5, atol=1e-6)


def test_a_saved_index_finds_the_same(tokens, queries, tmp_path):
    index = Bm25Index(tokens)
    index.save(tmp_path / "bm25")
    (tmp_path / "bm25").rename(tmp_path / "elsewhere")
    again = Bm25Index.load(tmp_path / "elsewhere")
    assert again.num_passages == N
    for one, other in zip(index.search(queries, 9), again.search(queries, 9), strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_than_there_are_is_an_error(tokens, queries):
    with pytest.raises(UserError, match=f"search for {N + 1} passages: the index holds {N}"):
        Bm25Index(tokens).search(queries, N + 1)
