"""The World Factbook as articles: one per country and category, curated, each sentence clear on its own.

A field becomes sentences of the form "Label: value."; a long value is cut at its semicolons and sentence ends, and each
part carries the label. Tables of percentages, time series, addresses and fields that repeat others are left out.
"""

import calendar
import re
from collections.abc import Iterable, Iterator

from realm_jax.corpus.articles import Article
from realm_jax.factbook.fields import (
    CATEGORIES,
    CURRENCY,
    FIELDS,
    HEAD_OF_GOVERNMENT,
    HEAD_OF_STATE,
    LISTS,
    PROSE,
    RESULTS,
    RIVERS,
    SHARES,
)
from realm_jax.factbook.package import Country, load_countries
from realm_jax.text import salient, sentences
from realm_jax.text.tokenizer import byte_offsets

_LONGEST = 120
"""Characters of a value's part; about 30 wordpieces, so that a passage of 64 holds more than one."""
_PART = re.compile(r"(?=[^\W_]|\")((?:[^:;.\s]+ ){0,4}[^:;.\s]+):\s+(?=\S)")
_SHARE = re.compile(r"(?:,\s*|\s+)?(?:less than |approximately |about |an estimated |[<>~] ?)?\d[\d.,]*(?:-\d[\d.]*)?%")
_REST = re.compile(r", (?:other|unspecified|none|no answer|unknown|don't know|not stated)(?=[,;)]|\s\(\d|$)")
_EMPTY = re.compile(r"(?:none|NA|N/A|NEGL|no|yes|-+|see .*|not available|not applicable)\W*$", re.IGNORECASE)


def articles(countries: Iterable[Country] | None = None) -> Iterator[Article]:
    for country in countries if countries is not None else load_countries():
        yield from country_articles(country)


def country_articles(country: Country) -> Iterator[Article]:
    by_category: dict[str, list[str]] = {}
    for path, label in FIELDS.items():
        if value := country.fields.get(path):
            if path == HEAD_OF_STATE and country.fields.get(HEAD_OF_GOVERNMENT) == value:
                label = "Chief of state and head of government"
            elif path == HEAD_OF_GOVERNMENT and country.fields.get(HEAD_OF_STATE) == value:
                continue
            category = path.split("/")[0]
            written = by_category.setdefault(CATEGORIES.get(category, category), [])
            written += [s for s in dict.fromkeys(render(path, label, value)) if s not in written]
    for category, written in by_category.items():
        if written:
            yield article(f"{country.name}: {category}", country.name, written)


def article(title: str, subject: str, written: list[str]) -> Article:
    """Joins sentences, and tags their salient spans but those that the title gives away."""
    text = " ".join(written)
    to_byte, ranges, at = byte_offsets(text), [], 0
    for sentence in written:
        ranges.append((int(to_byte[at]), int(to_byte[at + len(sentence)])))
        at += len(sentence) + 1
    data, given = text.encode(), set(re.findall(r"\w+", title.lower()))
    spans = [
        (start, limit, kind)
        for start, limit, kind in salient.tag(text, ranges)
        if not set(re.findall(r"\w+", data[start:limit].decode().lower())) <= given
    ]
    return Article(title, subject, text, ranges, spans)


def render(path: str, label: str, value: str) -> list[str]:
    """The sentences of a field."""
    if path in PROSE:
        return [_ended(value[start:limit]) for start, limit in sentences.split(value)]
    if path in SHARES:
        value = re.sub(r"\s+([,;)])", r"\1", _SHARE.sub("", value))
        value = _REST.sub("", value)
        value = re.sub(r"\s*\((?:\d{4}(?:-\d\d)? est\.|est\.|\d{4})\)\s*$", "", value)
    elif path == CURRENCY:
        value = value.split(" per US dollar")[0]
    elif path == RESULTS:  # who won, not the figures
        value = "\n".join(filter(None, map(_without_votes, value.split("\n"))))
    elif path == RIVERS:
        value = re.sub(r" river (?:source|mouth)", "", value)
    value = re.sub(r"\b(\d{1,2})/(\d{1,2})/(20\d\d)\b", _spelled_date, value)
    result = []
    for paragraph in value.split("\n"):
        part = _PART.match(paragraph)
        name = label
        if part and not part.group(1).strip().lower().startswith("http"):
            name, paragraph = _part_label(label, part.group(1)), paragraph[part.end() :]
        groups = [] if _EMPTY.match(paragraph) else _groups(paragraph, path in LISTS)
        result += [_ended(f"{name}: {group}") for group in groups if not _EMPTY.match(group)]
    return result


def _without_votes(line: str) -> str:
    """An election's result up to the clause with the first figure; nothing if that is the first clause."""
    figure = re.search(r"\d%|\bpercent\b|\bvotes?\b", line)
    if not figure:
        return line
    ends = [line.rfind(mark, 0, figure.start()) for mark in ("; ", ". ", " - ", ", percent")]
    return line[: max(0, *ends)].removesuffix(" in the")


def _spelled_date(match: re.Match) -> str:
    month, day = int(match.group(1)), int(match.group(2))
    return f"{day} {calendar.month_name[month]} {match.group(3)}" if 1 <= month <= 12 else match.group()


def _part_label(label: str, part: str) -> str:
    """ "Flag" and "history" make "Flag history", "Terrain" and "French Guiana" make "Terrain (French Guiana)"."""
    return f"{label} {part}" if part in ("description", "history", "meaning") else f"{label} ({part.strip()})"


def _groups(value: str, is_list: bool) -> Iterator[str]:
    """The value's clauses, neighbours joined again while they stay short."""
    group = ""
    for start, limit in sentences.split(value):
        for clause in _clauses(value[start:limit], is_list):
            if group and len(group) + len(clause) > _LONGEST:
                yield group
                group = ""
            group = f"{group}{' ' if group[-1] in '.!?' else '; '}{clause}" if group else clause
    if group:
        yield group


def _clauses(text: str, is_list: bool) -> list[str]:
    """Cut at the semicolons outside brackets; a long list of names also at commas."""
    return [piece for clause in _split_outside(text, "; ") for piece in _comma_groups(clause, is_list)]


def _comma_groups(clause: str, is_list: bool) -> Iterator[str]:
    items = _split_outside(clause, ", ")
    if len(clause) <= _LONGEST or not is_list and (len(items) < 6 or len(clause) / len(items) > 40):
        yield clause
        return
    group = ""
    for item in items:
        if group and len(group) + len(item) > _LONGEST:
            yield group
            group = ""
        group = f"{group}, {item}" if group else item
    yield group


def _split_outside(text: str, mark: str) -> list[str]:
    """Splits at the marks that no bracket encloses."""
    pieces, depth, start = [], 0, 0
    for i, character in enumerate(text):
        depth = max(0, depth + (character in "([") - (character in ")]"))
        if depth == 0 and text.startswith(mark, i):
            pieces.append(text[start:i])
            start = i + len(mark)
    return [piece.strip() for piece in (*pieces, text[start:]) if piece.strip()]


def _ended(sentence: str) -> str:
    sentence = sentence.strip().rstrip(",;: ")
    return sentence if sentence.endswith((".", "!", "?", '."', ".'")) else f"{sentence}."
