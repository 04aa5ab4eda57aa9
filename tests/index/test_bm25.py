"""BM25 over wordpieces: against the formula, through files, with what stands in no passage or does not count."""

import numpy as np
import pytest

from realm_jax.config import Bm25, Index
from realm_jax.errors import UserError
from realm_jax.index.base import Passages
from realm_jax.index.bm25 import Bm25Index

CLS, SEP, PAD = 101, 102, 0
N, P = 23, 12
VOCABULARY = {"the" if i == 205 else "what" if i == 211 else f"piece{i}": i for i in range(230)}


def row(length: int, *parts: list[int]) -> list[int]:
    pieces = [CLS, *(piece for part in parts for piece in (*part, SEP))]
    return pieces + [PAD] * (length - len(pieces))


@pytest.fixture(scope="module")
def tokens():
    """A title of 0 to 2 wordpieces, and a body."""
    draw = np.random.default_rng(1)
    titles = [draw.integers(200, 230, draw.integers(0, 3)).tolist() for _ in range(N)]
    return np.array([row(P, title, draw.integers(200, 230, draw.integers(1, 8)).tolist()) for title in titles])


@pytest.fixture(scope="module")
def queries():
    return np.array([row(8, pieces) for pieces in ([205, 211, 205], [229, 103, 999_999], [103])], np.int32)


def build(tokens, **settings):
    vectors = np.zeros((len(tokens), 2), np.float32)
    return Bm25Index.build(Passages(vectors, tokens, VOCABULARY), Index(bm25=Bm25(**settings)))


def never(rows):
    raise AssertionError("nothing is to be embedded")


def by_hand(tokens, queries, title_weight=1, k1=1.2, b=0.75, ignored=()):
    """Lucene's formula, term by term."""
    passages = []
    for passage in tokens.tolist():
        first = passage.index(SEP)
        passages.append(passage[1:first] * title_weight + passage[first + 1 : passage.index(SEP, first + 1)])
    mean, scores = np.mean([len(passage) for passage in passages]), np.zeros((len(queries), N))
    for q, query in enumerate(queries.tolist()):
        for piece in (piece for piece in query[1:] if piece not in (PAD, SEP, *ignored)):
            holding = sum(piece in passage for passage in passages)
            idf = np.log(1 + (N - holding + 0.5) / (holding + 0.5))
            for i, passage in enumerate(passages):
                count = passage.count(piece)
                scores[q, i] += idf * count / (count + k1 * (1 - b + b * len(passage) / mean))
    return scores


@pytest.mark.parametrize(
    "settings, ignored",
    [({}, ()), ({"title_weight": 4, "k1": 2.4, "b": 0.25}, ()), ({"stopwords": "en"}, (205,)),
     ({"stopwords": "en_plus", "title_weight": 2}, (205, 211))],
)  # fmt: skip
def test_scores_are_the_formulas(tokens, queries, settings, ignored):
    numbers = {name: value for name, value in settings.items() if name != "stopwords"}
    expected = by_hand(tokens, queries, **numbers, ignored=ignored)
    assert expected[0].any() == (len(ignored) < 2) and expected[1].any() and not expected[2].any()
    found, rows = build(tokens, **settings).retrieve(never, queries, N)
    np.testing.assert_allclose(found, np.take_along_axis(expected, rows, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(rows[2], np.arange(N))  # nothing in common: ties go to the lower row
    assert (np.diff(found, axis=1) <= 0).all()


def test_scores_of_given_passages_and_none_for_the_null_passage(tokens, queries):
    rows = np.array([[N, 3, 0], [N, 22, 5], [7, N, 1]])
    padded = np.concatenate([by_hand(tokens, queries), np.zeros((len(queries), 1))], axis=1)
    found = build(tokens).own_scores(queries, rows)
    np.testing.assert_allclose(found, np.take_along_axis(padded, rows, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stopwords", ["none", "en_plus"])
def test_a_saved_index_finds_the_same(tokens, queries, tmp_path, stopwords):
    settings = {"stopwords": stopwords, "title_weight": 3, "b": 0.1}
    index = build(tokens, **settings)
    index.save(tmp_path / "bm25")
    (tmp_path / "bm25").rename(tmp_path / "elsewhere")
    vectors, opened = np.zeros((N, 2), np.float32), Index(bm25=Bm25(**settings))
    again = Bm25Index.open(tmp_path / "elsewhere", vectors, opened, None)
    assert again.num_passages == N and not again.approximate
    for one, other in zip(index.search(queries, 9), again.search(queries, 9), strict=True):
        np.testing.assert_array_equal(one, other)


def test_more_than_there_are_is_an_error(tokens, queries):
    with pytest.raises(UserError, match=f"search for {N + 1} passages: the index holds {N}"):
        build(tokens).search(queries, N + 1)
