import re
import string
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.errors import UserError
from realm_jax.qa import answers
from realm_jax.qa.answers import NORMALISERS, exact_match, f1, normalise, regex_match, strip_accents

TEXT = st.text(alphabet="aAtThHeEnNéÉ.,-' 12", max_size=20)


def squad_normalise(text):
    """As the SQuAD scorer does it, after NFD as the NQ-open scorer adds."""
    text = unicodedata.normalize("NFD", text).lower()
    text = "".join(ch for ch in text if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


SPOKEN = (
    ["14 December 1972 UTC", "the Cat in the Hat", "José Álvarez", "U.S.A.", "rock 'n' roll", "A-ha", "1,234.5 km²"]
    + [
        "Владимир Путин",
        "東京都",
        "Αθήνα",
        "Ho Chi Minh (Hồ Chí Minh)",
        "İstanbul",
        "Straße",
        "An Lộc",
        "naïve a priori",
    ]
    + [
        "$5 billion",
        "the",
        "50%",
        "Theatre of the Absurd",
        "“The Raven”",
        "한국",
        "ﬁnal answer",
        "e\u0301clair",
        "½ cup",
    ]
)


def perturbed(draw, text):
    """The answer as a reader might cut or write it: one to three small changes, which may cancel out."""
    changes = [
        str.upper,
        str.lower,
        str.title,
        lambda t: unicodedata.normalize("NFD", t),
        lambda t: unicodedata.normalize("NFKC", t),
        lambda t: "".join(c for c in unicodedata.normalize("NFD", t) if not unicodedata.combining(c)),
        lambda t: f"{draw.choice(['a', 'an', 'the', 'The', 'in the'])} {t}",
        lambda t: t.replace(" ", str(draw.choice(["  ", "\t", "\u00a0", "-", ""]))),
        lambda t: t + str(draw.choice([".", ",", " )", "!", "…", "’s", "'s"])),
        lambda t: "".join(c for c in t if c not in string.punctuation),
        lambda t: t[: draw.integers(0, len(t) + 1)],
        lambda t: " ".join(t.split()[int(draw.integers(0, 2)) :]),
        lambda t: t,
    ]
    for change in draw.choice(len(changes), draw.integers(1, 4)):
        text = changes[change](text)
    return text


def test_the_scorer_is_the_official_one_on_10000_perturbed_answers():
    """Against loops over characters: no regular expression, no table shared with the scorer."""

    def words(text):
        kept, word = [], ""
        for char in unicodedata.normalize("NFD", text).lower() + " ":
            if not ("!" <= char <= "~" and not char.isalnum()):
                word += char
        for part in re.split(r"(\W+)", word):  # articles are words by Unicode's letters, digits and underscores
            kept.append(" " if part in ("a", "an", "the") else part)
        return "".join(kept).split()

    draw, verdicts = np.random.default_rng(11), []
    for _ in range(10_000):
        answers = [str(answer) for answer in draw.choice(SPOKEN, draw.integers(1, 4))]
        said = perturbed(draw, answers[-1])
        verdicts.append(exact_match(said, answers))
        assert verdicts[-1] == any(words(said) == words(answer) for answer in answers), (said, answers)
    assert 0.3 < np.mean(verdicts) < 0.7  # both verdicts are tried


def test_patterns_are_scored_as_the_official_scorer_does_on_perturbed_answers():
    patterns = [r"20\s?,?\s?(32|40)0\s?-?\s?f(ee|oo)t|6,194-meter", r"Oct(.|ober)?\s* 10|1954", "José|Jose", r"\bAsia$"]
    official = {p: re.compile(p, flags=re.IGNORECASE + re.UNICODE + re.MULTILINE) for p in patterns}
    spoken, draw, verdicts = (
        ["20,320 feet", "October 10", "JOSÉ", "asia", "Asia\nMinor", "in 1954"],
        np.random.default_rng(3),
        [],
    )
    for _ in range(2_000):
        answers = [str(pattern) for pattern in draw.choice(patterns, draw.integers(1, 3))]
        said = perturbed(draw, str(draw.choice(spoken)))
        verdicts.append(exact_match(said, answers, "regex"))
        assert verdicts[-1] == any(official[answer].match(said) is not None for answer in answers)
    assert 0.05 < np.mean(verdicts) < 0.95


@pytest.mark.parametrize(
    "said, answer, right_by",
    [
        ("The Hague!", "hague", {"nq_open", "squad", "no_accents"}),
        ("Jose\u0301", "José", {"nq_open", "no_accents"}),
        ("Jose", "José", {"no_accents"}),
        ("Joseph", "José", set()),
    ],
)
def test_the_rules_differ(said, answer, right_by):
    assert {name for name in NORMALISERS if exact_match(said, [answer], name)} == right_by
    assert {name for name in NORMALISERS if f1(said, [answer], name) == 1.0} == right_by


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


@pytest.mark.parametrize("pattern", ["(" * 5000, "a{1000000000000}", "[z-a]", "\\"])
def test_patterns_that_are_none_are_named(pattern):
    with pytest.raises(UserError, match=r"^answer '.*not a regular expression"):
        regex_match("a", [pattern])


def test_a_pattern_that_takes_for_ever_is_named(monkeypatch):
    monkeypatch.setattr(answers, "SECONDS", 0.1)
    pattern = answers.compile_pattern(r"(a|aa)+$")  # exponential, however it is searched
    for search in (pattern.match, pattern.search, pattern.spans):
        with pytest.raises(UserError, match=r"^answer .*takes more than 0.1 s on a text of 3000 characters"):
            search("a" * 2999 + "b")
