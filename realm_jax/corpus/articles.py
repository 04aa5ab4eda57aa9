"""The common form of every source of text."""

import dataclasses
import html
import re

from realm_jax.errors import UserError

Span = tuple[int, int, str]
"""start and limit in bytes, type ("date", "name", "number", or the source's own)"""


@dataclasses.dataclass(frozen=True)
class Article:
    """A source page. All offsets are bytes of the UTF-8 text, as in TFDS's salient_span_wikipedia."""

    title: str
    subject: str
    """Its subject; articles of one subject share it (the country; for Wikipedia, the title)."""
    text: str
    sentences: list[tuple[int, int]] | None = None
    """Ascending, not overlapping; None where a rule shall find them."""
    spans: list[Span] | None = None
    """Salient spans, ascending, not overlapping, each within one sentence; None where taggers shall find them."""
    links: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """The places of links' text: marks of entities, ascending."""
    origin: str = ""
    """The place it comes from: a file, and the line or byte of it."""
    id: str = ""
    """Its name in the source, unique in the corpus; empty where it has no such thing."""
    whole: bool = False
    """Whether it is one passage already, and must not be cut at sentence ends (ORQA's blocks)."""


@dataclasses.dataclass(frozen=True)
class Bad:
    """A record that is no article."""

    where: str
    """file and line, or byte"""
    problem: str
    """the fault, and the right form"""

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


_ENTITY = re.compile(r"&#(?:\d{8,}|x0*[0-9a-f]{7,});?", re.IGNORECASE)


def unescape(text: str) -> str:
    """Entities of HTML as characters; a number that is none's becomes U+FFFD, however many digits it has."""
    return html.unescape(_ENTITY.sub("\ufffd", text))


def check(article: Article, number: int) -> None:
    """Raises UserError, naming the record, where an article breaks the promises of its type."""
    where = article.origin or f"corpus record {number} ({article.title!r})"
    if not article.text.strip():
        raise UserError(f"{where}: has no text; every article needs a title and a text")
    if not article.title.strip():
        raise UserError(f"{where}: has no title; every article needs a title and a text")
    data = article.text.encode()
    _check_places([(*place, "sentence") for place in article.sentences or []], "sentences", data, where)
    _check_places([(*place, f"{kind} span") for *place, kind in article.spans or []], "spans", data, where)


def _check_places(places: list[Span], they: str, data: bytes, where: str) -> None:
    """`places` are (start, limit, the text there)."""
    last = 0
    for start, limit, what in places:
        if not last <= start < limit <= len(data):
            raise UserError(
                f"{where}: {what} [{start}, {limit}) is out of order or outside the text's {len(data)} bytes; "
                f"{they} must ascend and not overlap"
            )
        if any(at < len(data) and data[at] & 0xC0 == 0x80 for at in (start, limit)):
            raise UserError(
                f"{where}: {what} [{start}, {limit}) begins or ends within a character; offsets are bytes of the "
                "UTF-8 text at which characters begin"
            )
        last = limit
