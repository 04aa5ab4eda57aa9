"""Rows of tokens against loops over lists."""

import jax
import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.text import features

CLS, SEP = 101, 102
Q, P, J = 9, 13, 15
# Eager, each example of these is dozens of small programs. The null passage's test calls them eagerly, and others do.
join = jax.jit(features.join, static_argnums=2, static_argnames="truncation")
segments_of, body_of, holds = map(jax.jit, (features.segments, features.body, features.holds))
span_labels = jax.jit(features.span_labels, static_argnums=3)
span_labels_of_widths = jax.jit(features.span_labels_of_widths, static_argnums=2)
pieces = st.lists(st.integers(200, 204), max_size=12)


def row(parts, length):
    """[CLS] part [SEP] part [SEP] PAD..., cut so that the last [SEP] stays."""
    tokens = [CLS]
    for part in parts:
        tokens += [*part, SEP]
    if len(tokens) > length:
        tokens = [*tokens[: length - 1], SEP]
    return np.array(tokens + [0] * (length - len(tokens)), np.int32)


def query_row(query):
    return row([query[: Q - 2]], Q)


def passage_row(title, body):
    return row([title[:4], body[: P - 3 - len(title[:4])]], P)


def test_null_passage():
    null = row([[], []], P)
    np.testing.assert_array_equal(features.segments(null)[:4], [0, 0, 1, 0])
    np.testing.assert_array_equal(features.body(null), [SEP] + [0] * (P - 1))
    tokens, segments, is_body = features.join(query_row([200, 201]), null[None], J)
    np.testing.assert_array_equal(tokens[0, :6], [CLS, 200, 201, SEP, SEP, 0])
    np.testing.assert_array_equal(segments[0, :6], [0, 0, 0, 0, 1, 0])
    assert not is_body.any()


@given(query=pieces, title=pieces, body=pieces)
def test_segments_body_and_join(query, title, body):
    queries, passages = query_row(query), passage_row(title, body)
    title, body = title[:4], body[: P - 3 - len(title[:4])]
    query = query[: Q - 2]
    want = [0] * (len(title) + 2) + [1] * (len(body) + 1)
    np.testing.assert_array_equal(segments_of(passages), want + [0] * (P - len(want)))
    np.testing.assert_array_equal(features.valid(passages), passages != 0)
    np.testing.assert_array_equal(body_of(passages)[: len(body) + 1], [*body, SEP])
    assert not body_of(passages)[len(body) + 1 :].any()

    kept = body[: J - len(query) - 3]
    tokens, segments, is_body = (part[0] for part in join(queries, passages[None], J))
    np.testing.assert_array_equal(tokens, row([query, kept], J))
    start = len(query) + 2
    np.testing.assert_array_equal(np.flatnonzero(segments), np.arange(start, start + len(kept) + 1))
    np.testing.assert_array_equal(np.flatnonzero(is_body), np.arange(start, start + len(kept)))


@pytest.mark.parametrize("kind", [np.int32, np.uint16])
def test_join_under_jit_takes_any_leading_axes(kind):
    rng = np.random.default_rng(0)
    queries = np.stack([query_row(rng.integers(200, 300, n)) for n in (0, 4, 7)])
    passages = np.array([[passage_row(rng.integers(200, 300, n), rng.integers(200, 300, 8)) for n in (0, 1)]] * 3, kind)
    tokens, segments, is_body = jax.jit(features.join, static_argnums=2)(queries, passages, J)
    assert tokens.shape == segments.shape == is_body.shape == (3, 2, J)
    for b, k in np.ndindex(3, 2):
        alone = features.join(queries[b], passages[b, k][None], J)
        np.testing.assert_array_equal(tokens[b, k], alone[0][0])
        np.testing.assert_array_equal(segments[b, k], alone[1][0])
        np.testing.assert_array_equal(is_body[b, k], alone[2][0])


def test_join_refuses_a_row_too_short():
    with pytest.raises(ValueError, match="cannot hold a query row of 9"):
        features.join(query_row([]), row([[], []], P)[None], Q)


