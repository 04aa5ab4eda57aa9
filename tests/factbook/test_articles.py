"""How fields of the Factbook become sentences, and the promises that hold for every real country."""

import functools
import itertools
import re
import subprocess
import sys

import pytest

from realm_jax.corpus.articles import check
from realm_jax.factbook import articles
from realm_jax.factbook.fields import FIELDS
from realm_jax.factbook.package import Country, load_countries

CAPITAL, TERRAIN, LANGUAGES = "Government/Capital/name", "Geography/Terrain", "People and Society/Languages"
CHIEF, HEAD = "Government/Executive branch/chief of state", "Government/Executive branch/head of government"
RESULTS, FLAG = "Government/Executive branch/election results", "Government/Flag"


def sentences(path, value):
    return articles.render(path, FIELDS[path], value)


@functools.cache
def real():
    """Every eighth country: France is among them."""
    countries = load_countries()
    france = [country.code for country in countries].index("fr")
    return list(articles.articles(countries[france % 8 :: 8]))


def country(**fields):
    return Country(code="xy", name="Atlantis", region="ocean", fields=fields)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (CAPITAL, "Paris", ["Capital: Paris."]),
        (CAPITAL, "none", []),
        (TERRAIN, "flat\nGuiana: hills", ["Terrain: flat.", "Terrain (Guiana): hills."]),
        (FLAG, "description: red\nhistory: old", ["Flag description: red.", "Flag history: old."]),
        (LANGUAGES, "French 71.2% (official), Breton 9%, other 3% (2020 est.)",
         ["Languages: French (official), Breton."]),
        (RESULTS, "2022: Ann LEE elected; percent of vote - Ann LEE 51%",
         ["Election results (2022): Ann LEE elected."]),
        (RESULTS, "Ann LEE 51%, Bob RAY 49%", []),
        ("Economy/Exchange rates/Currency", "euros (EUR) per US dollar -", ["Currency: euros (EUR)."]),
        ("Government/Legislative branch/most recent election date", "3/27/2022",
         ["Most recent election of the legislature: 27 March 2022."]),
        ("Introduction/Background", "It rose. Then it sank", ["It rose.", "Then it sank."]),
    ],
)  # fmt: skip
def test_sentences_of_a_field(path, value, expected):
    assert sentences(path, value) == expected


def test_a_long_value_is_cut_between_clauses_and_each_part_is_labelled():
    value = "; ".join(
        f"the {name} region lies far in the (cold; dark) north" for name in ("first", "second", "third", "fourth")
    )
    parts = sentences(TERRAIN, value)
    assert len(parts) > 1 and all(part.startswith("Terrain: the ") and part.endswith("north.") for part in parts)
    assert "; ".join(part.removeprefix("Terrain: ").removesuffix(".") for part in parts) == value


def test_one_person_in_two_offices_is_told_once():
    fields = {CHIEF: "President Ann LEE", HEAD: "President Ann LEE"}
    (article,) = articles.country_articles(country(**fields))
    assert article.text == "Chief of state and head of government: President Ann LEE."
    (article,) = articles.country_articles(country(**fields | {HEAD: "Bob RAY"}))
    assert article.text == "Chief of state: President Ann LEE. Head of government: Bob RAY."


def test_spans_that_the_title_gives_away_are_none():
    (article,) = articles.country_articles(country(**{CAPITAL: "Atlantis", HEAD: "Bob RAY of Atlantis"}))
    data = article.text.encode()
    assert [data[start:limit].decode() for start, limit, _ in article.spans] == ["Bob RAY"]


def test_real_articles_keep_the_promises_of_their_type():
    assert len({article.subject for article in real()}) == 32
    for number, article in enumerate(real()):
        check(article, number)
        data = article.text.encode()
        assert article.title.startswith(f"{article.subject}: ")
        assert b" ".join(data[start:limit] for start, limit in article.sentences) == data
        limits = [limit for _, limit in article.sentences]
        for start, limit, _ in article.spans:
            sentence = sum(end < limit for end in limits)
            assert article.sentences[sentence][0] <= start


EVERY_ARTICLE = """
from realm_jax.factbook import articles
from realm_jax.corpus.articles import check
subjects = set()
for number, article in enumerate(articles.articles()):
    check(article, number)
    assert article.title.startswith(f"{article.subject}: ")
    subjects.add(article.subject)
assert len(subjects) == 256 and number > 1_000
"""


def test_every_article_can_be_prepared():
    """Of all countries, in a process that checks no types: here it would take half a minute."""
    subprocess.run([sys.executable, "-c", EVERY_ARTICLE], check=True)


def test_real_sentences_read_well():
    for sentence in _real_sentences():
        assert not re.search(r"&\w+;|<[a-z/]|\s{2}|\(\)|\bnote \d|https?:|;\.|,\.|\.\.$", sentence), sentence
        assert sentence.endswith((".", "!", "?", '."', ".'")), sentence
        assert len(sentence) < 1_200, sentence
        assert not re.fullmatch(r"[^:]+: (?:none|NA|no|yes)\.", sentence), sentence


def test_no_real_sentence_is_told_twice_in_an_article():
    for article in real():
        data = article.text.encode()
        told = [data[start:limit] for start, limit in article.sentences]
        assert len(told) == len(set(told)), article.title


def test_real_spans_say_something():
    words = {"Note", "The", "It", "Capital", "President", "Prime Minister", "However", "January", "Monday", "GDP"}
    for article in real():
        data = article.text.encode()
        for start, limit, kind in article.spans:
            text = data[start:limit].decode()
            assert text not in words and text == text.strip(" ,;:()"), (article.title, text)
            assert kind in ("date", "name", "number") and not (kind == "number" and re.fullmatch(r"\d{1,2}%?", text))


def test_known_facts_are_there():
    france = {article.title: article.text for article in real() if article.subject == "France"}
    assert "Capital: Paris." in france["France: Government"]
    assert "Highest point: Mont Blanc 4,810." in france["France: Geography"]
    assert "Internet country code: metropolitan France - .fr" in france["France: Economy and Infrastructure"]


def _real_sentences():
    def of(article):
        data = article.text.encode()
        return (data[start:limit].decode() for start, limit in article.sentences)

    return itertools.chain.from_iterable(map(of, real()))
