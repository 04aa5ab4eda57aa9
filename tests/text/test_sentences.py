"""Where sentences end, and where they do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.text.sentences import split


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rains.", "It pours!", "Does it?", "Yes."],
        ["St. Pierre met Dr. A. B. Smith of the U.S. Senate in Washington.", "He left."],
        ["He saw it (once. Twice. Never) and left.", "So be it."],
        ['He said "Go." Then he left.'.replace(" Then he left.", ""), "Then he left."],
        ["The height is 3.5 m.", "1990 was dry."],
        ["an unclosed (bracket", "ends with its line.", "So it goes."],
        ["Élan counts.", "Über alles."],
    ],
)
def test_examples(sentences):
    text = " ".join(sentences).replace("(bracket ends", "(bracket\nends")
    assert [text[start:limit] for start, limit in split(text)] == sentences


N = 100_000


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("b64/" * N + " ends. So it goes.", 2),
        ("." * N + " So it goes.", 2),
        ("A. " * N, 1),
        ("(" * N + "a. A" + ")" * N, 1),
        ("." + '"' * N + " " * N + "a", 1),
    ],
    ids=["word", "points", "initials", "brackets", "quotes"],
)
def test_the_work_grows_with_the_length_alone(text, count):
    """With its square it would take hours, and pytest would end it."""
    assert len(split(text)) == count


@given(st.text(st.sampled_from("abAB .!?()\"'\n1é"), max_size=80))
def test_nothing_but_white_space_is_lost(text):
    ranges = split(text)
    kept = set()
    for start, limit in ranges:
        assert text[start:limit] == text[start:limit].strip() != ""
        assert "\n" not in text[start:limit]
        assert not kept & set(range(start, limit))
        kept |= set(range(start, limit))
    assert ranges == sorted(ranges)
    assert not "".join(c for i, c in enumerate(text) if i not in kept).strip()