@given(
    tokens=st.lists(st.integers(1, 3), min_size=1, max_size=8),
    answers=st.lists(st.lists(st.integers(1, 3), max_size=4), min_size=1, max_size=3),
)
def test_find_and_holds(tokens, answers):
    padded = np.array([answer + [0] * (4 - len(answer)) for answer in answers], np.int32)
    line = np.array(tokens + [0] * (8 - len(tokens)), np.int32)
    want = [[bool(a) and list(line[i : i + len(a)]) == a for i in range(8)] for a in answers]
    np.testing.assert_array_equal(features.find(line, padded), want)
    assert holds(line, padded) == np.any(want)


def test_find_broadcasts_answers_over_passages():
    passages = np.arange(1, 13, dtype=np.int32).reshape(2, 3, 2)
    answers = np.array([[[3, 0]], [[11, 12]]], np.int32)
    got = jax.jit(features.holds)(passages, answers[:, None])
    np.testing.assert_array_equal(got, [[False, True, False], [False, False, True]])


def test_span_table_lists_width_by_width():
    want = [(0, 0), (1, 1), (2, 2), (3, 3), (0, 1), (1, 2), (2, 3), (0, 2), (1, 3)]
    np.testing.assert_array_equal(features.span_table(4, 3), want)
    assert len(features.span_table(2, 5)) == 3


@given(query=pieces, body=pieces, widths=st.lists(st.integers(0, 4), min_size=P, max_size=P))
def test_span_labels_of_widths(query, body, widths):
    """Exactly the spans of the body that begin at a wordpiece of it with that width."""
    _, _, is_body = join(query_row(query), passage_row([], body)[None], J)
    labels = span_labels_of_widths(np.array([widths], np.int16), is_body, 3)[0]
    table, start = features.span_table(J, 3), int(is_body[0].argmax())
    assert labels.shape == (len(table),)
    for (first, last), label in zip(table, labels, strict=True):
        inside = is_body[0, first] and is_body[0, last]
        assert label == (inside and widths[first - start] == last - first + 1)


@given(query=pieces, body=pieces, answer=st.lists(st.integers(200, 204), min_size=1, max_size=4))
def test_span_labels(query, body, answer):
    """Exactly the spans of the body whose tokens are an answer; what stands in the query does not count."""
    tokens, _, is_body = join(query_row(query), passage_row([], body)[None], J)
    answers = np.array([answer + [0] * (4 - len(answer)), [0] * 4], np.int32)
    labels = span_labels(tokens, answers[None], is_body, 3)[0]
    table = features.span_table(J, 3)
    assert labels.shape == (len(table),)
    for (first, last), label in zip(table, labels, strict=True):
        inside = is_body[0, first] and is_body[0, last]
        assert label == (inside and tokens[0, first : last + 1].tolist() == answer)


@given(st.integers(0, 12), st.integers(0, 12), st.sampled_from([6, 13, 20]))
def test_longest_first_cuts_as_the_tokenizers_library_does(question, body, length):
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel({"q": 1, "b": 2, "[CLS]": CLS, "[SEP]": SEP}, "q"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    library.post_processor = tokenizers.processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    library.enable_truncation(length, strategy="longest_first")
    want = library.encode("q " * question, "b " * body)
    query = np.array([row([[1] * question], 14)], np.int32)
    passage = np.array([[row([[], [2] * body], 15)]], np.int32)
    tokens, segments, is_body = join(query, passage, length, truncation="longest_first")
    padding = [0] * (length - len(want.ids))
    assert np.asarray(tokens[0, 0]).tolist() == want.ids + padding
    assert np.asarray(segments[0, 0]).tolist() == want.type_ids + padding
    np.testing.assert_array_equal(is_body, np.asarray(tokens) == 2)


def test_separators_are_told_by_their_place_and_not_by_their_number():
    """German BERT has [SEP] on line 5."""
    query, passage = np.array([3, 50, 51, 4, 0]), np.array([[3, 60, 4, 70, 71, 4, 0]])
    np.testing.assert_array_equal(features.segments(passage)[0], [0, 0, 0, 1, 1, 1, 0])
    tokens, segments, is_body = features.join(query, passage, 8)
    np.testing.assert_array_equal(tokens[0], [3, 50, 51, 4, 70, 71, 4, 0])
    np.testing.assert_array_equal(segments[0], [0, 0, 0, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(np.flatnonzero(is_body[0]), [4, 5])
