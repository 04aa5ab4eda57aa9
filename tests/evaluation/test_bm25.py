import dataclasses
import math
import types
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.config import Bm25 as Settings
from realm_jax.errors import UserError
from realm_jax.evaluation.bm25 import Collection, evaluate, measure, tune, words

WORDS = st.lists(st.sampled_from(["red", "sea", "lake", "chad", "the"]), min_size=1, max_size=6)


def scores_by_hand(documents, question, k1, b):
    """BM25 as Lucene has it."""
    mean, n = sum(map(len, documents)) / len(documents), len(documents)
    result = []
    for document in documents:
        counts, score = Counter(document), 0.0
        for word in question:
            holding = sum(word in other for other in documents)
            if counts[word]:
                idf = math.log(1 + (n - holding + 0.5) / (holding + 0.5))
                score += idf * counts[word] / (counts[word] + k1 * (1 - b + b * len(document) / mean))
        result.append(score)
    return np.array(result)


@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=2, max_size=7),
    WORDS,
    st.sampled_from([0.6, 2.4]),
    st.sampled_from([0.0, 0.75]),
    st.integers(1, 3),
)
def test_the_order_is_the_formulas(passages, question, k1, b, weight):
    titles, bodies = [[" ".join(words) for words in part] for part in zip(*passages, strict=True)]
    documents = [title * weight + body for title, body in passages]
    expected = scores_by_hand(documents, question, k1, b)
    settings = Settings(title_weight=weight, k1=k1, b=b)
    rows = Collection(titles, bodies).search([" ".join(question), "nowhere"], settings, len(passages))
    assert (np.diff(expected[rows[0]]) <= 1e-5).all()
    assert sorted(rows[0]) == list(range(len(passages))) == rows[1].tolist()


def test_stopwords_do_not_count():
    collection, question = Collection(["what", "x"], ["what what", "capital y"]), ["what capital"]
    assert collection.search(question, Settings("none"), 1).tolist() == [[0]]
    assert collection.search(question, Settings("en_plus"), 1).tolist() == [[1]]


def test_words():
    assert words("Brasília, São-Paulo: 1,233 km") == ["brasilia", "sao", "paulo", "1", "233", "km"]


TITLES = [f"{name}: Government" for name in ("France", "Italy", "Chad")] * 2
TEXTS = [f"Capital: {city}." for city in ("Paris", "Rome", "N'Djamena")] + ["The lake."] * 3
ANSWERS = {"dev": ["Rome"], "test": ["Rome", "Paris"], "test_new_kinds": ["Paris"]}
QUESTIONS = ["What is the capital of Italy?", "Capital of France?"]


def hits(split, rows):
    return np.array(
        [[answer in TEXTS[row] for row in found] for answer, found in zip(ANSWERS[split], rows, strict=True)]
    )


def test_evaluate():
    result = evaluate(Collection(TITLES, TEXTS), {"dev": QUESTIONS[:1], "test": QUESTIONS}, hits)
    assert result.dev_recall == 1.0
    assert result.recall == {"test": {1: 1.0, 5: 1.0, 20: 1.0, 100: 1.0}}
    rows = Collection(TITLES, TEXTS).search(QUESTIONS, result.settings, 100)
    assert rows.shape == (2, 6) and rows[:, 0].tolist() == [1, 0]


def test_recall_counts_questions_with_a_hit():
    def nothing_for_the_first(split, rows):
        return hits(split, rows) & (np.arange(len(rows)) > 0)[:, None] if split == "test" else hits(split, rows)

    result = evaluate(Collection(TITLES, TEXTS), {"dev": QUESTIONS[:1], "test": QUESTIONS}, nothing_for_the_first)
    assert result.recall == {"test": {1: 0.5, 5: 0.5, 20: 0.5, 100: 0.5}}


def test_measure_names_what_it_measures():
    texts = [types.SimpleNamespace(title=title, text=text) for title, text in zip(TITLES, TEXTS, strict=True)]
    asked = {"dev": QUESTIONS[:1], "test": QUESTIONS, "test_new_kinds": QUESTIONS[1:]}
    sets = {split: types.SimpleNamespace(texts=questions) for split, questions in asked.items()}
    results = measure(texts, sets, hits)
    names = ["recall@1", "recall@5", "recall@20", "recall@100"]
    names += [f"{name}_new_kinds" for name in names] + ["recall@5_dev", "stopwords", "title_weight", "k1", "b"]
    assert list(results) == [f"bm25/{name}" for name in names]
    assert results["bm25/recall@5"] == 1.0 and results["bm25/recall@5_new_kinds"] == 1.0


def test_tuning_finds_the_best_on_dev_and_never_looks_at_test():
    best = Settings("en", 8, 2.4, 0.25)

    class Staged(Collection):
        def __init__(self):
            pass

        def search(self, questions, settings, k):
            right = [a == b for a, b in zip(dataclasses.astuple(settings), dataclasses.astuple(best), strict=True)]
            return np.full((4, 1), sum(right))

    def staged_hits(split, rows):
        assert split == "dev"
        return np.arange(4)[:, None] < rows

    assert tune(Staged(), QUESTIONS, staged_hits) == (best, 1.0)


def test_where_all_are_equal_nothing_changes():
    assert tune(Collection(TITLES, TEXTS), QUESTIONS[:1], lambda split, rows: rows < 0) == (Settings(), 0.0)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_without_questions(split):
    sizes = {"dev": QUESTIONS[:1], "test": QUESTIONS} | {split: []}
    with pytest.raises(UserError, match=f"split {split}: there are none"):
        evaluate(Collection(TITLES, TEXTS), sizes, hits)
