"""What every source of text is turned into."""

import dataclasses

from realm_jax.errors import UserError

Span = tuple[int, int, str]
"""start and limit in bytes, type ("date", "name", "number" or what the source says)"""


@dataclasses.dataclass(frozen=True)
class Article:
    """A source page. All offsets are bytes of the UTF-8 text, as in TFDS's salient_span_wikipedia."""

    title: str
    subject: str
    """What it is about; articles of one subject share it (the country; for Wikipedia, the title)."""
    text: str
    sentences: list[tuple[int, int]]
    """Ascending, not overlapping."""
    spans: list[Span]
    """Salient spans, ascending, not overlapping, each within one sentence."""


def check(article: Article, number: int) -> None:
    """Raises UserError, naming the record, where an article breaks the promises of its type."""
    where = f"corpus record {number} ({article.title!r})"
    if not article.text.strip():
        raise UserError(f"{where}: has no text; every article needs a title and a text")
    if not article.title.strip():
        raise UserError(f"{where}: has no title; every article needs a title and a text")
    size, last = len(article.text.encode()), 0
    for start, limit in article.sentences:
        if not last <= start < limit <= size:
            raise UserError(
                f"{where}: sentence [{start}, {limit}) is out of order or outside the text's {size} bytes; "
                "sentences must ascend and not overlap"
            )
        last = limit
    last = 0
    for start, limit, kind in article.spans:
        if not last <= start < limit <= size:
            raise UserError(
                f"{where}: {kind} span [{start}, {limit}) is out of order or outside the text's {size} bytes; "
                "spans must ascend and not overlap"
            )
        last = limit
