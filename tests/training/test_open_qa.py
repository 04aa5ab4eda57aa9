"""Answers to questions against brute force, and the exact characters that they stand for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.index.exact import ExactIndex
from realm_jax.text import features
from realm_jax.training.open_qa import answer, answer_text, batch_size, retrieve
from realm_jax.training.results import fresh_embedder, fresh_reader
from tests.corpus import toy

TOKENIZER = toy.tokenizer()
READ, WIDTH, Q, J = 3, 6, 32, 56


@pytest.fixture(scope="module")
def experiment(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_qa")
    return world.experiment(folder, finetune={"score_scale": 0.7}, evaluation={"batch_size": 5, "read": READ})


@pytest.fixture(scope="module")
def params(experiment):
    reader = fresh_reader(experiment, jax.random.key(1))
    params = {"embedder": fresh_embedder(experiment, jax.random.key(0))}
    params["reader"] = experiment.models.span_reader(jax.random.key(2), reader)
    draw = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: leaf + 0.2 * draw.normal(size=leaf.shape).astype(np.float32), params)


@pytest.fixture(scope="module")
def vectors(experiment, params):
    return np.asarray(experiment.models.embed(params["embedder"], experiment.store.rows(slice(None))))


@pytest.fixture(scope="module")
def questions(experiment):
    return experiment.questions("train")


@pytest.fixture(scope="module")
def answers(experiment, params, vectors, questions):
    index = ExactIndex(vectors[:-1])
    return answer(experiment.config, experiment.models, params, index, experiment.store, questions.queries)


def best_span(experiment, params, query, row, score):
    """Score and wordpieces of the best span, and log of the sum of exp(score) over all; by Python loops over the
    reader's scores of this one passage."""
    question, passage = query[query > 0], experiment.store.rows(row)
    body = passage[list(passage).index(102) + 1 :]
    body = body[: list(body).index(102)][: J - len(question) - 1]
    joint = np.zeros(J, np.int32)
    pieces = [*question, *body, 102]
    joint[: len(pieces)] = pieces
    segments = np.zeros(J, np.int32)
    segments[len(question) : len(pieces)] = 1
    logits = np.asarray(experiment.models.score_spans(params["reader"], joint[None], segments[None]))[0]
    best, i, scores = (-np.inf, None, None), 0, []
    for width in range(WIDTH):
        for first in range(J - width):
            inside = len(question) <= first and first + width < len(question) + len(body)
            if inside:
                scores.append(logits[i] + score)
            if inside and scores[-1] > best[0]:
                best = (logits[i] + score, first - len(question), first + width - len(question))
            i += 1
    assert i == len(logits)
    return *best, np.logaddexp.reduce(scores)


