import functools
import re

import pytest

from realm_jax.factbook import answers_in_fields as read
from realm_jax.factbook import people as people
from realm_jax.factbook.package import Country, load_countries
from realm_jax.factbook.questions_of_countries import TEMPLATES, ask, questions, split_of_kinds, with_article
from realm_jax.qa.answers import normalise, strip_accents


@functools.cache
def countries():
    return tuple(load_countries())


@functools.cache
def splits():
    return questions(countries())


@pytest.mark.parametrize(
    "reader, text, answers",
    [
        (read.capital, "Washington, D.C.", ["Washington, D.C.", "Washington"]),
        (read.capital, "Gitega (political capital), Bujumbura (commercial capital)", ["Gitega", "Bujumbura"]),
        (read.capital, "administered from London", []),
        (read.capital, "Nairobi", ["Nairobi"]),
        (read.name, "Parliament (Parlement)", ["Parliament", "Parlement"]),
        (read.name, "Haïti (French)/ Ayiti (Haitian Creole)", ["Haïti", "Ayiti"]),
        (read.name, "none", []),
        (read.quoted_title, '"Mer Hayrenik" (Our Fatherland)', ["Mer Hayrenik", "Our Fatherland"]),
        (read.first_date, "6 December 1917 (from Russia)", ["6 December 1917"]),
        (read.first_date, "1 May 1900 (from A); 2 May 1901 (from B)", []),
        (read.holiday, "Independence Day, 12 June (1898)", ["12 June"]),
        (read.summit, "Sapitwa (Mount Mlanje) 3,002 m", ["Sapitwa", "Mount Mlanje"]),
        (read.summit, "Konigstein on Brandberg 2,573 m", ["Konigstein on Brandberg", "Konigstein"]),
        (read.summit, "unnamed location 5 m", []),
        (read.height, "Doi Inthanon 2,565 m", ["2,565 m", "2,565"]),
        (read.height, "East Point 71 m", ["71 m"]),
        (read.inland, "Atlantic Ocean 0 m", []),
        (read.inland, "Dead Sea -431 m", ["Dead Sea"]),
        (read.quantity, "41,277 sq km", ["41,277 sq km", "41,277"]),
        (read.quantity, "68,512,806 (2025 est.)", ["68,512,806"]),
        (read.first_of_longest, "Rhin (Rhine) (shared with Germany) - 1,233 km; Loire - 1,012 km", ["Rhin", "Rhine"]),
        (read.first_of_longest, "Little - 2 km; Large - 3 km", []),
        (read.demonym, "Frenchman(men), Frenchwoman(women)", ["Frenchman", "Frenchwoman"]),
        (read.people_share, "Tajik 84.3% (includes Pamiri), Uzbek 13.8%", ["Tajik"]),
        (read.people_share, "Black 8%, White 60%", []),
        (read.official_language, "Khmer (official) 95.8%, minority languages 2.9%", ["Khmer"]),
        (read.official_language, "Dutch (official) 60%, French (official) 40%", []),
        (read.largest_city, "231,000 YAMOUSSOUKRO (capital) (2018), 5.686 million ABIDJAN (2023)", ["ABIDJAN"]),
        (read.currency, "Danish kroner (DKK) per US dollar -", ["Danish kroner", "DKK"]),
        (read.domain, ".bh", [".bh"]),
        (read.domain, ".is", []),
        (read.agency, "Polish Space Agency (POLSA; established 2014) (2025)", ["Polish Space Agency", "POLSA"]),
        (read.constitution, "several previous; latest adopted 12 November 1995", ["12 November 1995"]),
        (read.listed, "khumo (mythical bird)", ["khumo"]),
        (people.sole_holder, "President Gitanas NAUSEDA (since 12 July 2019)", ["Gitanas NAUSEDA", "NAUSEDA"]),
        (people.sole_holder, "Premier LI Qiang (since 11 March 2023)", ["LI Qiang"]),
        (people.sole_holder, "A BCDE (since 2020); F GHIJ (since 2021)", []),
        (people.sole_holder, "King FREDERIK X of Denmark (since 14 January 2024)", ["FREDERIK X", "FREDERIK"]),
        (
            people.representative,
            "King CHARLES III (since 2022); represented by Governor General Stanley JOHN (since 6 January 2026)",
            ["Stanley JOHN", "JOHN"],
        ),
        (people.authors, "Juan Leon MERA", ["Juan Leon MERA", "MERA"]),
        (people.authors, "unknown", []),
    ],
)
def test_reading_a_field(reader, text, answers):
    assert reader(text) == answers


def test_names_within_a_sentence():
    names = ["The Gambia", "Netherlands", "Marshall Islands", "France", "Dominican Republic", "United Kingdom"]
    expected = [
        "the Gambia",
        "the Netherlands",
        "the Marshall Islands",
        "France",
        "the Dominican Republic",
        "the United Kingdom",
    ]
    assert [with_article(name) for name in names] == expected


