"""Questions about the Factbook's countries, split by country, and by kind where that is asked for."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable

from realm_jax.factbook.package import Country
from realm_jax.factbook.templates import TEMPLATES, Template
from realm_jax.qa.answers import normalise, strip_accents
from realm_jax.qa.questions import Question

_SHARES = {"dev": 0.07, "test": 0.19}
_DEAL = ("train", "dev", "test", "train", "test", "train")
"""Whose the fields are, in turn."""
_COMMON = 4  # countries
_NO_COUNTRY = frozenset({"ee", "xx"})  # the European Union, the world
_WITH_ARTICLE = re.compile(
    r"(?:Netherlands|Philippines|Maldives|Comoros|Seychelles|Holy See|Gaza Strip|West Bank|Isle of Man|United .*|"
    r"US .*|Republic of .*|Democratic Republic of .*|.* Republic|.* Islands|.* Territory|.* Refuges|.* Lands)"
)


def questions(countries: Iterable[Country], by_kind: bool = False) -> dict[str, list[Question]]:
    """All questions by split; the same countries give the same splits.

    A question of dev or test of which some answer is also some train question's is left out.

    Args:
      by_kind: train, dev and test have the kinds that `split_of_kinds` gives train. Of the others, test_new_kinds asks
        about the countries of test, and dev_new_kinds, of whose kinds there are few, about all other countries.
    """
    countries = sorted((c for c in countries if c.code not in _NO_COUNTRY), key=lambda country: _draw(country.code))
    mentions = _Mentions(countries)
    test = len(countries) - round(_SHARES["test"] * len(countries))
    dev = test - round(_SHARES["dev"] * len(countries))
    parts = {"train": countries[:dev], "dev": countries[dev:test], "test": countries[test:]}
    splits = {
        name: [question for country in part for question in ask(country, mentions)] for name, part in parts.items()
    }
    if by_kind:
        whose = split_of_kinds()
        asked = {"dev": splits["train"] + splits["dev"], "test": splits["test"]}
        splits = {name: [q for q in splits[name] if whose[q.kind] == "train"] for name in parts}
        splits |= {f"{name}_new_kinds": [q for q in asked[name] if whose[q.kind] == name] for name in asked}
    known = {normalise(answer) for question in splits["train"] for answer in question.answers}
    for name in splits.keys() - {"train"}:
        splits[name] = [q for q in splits[name] if known.isdisjoint(map(normalise, q.answers))]
    return splits


def split_of_kinds() -> dict[str, str]:
    """{kind: train, dev or test}; two kinds that one field answers are of one split.

    The fields of each type of answer are dealt out apart, in a fixed random order.
    """
    fields: dict[str, list[Template]] = {}
    for template in TEMPLATES:
        fields.setdefault(template.field, []).append(template)
    whose, left = {}, sorted(fields, key=lambda field: _draw(f"kinds: {field}"))
    for type in ("number", "date", "name"):
        dealt = [field for field in left if any(template.type == type for template in fields[field])]
        left = [field for field in left if field not in dealt]
        for field, split in zip(dealt, itertools.cycle(_DEAL)):
            whose |= {template.kind: split for template in fields[field]}
    return whose


def ask(country: Country, mentions: Callable[[str], int] = lambda answer: 0) -> list[Question]:
    """Every question that the country's fields answer, in the order of the templates.

    Args:
      mentions: how many countries speak of an answer; a word of many passages is not accepted beside the first answer,
        for passages that hold it would count as found ("White" for the ambassador Bill White).
    """
    result = []
    for template in TEMPLATES:
        text = next((country.fields[path] for path in template.field.split("|") if path in country.fields), None)
        if text is None or _is_barred(template, country):
            continue
        wording = template.wordings[int(_draw(country.code + template.kind), 16) % len(template.wordings)]
        question = wording.format(with_article(country.name))
        if answers := _accepted(template.answers(text), text, question):
            limit = max(_COMMON, mentions(answers[0]))
            answers = answers[:1] + tuple(
                answer for answer in answers[1:] if template.names_all or mentions(answer) <= limit
            )
            result.append(Question(f"{country.code}-{template.kind}", question, answers, country.name, template.kind))
    return result


def with_article(name: str) -> str:
    """The name within a sentence: France, the Gambia, the Netherlands."""
    if name.startswith("The "):
        return f"the {name[4:]}"
    return f"the {name}" if _WITH_ARTICLE.fullmatch(name) else name


class _Mentions:
    """Counts the countries whose text holds an answer, word for word."""

    def __init__(self, countries: Iterable[Country]):
        self._texts = [
            " ".join(word for text in country.fields.values() for word in _words(text)) for country in countries
        ]
        self._known: dict[str, set[int]] = {}
        for i, text in enumerate(self._texts):
            for word in set(text.split(" ")):
                self._known.setdefault(word, set()).add(i)

    def __call__(self, answer: str) -> int:
        words = _words(answer)
        places = set.intersection(*(self._known.get(word, set()) for word in words)) if words else set()
        if len(words) == 1:
            return len(places)
        return sum(f" {' '.join(words)} " in f" {self._texts[i]} " for i in places)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", strip_accents(text).lower())


def _is_barred(template: Template, country: Country) -> bool:
    if template.unless is None:
        return False
    field, pattern = template.unless
    return re.search(pattern, country.fields.get(field, "")) is not None


def _accepted(answers: list[str], text: str, question: str) -> tuple[str, ...]:
    """The words of the field that the question does not have; the spellings without accents too; none that says the
    same."""
    asked = f" {_plain(question)} "
    good = [answer for answer in answers if answer in text and f" {_plain(answer)} " not in asked]
    good += [plain for answer in good if (plain := strip_accents(answer)) != answer]
    return tuple(
        {normalise(answer): answer for answer in reversed(good)}[key] for key in dict.fromkeys(map(normalise, good))
    )


def _plain(text: str) -> str:
    return normalise(strip_accents(text))


def _draw(text: str) -> str:
    """A fixed random order that does not depend on Python's own hash."""
    return hashlib.sha256(f"factbook questions: {text}".encode()).hexdigest()