def test_answers_equal_brute_force(experiment, params, vectors, questions, answers):
    """More questions than a batch holds, and not a multiple of it."""
    assert len(answers) == len(questions) == 14
    embedded = np.asarray(experiment.models.embed(params["embedder"], jnp.asarray(questions.queries)))
    for query, vector, found in zip(questions.queries, embedded, answers, strict=True):
        products = vectors[:-1] @ vector
        order = np.argsort(-products, kind="stable")[:READ]
        np.testing.assert_array_equal(found.rows, order)
        np.testing.assert_allclose(found.scores, 0.7 * products[order], rtol=1e-4, atol=1e-5)
        readings = [best_span(experiment, params, query, row, 0.7 * products[row]) for row in order]
        scores, firsts, lasts, masses = zip(*readings)
        np.testing.assert_allclose(found.readings, scores, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.log_p, scores - np.logaddexp.reduce(masses), rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(found.spans, np.stack([firsts, lasts], 1))
        assert found.best == np.argmax(scores) and found.log_truth is None


def test_an_answer_stands_in_its_passage(world, experiment, answers):
    for found in answers:
        text, (first, last) = experiment.texts[found.rows[found.best]].text, found.spans[found.best]
        ids = world.tokenizer.encode(text).ids[first : last + 1]
        assert 0 < len(ids) == last - first + 1 <= WIDTH
        said = answer_text(world.tokenizer, text, first, last)
        assert said and said in text and said == said.strip()


def test_answers_do_not_depend_on_the_batch(experiment, params, vectors, questions, answers):
    evaluation = dataclasses.replace(experiment.config.evaluation, batch_size=len(questions))
    config = dataclasses.replace(experiment.config, evaluation=evaluation)
    index = ExactIndex(vectors[:-1])
    again = answer(config, experiment.models, params, index, experiment.store, questions.queries)
    for one, other in zip(again, answers, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.spans, other.spans)


def test_of_few_questions_each_is_answered_as_among_many(experiment, params, vectors, questions, answers):
    """Fewer than a batch holds are padded to one of a few sizes, from the embedder on."""
    index = ExactIndex(vectors[:-1])
    assert [batch_size(experiment.config, count) for count in (1, 2, 4, 5, 6)] == [1, 4, 4, 5, 5]
    for part in (slice(0, 1), slice(1, 4)):
        arguments = (experiment.config, experiment.models, params, index, experiment.store)
        for one, other in zip(answer(*arguments, questions.queries[part]), answers[part], strict=True):
            np.testing.assert_array_equal(one.rows, other.rows)
            np.testing.assert_array_equal(one.spans, other.spans)
            np.testing.assert_allclose(one.log_p, other.log_p, rtol=1e-4, atol=1e-4)


def test_a_truth_has_the_mass_of_its_spans(experiment, params, vectors, questions, answers):
    """Here of each question's own answer, which is the truth then: it has at least the best span's share."""
    truths = np.zeros((len(questions), WIDTH + 1), np.int32)
    for row, found in zip(truths, answers, strict=True):
        body = features.body(experiment.store.rows(found.rows[found.best]))
        first, last = found.spans[found.best]
        row[: last - first + 1] = body[first : last + 1]
    index = ExactIndex(vectors[:-1])
    arguments = (experiment.config, experiment.models, params, index, experiment.store, questions.queries)
    for told, found in zip(answer(*arguments, truths), answers, strict=True):
        np.testing.assert_array_equal(told.spans, found.spans)
        assert 1 >= told.p_truth >= np.exp(found.log_p[found.best]) * 0.999
        assert told.gains.sum() == pytest.approx(0, abs=1e-5) and told.gains[found.best] > 0
    nowhere = np.full_like(truths, 5)
    for told in answer(*arguments, nowhere):
        assert told.gains is None and told.p_truth == 0


def test_retrieval_is_the_search_of_embedded_queries(experiment, params, vectors, questions):
    scores, rows = retrieve(
        experiment.config, experiment.models, params["embedder"], ExactIndex(vectors[:-1]), questions.queries, 7
    )
    embedded = np.asarray(experiment.models.embed(params["embedder"], jnp.asarray(questions.queries)))
    expected = embedded @ vectors[:-1].T
    np.testing.assert_array_equal(rows, np.argsort(-expected, axis=1, kind="stable")[:, :7])
    np.testing.assert_allclose(scores, np.take_along_axis(expected, rows, 1), rtol=1e-4, atol=1e-5)


@given(text=toy.sentence_texts, data=st.data())
def test_text_of_an_answer_is_cut_from_the_original(text, data):
    """Capitals, accents and white space as they stand there; what was encoded together is cut together."""
    encoding = TOKENIZER.encode(text)
    first = data.draw(st.integers(0, len(encoding) - 1))
    last = data.draw(st.integers(first, len(encoding) - 1))
    said = answer_text(TOKENIZER, text, first, last)
    start, limit = encoding.offsets[first, 0], encoding.offsets[last, 1]
    assert said == text[start:limit] and said
    whole_words = not TOKENIZER.continues[encoding.ids[first]] and (
        last + 1 == len(encoding) or not TOKENIZER.continues[encoding.ids[last + 1]]
    )
    if whole_words:
        np.testing.assert_array_equal(TOKENIZER.encode(said).ids, encoding.ids[first : last + 1])


def test_text_of_an_answer_keeps_what_wordpieces_lose():
    body = "In Zürich,  N'Djamena; 1,234 km"
    pieces = [TOKENIZER.piece(int(i)) for i in TOKENIZER.encode(body).ids]
    first = pieces.index("z")
    last = len(pieces) - 1 - pieces[::-1].index("##a")
    assert answer_text(TOKENIZER, body, first, last) == "Zürich,  N'Djamena"


@pytest.mark.parametrize("first, last", [(-1, 0), (-3, -1), (2, 1), (0, 3), (3, 3)])
def test_outside_the_body_there_is_no_text(first, last):
    assert len(TOKENIZER.encode("Paris on Oslo")) == 3
    assert answer_text(TOKENIZER, "Paris on Oslo", first, last) == ""
    assert answer_text(TOKENIZER, "", 0, 0) == ""


def test_the_span_table_is_the_readers_order(experiment, params):
    joint = np.zeros((1, J), np.int32)
    logits = experiment.models.score_spans(params["reader"], joint, joint)
    assert logits.shape == (1, len(features.span_table(J, WIDTH)))