def test_what_the_question_says_is_no_answer():
    fields = {"Government/Capital/name": "Panama", "Government/Country name/local short form": "Perú"}
    assert ask(Country("pm", "Panama", "r", {"Government/Capital/name": "Panama"})) == []
    (question,) = ask(Country("pe", "Peru", "r", fields))
    assert (question.kind, question.answers) == ("capital", ("Panama",))


def test_a_common_word_is_no_second_answer():
    field = "Government/Diplomatic representation from the US/chief of mission"
    country = Country("be", "Belgium", "europe", {field: "Ambassador Bill WHITE (since 1 May 2025)"})
    (rare,), (common,) = ask(country), ask(country, lambda answer: 9 * (answer == "WHITE"))
    assert rare.answers == ("Bill WHITE", "WHITE") and common.answers == ("Bill WHITE",)


def test_both_spellings_are_accepted():
    (question,) = ask(Country("br", "Brazil", "r", {"Government/Capital/name": "Brasília"}))
    assert question.answers == ("Brasília", "Brasilia")


def test_kinds_are_unique_and_every_one_is_asked():
    kinds = [template.kind for template in TEMPLATES]
    assert len(set(kinds)) == len(kinds) >= 22
    assert {question.kind for question in splits()["train"]} == set(kinds)


def test_sizes():
    sizes = {name: len(part) for name, part in splits().items()}
    assert sizes["train"] >= 3000 and 250 <= sizes["dev"] <= 450 and 600 <= sizes["test"] <= 1000


def test_splits_share_no_country_no_id_and_no_answer():
    parts = splits()
    train = {normalise(answer) for question in parts["train"] for answer in question.answers}
    for name in ("dev", "test"):
        assert all(train.isdisjoint(map(normalise, question.answers)) for question in parts[name])
    subjects = [{question.subject for question in part} for part in parts.values()]
    assert not any(a & b for i, a in enumerate(subjects) for b in subjects[i + 1 :])
    ids = [question.id for part in parts.values() for question in part]
    assert len(set(ids)) == len(ids)


def test_kinds_are_split_by_field_and_each_split_has_every_type_of_answer():
    whose = split_of_kinds()
    kinds = {split: {kind for kind in whose if whose[kind] == split} for split in ("train", "dev", "test")}
    assert whose.keys() == {template.kind for template in TEMPLATES}
    for of_split in kinds.values():
        assert {template.type for template in TEMPLATES if template.kind in of_split} == {"name", "date", "number"}
    for field in {template.field for template in TEMPLATES}:
        assert len({whose[template.kind] for template in TEMPLATES if template.field == field}) == 1
    assert 12 <= len(kinds["train"]) <= 18 and len(kinds["dev"]) >= 5 and len(kinds["test"]) >= 8


def test_by_kind_new_kinds_are_of_no_other_split_and_test_asks_of_no_country_of_training():
    plain, parts, whose = splits(), questions(countries(), by_kind=True), split_of_kinds()
    of = {"train": "train", "dev": "train", "test": "train", "dev_new_kinds": "dev", "test_new_kinds": "test"}
    assert {name: {whose[question.kind] for question in part} for name, part in parts.items()} == {
        name: {split} for name, split in of.items()
    }
    countries_of = {name: {question.subject for question in part} for name, part in parts.items()}
    assert countries_of["test"] | countries_of["test_new_kinds"] <= {q.subject for q in plain["test"]}
    assert countries_of["dev_new_kinds"].isdisjoint(q.subject for q in plain["test"])
    train = {normalise(answer) for question in parts["train"] for answer in question.answers}
    rest = [question for name in parts.keys() - {"train"} for question in parts[name]]
    assert all(train.isdisjoint(map(normalise, question.answers)) for question in rest)
    sizes = {"train": 1675, "dev": 152, "test": 349, "dev_new_kinds": 742, "test_new_kinds": 310}  # docs/questions.md
    assert {name: len(part) for name, part in parts.items()} == sizes


def test_the_order_of_the_countries_does_not_matter():
    few = countries()[::9]
    assert questions(few) == questions(few[::-1])


def test_every_question_can_be_answered_from_its_country():
    by_name = {country.name: country for country in countries()}
    for part in splits().values():
        for question in part:
            text = " ".join(by_name[question.subject].fields.values())
            assert question.answers[0] in text, question
            assert question.question.endswith(("?", ".")) and "{" not in question.question


def test_answers_are_short_and_say_something():
    for part in splits().values():
        for question in part:
            asked = f" {normalise(strip_accents(question.question))} "
            for answer in question.answers:
                assert 2 <= len(answer) <= 45 and answer == answer.strip() and normalise(answer), question
                assert f" {normalise(strip_accents(answer))} " not in asked, question
                assert not re.search(r"[\n;%]|\bnone\b", answer), question
            assert len(set(map(normalise, question.answers))) == len(question.answers)
