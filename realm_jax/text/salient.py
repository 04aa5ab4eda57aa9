"""Salient spans by rule: dates, names and numbers, which salient span masking hides.

The paper takes named entities from a tagger trained on CoNLL-2003 and dates from a regular expression. Here capitals
mark names, which needs no model and no download, and numbers (with their unit) are tagged too. A corpus that brings its
own spans does not come through here.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from realm_jax.text.sentences import capitals, split, word_set
from realm_jax.text.tokenizer import byte_offsets, characters

Span = tuple[int, int, str]

_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_YEAR = r"(?:1\d{3}|20\d{2})"
_UNIT = (
    "(?:sq km|km|sq m|m|nm|cm|mm|ha|hectares|(?:square )?(?:meters|kilometers|miles)|feet|ft|tons|barrels|people"
    "|percent|kW|MW)"
)
# What comes before a number that stands by itself; "mid-1990s" has one, "F-16" and "COVID-19" have none.
_FREE = r"(?<![\w.,$+])(?:(?<![A-Za-z]-)|(?<=\bmid-))"
_DATE = re.compile(
    "|".join(
        (
            rf"(?<![\w.,$+/-])\d{{1,2}}(?:-\d{{1,2}})? {_MONTH}(?:,? {_YEAR})?(?!\w)",
            rf"\b{_MONTH} \d{{1,2}}, {_YEAR}(?!\w)",
            rf"\b{_MONTH},? {_YEAR}(?!\w)",
            r"(?<![\w.,$/])\d{1,2}/\d{1,2}/(?:\d{4}|\d{2})(?![\w/])",
            r"(?<![\w.,$])\d{1,2}(?:st|nd|rd|th)(?:(?:-| and | to )\d{1,2}(?:st|nd|rd|th))?[- ]centur(?:y|ies)"
            r"(?: ?(?:B\.?C\.?E?\.?|A\.?D\.?|C\.?E\.?))?(?!\w)",
            r"(?<![\w.,$])\d{1,5}(?:-\d{1,5})? ?(?:B\.C\.E\.|B\.C\.|BCE|BC|A\.D\.|AD|CE)(?!\w)",
            r"(?<![\w.,$])(?:A\.D\.|AD) \d{1,4}(?!\w)",
            rf"{_FREE}{_YEAR}s(?!\w)",
            rf"{_FREE}{_YEAR}(?:-(?:\d{{4}}|\d{{2}})(?!\d))?(?![\w%])(?![.,]\d)(?! ?(?:{_UNIT}|million|billion)\b)",
        )
    )
)
_NUMBER = re.compile(
    r"(?<![\w.,+/:])(?<![A-Za-z]-)(?<!No\. )(?:-(?=\d))?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
    rf"(?:%|(?: (?:million|billion|trillion))?(?: {_UNIT})?(?!\w))(?![\w/:])(?!-[A-Za-z])(?![.,]\d)"
)
_CAPITAL = f"[{capitals()}]"
_WORD = (
    r"(?:(?:[A-Z]\.){2,}|"
    rf"(?:[dDlLO]['’]|(?:al|el|ad|an|as|ash|ul|d|bin)-)?{_CAPITAL}[^\W\d_]*(?:['’-][^\W\d_]+)*(?:-\d+)?"
    r"(?:(?<=\b[A-Z])\.|(?<=\bSt)\.|(?<=\bMt)\.)?)"
)
_WITHIN = re.compile(rf"(?<=(?P<before>[^\W\d_]|[,;(]) ){_CAPITAL}[^\W\d_]+")
_LETTERS = re.compile(r"[^\W\d_]+")
_LINK = (
    "(?:of the|of|the|de la|de los|de las|de|del|della|di|da|do|dos|das|du|des|la|le|les|el|al|bin|ibn|van der|van|von"
    "|der|den|ul|na|y|e|et|en|i|zu|for)"
)
_NAME = re.compile(rf"(?<![\w@.-]){_WORD}(?: (?:{_LINK} |& )?{_WORD})*(?![\w@])")
_TOGETHER = re.compile(
    r"Washington, D\.?C\.?|Trinidad and Tobago|Bosnia and Herzegovina|Antigua and Barbuda|Saint Kitts and Nevis"
    "|Sao Tome and Principe"
    "|Saint Vincent and the Grenadines|Saint Pierre and Miquelon|Turks and Caicos(?: Islands)?|Wallis and Futuna"
    "|Heard Island and McDonald Islands|South Georgia and the South Sandwich Islands|Serbia and Montenegro"
)
# A colon within the first words of a sentence makes them a label.
_LABEL = re.compile(r"[A-Z0-9\"][^:;.!?]{1,60}(?:\([^)]{1,60}\))?: ")
# Years of an estimate, as in "(2023 est.)" or a closing "(2024)", date the source's table, not what happened.
_TABLE_YEAR = re.compile(
    rf"\((?:[^()]{{0,20}} )?{_YEAR}(?:-\d{{2,4}})? est\.?[^()]*\)|\((?:{_MONTH} )?20[0-3]\d(?:-\d\d)?\)(?=[.;,]?\s*$)"
    r"|(?<= km )\(20[0-3]\d\)"
)
_TITLES = word_set(
    "President Vice Prime Minister King Queen Emperor Emir Sultan Prince Princess Ambassador Governor General",
    "Chancellor Pope Chief Premier Sir Lord Chairman Chairperson Speaker Senator Captain Colonel Gen Gen. Col Col.",
    "Lt Lt. Maj Maj. Dr Dr. Mr Mr. Mrs. Ms. St Deputy Acting Interim Former Secretary Commissioner Administrator",
    "Sheikh Shaykh Amir Chargé d'Affaires Crown Grand Duke Co-Prince Supreme Leader Field Marshal Brigadier Adm.",
    "Admiral Counselor Head Ambassador-designate",
)
_ORDINARY = word_set(
    "A An The This That These Those It Its He She They We I In On At By For From With Without Within Under Over",
    "After Before During Since Until While When Where Although Though Because If As And Or But Nor Not No Yes None",
    "There Here Following Despite Between Among Both Each Every Some Many Most Several Other Others Another All Any",
    "Such His Her Their Our Your One Two Three Four Five Six Seven Eight Nine Ten Once Upon About Above Below",
    "Against Through Throughout Toward Towards Also However Moreover Meanwhile Later Then Thus Hence Yet Still Only",
    "Even Just Almost More Less Few Fewer Much Note Subsequent Due Given Based Unlike Like Along Together Whether",
    "Which Who What How Why To Of Into Out Up Down Recent Today First Formerly Troops Rebels",
)
_NEVER = word_set(
    "Jr Sr USD GDP UTC TV FM AM PM CO2 LNG HIV/AIDS HIV AIDS NA N/A SMS ISP PPP Internet Btu SLV SLVs RS EEZ ID IDP",
    "IDPs DC est PhD I II III IV V VI Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February",
    "March April May June July August September October November December Mt Mt.",
)


def tag(text: str, sentences: Sequence[tuple[int, int]] | None = None) -> list[Span]:
    """[(start, limit, "date" | "name" | "number")], ascending, apart from each other, each within one sentence.

    Args:
      sentences: [(start, limit)]; found by rule if not given. Bytes, like the result.
    """
    to_byte = byte_offsets(text)
    if sentences is None:
        ranges = split(text)
    else:
        to_character = {int(byte): i for i, byte in enumerate(to_byte)}
        ranges = [(to_character[start], to_character[limit]) for start, limit in sentences]
    known = _mid_sentence_names(text, ranges)
    return [
        (int(to_byte[start]), int(to_byte[limit]), kind)
        for sentence in ranges
        for start, limit, kind in _tag_sentence(text, *sentence, known)
    ]


def dates(text: str, sentences: Sequence[tuple[int, int]]) -> list[Span]:
    """[(start, limit, "date")] of the dates alone; arguments and order as of `tag`."""
    to_byte = byte_offsets(text)
    ranges = characters(text, np.asarray(sentences, np.int64).reshape(-1, 2))
    return [
        (int(to_byte[start + match.start()]), int(to_byte[start + match.end()]), "date")
        for start, limit in ranges
        for match in _DATE.finditer(text[start:limit])
    ]


def body_start(sentence: str) -> int:
    """The character at which the sentence goes on after its label ("Capital: "); 0 if it has none."""
    match = _LABEL.match(sentence)
    return match.end() if match and len(match.group().split()) <= 8 else 0


def _tag_sentence(text: str, start: int, limit: int, known: frozenset[str]) -> list[Span]:
    sentence = text[start:limit]
    label = body_start(sentence)
    taken = np.zeros(len(sentence), bool)
    for a, b in [(0, label), *(match.span() for match in _TABLE_YEAR.finditer(sentence))]:
        taken[a:b] = True
    found: list[Span] = []

    def take(candidates: Iterator[tuple[int, int]], kind: str) -> None:
        for a, b in candidates:
            if a < b and not taken[a:b].any():
                taken[a:b] = True
                found.append((start + a, start + b, kind))

    take((match.span() for match in _DATE.finditer(sentence, label)), "date")
    take((match.span() for match in _NUMBER.finditer(sentence, label) if _tells(match.group())), "number")
    take((match.span() for match in _TOGETHER.finditer(sentence, label)), "name")
    take(_names(sentence, label, known), "name")
    return sorted(found)


def _tells(number: str) -> bool:
    """Whole numbers below 100 are everywhere: those without a unit tell nothing elsewhere."""
    amount, _, unit = number.lstrip("-$").rstrip("%").partition(" ")
    least = 10 if unit else 100
    return not amount.isdigit() or int(amount.lstrip("0")[:4] or 0) >= least or "illion" in unit


def _names(sentence: str, label: int, known: frozenset[str]) -> Iterator[tuple[int, int]]:
    for match in _NAME.finditer(sentence, label):
        words = [(match.start() + m.start(), match.start() + m.end()) for m in re.finditer(r"[^ ]+", match.group())]
        for piece in _apart(sentence, words):
            yield from _trimmed(sentence, piece, match.start() in (0, label), known)


def _apart(sentence: str, words: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Cuts behind a genitive, and behind a surname in capitals: "Nana AKUFO-ADDO of the NPP" are two names."""
    piece: list[tuple[int, int]] = []
    for word in words:
        text = sentence[slice(*word)]
        if len(piece) > 1 and text in ("of", "the", "for") and sentence[slice(*piece[-1])][1:].isupper():
            yield piece
            piece = []
        piece.append(word)
        if _bare(text) != text and text[:-2] not in ("People", "Women", "Children", "Men"):
            yield piece
            piece = []
    if piece:
        yield piece


