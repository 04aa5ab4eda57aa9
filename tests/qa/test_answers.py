import re
import string
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.errors import UserError
from realm_jax.qa.answers import exact_match, f1, normalise, regex_match, strip_accents

TEXT = st.text(alphabet="aAtThHeEnNéÉ.,-' 12", max_size=20)


def squad_normalise(text):
    """As the SQuAD scorer does it, after NFD as the NQ-open scorer adds."""
    text = unicodedata.normalize("NFD", text).lower()
    text = "".join(ch for ch in text if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


@given(TEXT)
def test_normalise_is_the_official_one(text):
    assert normalise(text) == squad_normalise(text)
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    "prediction, answer, right",
    [
        ("The Hague", "hague", True),
        ("  Porto-Novo ", "portonovo", True),
        ("U.S.A.", "usa", True),
        ("theatre", "atre", False),
        ("Brasília", "Brasília", True),  # the same letters, composed and decomposed
        ("Brasília", "Brasilia", False),
        ("", "", True),
    ],
)
def test_exact_match(prediction, answer, right):
    assert exact_match(prediction, [answer]) is right
    assert exact_match(prediction, ["something else", answer]) is right
    assert not exact_match(prediction, [])


def test_strip_accents():
    assert strip_accents("Brasília, São Paulo, Malé") == "Brasilia, Sao Paulo, Male"
    assert strip_accents("plain") == "plain"


@given(TEXT, TEXT)
def test_f1_counts_words(prediction, answer):
    one, other = normalise(prediction).split(), normalise(answer).split()
    common = sum((Counter(one) & Counter(other)).values())
    expected = 2 * common / (len(one) + len(other)) if one and other else float(one == other)
    assert f1(prediction, [answer]) == pytest.approx(expected)
    assert f1(prediction, [answer]) == f1(answer, [prediction])
    assert exact_match(prediction, [answer]) <= (f1(prediction, [answer]) == 1.0)


def test_f1_takes_the_best_answer():
    assert f1("Lake Victoria", ["Lake Chad", "Victoria"]) == pytest.approx(2 / 3)
    assert f1("Lake Victoria", []) == 0


def test_regular_expressions():
    patterns = [r"20\s?,?\s?(32|40)0\s?-?\s?f(ee|oo)t", r"\b2,?[4567][0-9][0-9]\b"]
    assert regex_match("20,320 feet", [r"20,?320\s*f(oo|ee)?t"])
    assert regex_match("2,474 feet", patterns)
    assert not regex_match("about 2,474 feet", patterns)  # DrQA's scorer matches from the first character on
    assert regex_match("after the fall", ["After the Fall|Finishing the Play"])
    with pytest.raises(UserError, match=r"'Sept\?\(ember': not a regular expression"):
        regex_match("September", ["Sept?(ember"])
