"""PDF files: their layer of text, by pypdf (extra `[pdf]`), divided by the entries of their table of contents."""

import io
import logging
import re
from collections.abc import Iterator
from typing import Any

from pypdf import PdfReader
from pypdf.errors import DependencyError

from realm_jax.corpus.documents import BadDocument, Document, Line

_NO_TITLE = re.compile(
    r"untitled|.*\.(docx?|odt|tex|dvi|indd|rtf|pptx?|pdf|html?)|microsoft \w+ - .*|\W*", re.IGNORECASE
)
"""Words that programs write in place of a title."""
_CLOSING = " )]}'\"»”’*"
_ENDS = (".", "?", "!", ":", ";", "…", "。", "？", "！")
_DIVIDED = re.compile(r"(?<=[^\W\d_]{2})[-\u00ad]\n(?=[^\W\d_A-Z]{2})")


def pdf(data: bytes) -> Document:
    """Paragraphs a line each, as far as the layout tells them; a page's end ends none."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # of damage that it copes with
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise BadDocument("encrypted; save it without a password, or leave it out")
        pages = [page.extract_text() for page in reader.pages]
        title = str((reader.metadata.title if reader.metadata else "") or "")
        headings = dict(_headings(reader.outline, 1))
    except BadDocument:
        raise
    except DependencyError:
        raise BadDocument("encrypted in a way that needs the package cryptography; save it without") from None
    except Exception as error:  # of damaged files pypdf raises whatever its reading comes upon
        raise BadDocument(f"damaged, or no PDF ({type(error).__name__}: {error}); save it anew") from None
    lines = list(_lines(pages, headings))
    if not lines:
        raise BadDocument("has no layer of text, as scans have none; recognise its text first (OCR), or leave it out")
    title = " ".join(_encodable(title).split())
    return Document(lines, "" if _NO_TITLE.fullmatch(title) else title)


def _headings(outline: list[Any], level: int) -> Iterator[tuple[str, int]]:
    for entry in outline:
        if isinstance(entry, list):
            yield from _headings(entry, level + 1)
        elif key := _key(str(entry.title or "")):
            yield key, level


def _key(text: str) -> str:
    """A heading without its number, by which a line of a page is known again."""
    return re.sub(r"^[\d.\s]+|\W+", " ", text.casefold()).strip()


def _lines(pages: list[str], headings: dict[str, int]) -> Iterator[Line]:
    paragraph: list[str] = []
    for page in pages:
        found = [" ".join(line.split()) for line in _encodable(page).splitlines()]
        for edge in (0, -1):
            if found and _is_page_number(found[edge]):
                del found[edge]
        longest = max(map(len, found), default=0)
        for line in found:
            if level := headings.get(_key(line), 0):
                yield from _joined(paragraph)
                yield level, line
                paragraph = []
            elif line:
                paragraph.append(line)
            if paragraph and paragraph[-1].rstrip(_CLOSING).endswith(_ENDS) and len(line) < 0.8 * longest:
                yield from _joined(paragraph)
                paragraph = []
    yield from _joined(paragraph)


def _is_page_number(line: str) -> bool:
    return len(line) < 16 and line.casefold().removeprefix("page").strip(" -–—|.").isdigit()


def _joined(lines: list[str]) -> Iterator[Line]:
    """A paragraph; words that are divided at a line's end are whole again."""
    if lines:
        yield 0, _DIVIDED.sub("", "\n".join(lines)).replace("\n", " ")


def _encodable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()
