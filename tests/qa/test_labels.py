import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.errors import UserError
from realm_jax.qa.answers import regex_match
from realm_jax.qa.labels import Labeller, contains_any, holds_answer, pattern_spans, words
from realm_jax.text.tokenizer import Tokenizer

SPECIAL = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOKENIZER = Tokenizer(
    [*SPECIAL, "lake", "chad", "lies", "in", "africa", "rome", "##nia", "paris", ".", ",", "red", "sea", "the", ":"]
)
PIECES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), min_size=1, max_size=5), st.lists(PIECES, max_size=3)
)
def test_tokens_against_a_plain_search(rows, answers):
    rows, answers = np.array(rows, np.int32), [np.array(answer, np.int32) for answer in answers]

    def stands(row, answer):
        return any(list(row[i : i + len(answer)]) == list(answer) for i in range(len(row) - len(answer) + 1))

    expected = [any(stands(row, answer) for answer in answers) for row in rows]
    assert contains_any(rows, answers).tolist() == expected
    assert [holds_answer("tokens", row, answers) for row in rows] == expected


def test_an_answer_longer_than_the_row_or_empty_stands_nowhere():
    row = np.array([5, 6], np.int32)
    assert not holds_answer("tokens", row, [np.array([5, 6, 7], np.int32), np.array([], np.int32)])
    assert not holds_answer("normalized", "a text", ["the", ""])
    assert not holds_answer("bytes", "a text", [""])


@pytest.mark.parametrize(
    ("text", "answer", "held"),
    [
        ("He asked who was there.", "The Who", False),
        ("Come and join us", "U.S.", False),
        ("in the U.S., of course", "u.s.", True),
        ("in the U. S.", "U.S.", True),
        ("in the U.S", "U.S.", False),
        ("ten percent (10%)", "10%", True),
        ("the Red\u00a0 SEA", "red sea", True),
        ("Red Seas", "red sea", False),
        ("Red, Sea", "red sea", False),
        ("Jos\u00e9", "Jose\u0301", True),
        ("Jos\u00e9", "Jose", False),
        ("Jose", "Jos\u00e9", False),
        ("snake_case", "snake", True),
        ("x\u200by", "x y", True),
        ("\u039f\u0394\u039f\u03a3'\u0391", "\u03bf\u03b4\u03bf\u03c2", True),
        ("a text", "", False),
    ],
)
def test_normalized_is_what_dpr_does(text, answer, held):
    assert holds_answer("normalized", text, [answer]) is held


@given(st.text(max_size=30))
def test_words_as_dpr_finds_them(text):
    """A run of letters, digits and marks, or one other visible character."""
    found, last = [], ""
    for character in unicodedata.normalize("NFD", text):
        kind = unicodedata.category(character)[0]
        if kind in "LNM" and last in tuple("LNM"):
            found[-1] += character
        elif kind not in "ZC":
            found.append(character)
        last = kind
    assert words(text) == " ".join(word.lower() for word in found)


def test_the_kinds_differ():
    text = "The Red  Sea; Romania"
    assert holds_answer("normalized", text, ["red sea"]) and not holds_answer("bytes", text, ["red sea"])
    assert holds_answer("bytes", text, ["Roman"]) and not holds_answer("normalized", text, ["Roman"])
    assert holds_answer("bytes", text.encode(), ["Romania"])


def test_patterns_are_searched_for_in_the_text():
    assert holds_answer("regex", "It lies in AFRICA.", [r"\bafrica\b"])
    assert holds_answer("regex", "first line\nAsia", ["nothing", "^asia$"])
    assert not holds_answer("regex", "African", [r"\bafrica\b"])


def spans(body, *patterns):
    return [(body[first:limit], width) for first, limit, width in _characters(body, patterns)]


def _characters(body, patterns):
    offsets = TOKENIZER.encode(body).offsets
    for first, width in pattern_spans(body, patterns, TOKENIZER):
        yield offsets[first, 0], offsets[first + width - 1, 1], width


def test_spans_of_a_pattern():
    assert spans("The Red Sea; the red  sea.", r"red\s*sea") == [("Red Sea", 2), ("red  sea", 2)]
    assert spans("Lake Chad lies in Africa", "africa|lake", "chad") == [("Lake", 1), ("Africa", 1), ("Chad", 1)]
    assert spans("Paris", "x*") == []  # what matches nothing is no answer


def test_a_pattern_that_matches_a_part_of_a_word():
    """The span is the word as a reader must say it, if the scorer takes it: patterns match from its start on."""
    assert spans("in Romenia", "romen") == [("Romenia", 2)]
    assert spans("in Romenia", "enia") == []  # "Romenia" would be wrong
    assert spans("in Romenia", "nia") == [("nia", 1)]  # a wordpiece of its own


@given(
    st.text(alphabet="Rome nia.,Lk", max_size=25), st.sampled_from(["rome?", "[a-m]+", "n|i.a", r"\w+", r"\bl", ","])
)
def test_every_match_is_covered_by_its_span_and_every_span_is_right(body, pattern):
    offsets = TOKENIZER.encode(body).offsets
    found = list(_characters(body, [pattern]))
    for start, limit, width in found:
        assert width > 0 and regex_match(body[start:limit], [pattern])
    for match in re.finditer(pattern, body, re.IGNORECASE):
        if match[0] and match.start() in offsets[:, 0] and match.end() in offsets[:, 1]:
            assert (match.start(), match.end()) in [(start, limit) for start, limit, _ in found]


def test_an_unknown_kind_is_named():
    with pytest.raises(UserError, match="finetune.labels: 'words' is none of tokens, normalized, bytes"):
        holds_answer("words", "text", ["answer"])
    with pytest.raises(UserError, match="finetune.labels: 'words'"):
        Labeller("words", TOKENIZER, lambda ids: ids)


def test_labeller():
    texts = ["Lake Chad lies in Africa.", "The Red Sea.", "Paris, Rome", "Africa"]
    rows = np.zeros((len(texts), 9), np.int32)
    for row, text in zip(rows, texts, strict=True):
        ids = TOKENIZER.encode(text).ids
        row[: len(ids)] = ids
    ids = np.array([3, 0, 1])
    for kind in ("tokens", "normalized", "bytes"):
        label = Labeller(kind, TOKENIZER, lambda ids: rows[ids], lambda i: texts[i])
        assert label(("Africa", "Rome"), ids).tolist() == [True, True, False]
        assert label(("Lake Chad",), ids).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="text"):
        Labeller("bytes", TOKENIZER, lambda ids: rows[ids])
