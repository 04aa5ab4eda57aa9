"""Where the sentences of a text begin and end, in any script."""

import itertools
import re
import unicodedata
from functools import cache


def word_set(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# A point after these ends no sentence. Single capitals (initials) and numbers in front of a unit are ruled out below.
_ABBREVIATIONS = word_set(
    "st mt ft dr mr mrs ms jr sr gen col lt capt sgt rev hon pres sen rep gov prof no nos vs ca approx est etc e.g",
    "i.e cf al inc ltd co corp dept univ fig vol pp p sq km mi u.s u.k u.n d.c b.c a.d jan feb mar apr jun jul aug",
    "sep sept oct nov dec",
    "bzw nr sra mme mlle núm pág tzv např ул им св проф акад стр рис т.е",
)
_MONTHS = re.compile(
    r"(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember|Jahrhundert)\w*"
)
"""Words that go on after a German ordinal, "am 3. Oktober"."""
# Looked for at the first of its marks alone: to begin anew at each would take hours for a run of a million.
_MARKS = ".!?…؟۔։।॥።፧᙮᠃᠉⸮"
_END = re.compile(
    rf"""(?<![{_MARKS}])[{_MARKS}]+["'”’“‘»›)\]]*(?=\s+["'“‘„‚«‹(\[¿¡—–-]*(?P<next>[^\W_]))"""
    r"""|[。！？｡]+["'”’」』）〉》)\]]*|\n+"""
)
_LAST_WORD = re.compile(r"[^\s(\[“\"]+$")
_LOOKED_AT = max(map(len, _ABBREVIATIONS)) + 1
"""Characters before a point that tell whether an abbreviation ends there, for a word of any length."""


@cache
def capitals() -> str:
    """All capital letters of Unicode, as ranges within the brackets of a regular expression."""
    ranges: list[list[int]] = []
    for point in itertools.chain(range(0x3000), range(0xA000, 0x20000)):
        if unicodedata.category(chr(point)) in ("Lu", "Lt"):
            if ranges and ranges[-1][1] == point - 1:
                ranges[-1][1] = point
            else:
                ranges.append([point, point])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def _opens(letter: str) -> bool:
    """Whether a sentence may begin so: a digit, a capital, or a letter of a script without capitals."""
    return letter.isdigit() or letter.isalpha() and not letter.islower()


def split(text: str) -> list[tuple[int, int]]:
    """[(start, limit)] in characters, without the white space between; a line break always ends a sentence."""
    result, start = [], 0
    opened = _depths(text)
    for match in _END.finditer(text):
        if match["next"]:
            if not _opens(match["next"]):
                continue
            word = _LAST_WORD.search(text, max(start, match.start() - _LOOKED_AT), match.start())
            last = word.group().lower() if word else ""
            initial = len(last) == 1 and last.isalpha() and text[match.start() - 1].isupper()
            initial = (
                initial or last.isdigit() and len(last) < 3 and _MONTHS.match(text, match.start("next")) is not None
            )
            if text[match.start()] == "." and (initial or last in _ABBREVIATIONS) or opened[match.end() - 1]:
                continue
        _append(result, text, start, match.end())
        start = match.end()
    _append(result, text, start, len(text))
    return result


def _append(result: list[tuple[int, int]], text: str, start: int, limit: int) -> None:
    piece = text[start:limit]
    if stripped := piece.strip():
        start += len(piece) - len(piece.lstrip())
        result.append((start, start + len(stripped)))


def _depths(text: str) -> list[int]:
    """How many brackets are open after each character; a bracket that its line never closes counts for nothing."""
    changes, stack = [0] * len(text), []
    for i, character in enumerate(text):
        if character == "\n":
            stack.clear()
        elif character in "([":
            stack.append(i)
        elif character in ")]" and stack:
            changes[stack.pop()] = 1
            changes[i] = -1
    return list(itertools.accumulate(changes))