def _trimmed(
    sentence: str, words: list[tuple[int, int]], opens: bool, known: frozenset[str]
) -> Iterator[tuple[int, int]]:
    """The name without titles and linking words at its ends; nothing, where a capital only opens the sentence."""
    words = words[_before(words, lambda word: word[0].islower() and not re.match(r"[a-z]+['’-]", word), sentence) :]
    if opens and words:
        first = _bare(sentence[slice(*words[0])])
        certain = words[0][0] > 0 or first in known or (first.isupper() and len(first) > 1)
        alone = len(words) == 1
        opener = first in _ORDINARY or (not certain and (alone or first.endswith(("ing", "ly"))))
        if opener or (alone and first.endswith("ed")):  # "Jarvis Island: Claimed by ..."
            words = words[1:]
    words = words[_before(words, _TITLES.__contains__, sentence) :]
    words = words[_before(words, ("of", "the", "for", "de").__contains__, sentence) :]
    if not words:
        return
    start, limit = words[0][0], words[-1][1]
    limit = start + len(_bare(sentence[start:limit]))
    if limit == len(sentence) and sentence[start:limit].count(".") == 1:  # "World War I." at the end
        limit = len(sentence.removesuffix("."))
    name = sentence[start:limit]
    if (
        len(name) > 1
        and not all(word in _NEVER for word in re.split("[ -]", name))
        and name not in _ORDINARY
        and name not in _TITLES
    ):
        yield start, limit


def _before(words: list[tuple[int, int]], is_other: Callable[[str], bool], sentence: str) -> int:
    """How many words at the head are no part of the name."""
    return next((i for i, word in enumerate(words) if not is_other(sentence[slice(*word)])), len(words))


def _bare(word: str) -> str:
    return re.sub(
        r"(?:['’]s?|-(?:led|backed|based|style|born|held|controlled|speaking|made|era|only|owned|sponsored))$", "", word
    )


def _mid_sentence_names(text: str, sentences: Sequence[tuple[int, int]]) -> frozenset[str]:
    """Words that the text writes with a capital within sentences, and never without."""
    within: set[str] = set()
    for start, limit in sentences:
        sentence = text[start:limit]
        within.update(
            m.group() for m in _WITHIN.finditer(sentence, body_start(sentence)) if m[1].islower() or m[1] in ",;("
        )
    lower = {word for word in _LETTERS.findall(text) if word.islower()}
    return frozenset(word for word in within if word.lower() not in lower)
