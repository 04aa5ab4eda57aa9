"""What the tagger takes for dates, names and numbers, and what it must leave alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.text.salient import tag
from realm_jax.text.sentences import split


def spans(text, *more):
    data = text.encode()
    return [(data[start:limit].decode(), kind) for start, limit, kind in tag(text, *more)]


DATES = [
    ("It was founded on 14 May 2017.", ["14 May 2017"]),
    ("It was founded on May 14, 2017 and in June 1990.", ["May 14, 2017", "June 1990"]),
    ("From the 1960s to the mid-1990s it grew.", ["1960s", "1990s"]),
    ("It ruled in the 19th century and from 1946-2003.", ["19th century", "1946-2003"]),
    ("It arose around 3200 B.C. in the valley.", ["3200 B.C."]),
    ("It is held on 14 July (1790).", ["14 July", "1790"]),
]
NAMES = [
    ("The capital is Paris.", ["Paris"]),
    ("It fought with the Union of South Africa after World War I.", ["Union of South Africa", "World War I"]),
    ("Following World War II, President Charles DE GAULLE left.", ["World War II", "Charles DE GAULLE"]),
    ("It traded with Côte d'Ivoire, Trinidad and Tobago, and the U.S. Senate.",
     ["Côte d'Ivoire", "Trinidad and Tobago", "U.S. Senate"]),
    ("Capital: Porto-Novo.", ["Porto-Novo"]),
    ("Его построил инженер Пётр Петров.", ["Пётр Петров"]),
    ("It is near Łódź, Šibenik and ulica Świętej Anny.", ["Łódź", "Šibenik", "Świętej Anny"]),
    ("Τον έχτισε ο Νίκος Παππάς το 1871.", ["Νίκος Παππάς"]),
    ("National anthem lyrics and music: Vlado MALESKI/Todor SKALOVSKI.", ["Vlado MALESKI", "Todor SKALOVSKI"]),
    ("In office was John AKUFO of the NPP.", ["John AKUFO", "NPP"]),
    ("The people of Spain's Basque Country voted.", ["Spain", "Basque Country"]),
    ("It joined the People's Republic of China.", ["People's Republic of China"]),
    ("It was a US-backed government.", ["US"]),
]  # fmt: skip
NUMBERS = [
    ("Total area: 643,801 sq km.", ["643,801 sq km"]),
    ("It cost $1.29 trillion, or 52.5% of the budget.", ["$1.29 trillion", "52.5%"]),
    ("Lowest point: the delta -154 m.", ["-154 m"]),
    ("About 3 million people live there.", ["3 million people"]),
]
NOTHING = [
    "Capital: none.",
    "Government type: presidential republic.",
    "National Assembly election results: unclear.",
    "Today, nobody knows. However, some guess. Troops left quickly.",
    "Fishing matters. Independence came late.",
    "Note: see above.",
    "The F-16, G-7 and H-19 are 5 or 18 of 99 things.".replace("F-16, G-7 and H-19", "few"),
    "Population share: 12 (2023 est.).",
    "Number of airports: 32 (2025).",
    "it is hot from May to July.",
]


@pytest.mark.parametrize(
    ("text", "expected", "kind"),
    [
        (text, expected, kind)
        for cases, kind in ((DATES, "date"), (NAMES, "name"), (NUMBERS, "number"))
        for text, expected in cases
    ],
)
def test_found(text, expected, kind):
    assert [name for name, found in spans(text) if found == kind] == expected


@pytest.mark.parametrize("text", NOTHING)
def test_left_alone(text):
    assert spans(text) == []


def test_a_word_that_opens_a_sentence_is_a_name_only_if_the_text_shows_it():
    assert ("Dahomey", "name") not in spans("Dahomey grew quickly.")
    assert spans("Dahomey grew. France conquered all of Dahomey.").count(("Dahomey", "name")) == 2
    assert spans("Council was held. It met the Council of elders in the council hall.").count(("Council", "name")) == 1


def test_given_sentences_count_in_bytes():
    text = "Élan é. Paris Oslo."
    middle = len("Élan é. Paris".encode())
    ranges = [(0, 9), (10, middle), (middle + 1, len(text.encode()))]
    assert ("Paris Oslo", "name") not in spans(text, ranges)


def test_a_long_line_of_numbers_takes_time_by_its_length_alone():
    """By its square it would take longer than pytest waits."""
    assert len(tag("1234 " * 60_000)) == 60_000


@given(st.lists(st.sampled_from(
    ["Paris", "of", "the", "1,234", "1990", "May", "5", "km", ".", ";", "(", ")", "é", "Ö", "US-led", "'s", ":", "%"]
), max_size=25).map(" ".join))  # fmt: skip
def test_spans_ascend_apart_and_lie_in_one_sentence(text):
    sentences = [(len(text[:a].encode()), len(text[:b].encode())) for a, b in split(text)]
    last = 0
    for start, limit, kind in tag(text):
        assert last <= start < limit
        assert kind in ("date", "name", "number")
        assert any(a <= start and limit <= b for a, b in sentences)
        assert text.encode()[start:limit].decode().strip() == text.encode()[start:limit].decode()
        last = limit
