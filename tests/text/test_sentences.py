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
        ["It was founded in 1919.", "Łódź was taken in May.", "Šibenik fell."],
        ["Hoy es domingo.", "¿Quién viene?", "¡Nadie!", "«Nada» es la obra."],
        ["Дом построен в 1871.", "Его построил инженер А. С. Петров.", "Он жил в Москве."],
        ["Ο μύλος χτίστηκε το 1871.", "Έχει δύο πτέρυγες."],
        ["Řeka teče na jih.", "Čapek tu žil."],
        ["Er kam am 3. Oktober 1990.", "„So ist es.“", "Dann ging er."],
        ["يقع النهر في الشمال.", "هل هو طويل؟", "نعم."],
        ["गाँव बड़ा है।", "वहाँ नदी है।"],
        ["Es regnet…", "Dann scheint die Sonne."],
        ["It ends here. it goes on, though."],
    ],
)
def test_examples(sentences):
    text = " ".join(sentences).replace("(bracket ends", "(bracket\nends")
    assert [text[start:limit] for start, limit in split(text)] == sentences


N = 100_000


def test_marks_that_no_space_follows():
    text = "水車は一八七一年に建てられた。「誰が？」と彼は言った！終わり。"
    sentences = ["水車は一八七一年に建てられた。", "「誰が？」", "と彼は言った！", "終わり。"]
    assert [text[start:limit] for start, limit in split(text)] == sentences


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
