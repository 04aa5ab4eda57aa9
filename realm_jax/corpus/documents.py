"""One document a file: the common form of every kind of file, and the kinds that are text: plain, Markdown, HTML.

A kind is a row of `kinds.DOCUMENTS` and a function that makes a `Document` of a file's bytes.
"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

from markdown_it import MarkdownIt

from realm_jax.corpus.articles import unescape
from realm_jax.corpus.files import UTF16
from realm_jax.errors import UserError

LONG = 1000
"""Characters above which a document is divided at its headings: some two passages of `own_documents`."""
TITLE = 100
"""Characters above which a title keeps only the last of its headings."""
Line = tuple[int, str]
"""(level, text): a heading, of level 1 or more, or a line of text, of level 0."""
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_KEY = re.compile(r"[\w\"'][^:]*:(?:\s|$)")
"""A line that tells a block of YAML from a rule, `---`, above text."""
_TITLE = re.compile(r"title:[ \t]+(?:\"(.*)\"|'(.*)'|([^\s\"'|>].*))", re.IGNORECASE)
_UNSEEN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG_IN_LINE = re.compile(
    r"</?(?:a|abbr|b|cite|code|del|em|font|i|img|ins|kbd|mark|q|s|samp|small|span|strong|sub|sup|time|tt|u|var|wbr)\b[^<>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[/!?a-z][^<>]*>", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Document:
    """The visible text of a file."""

    lines: list[Line]
    title: str = ""
    """Empty where the file says none."""

    @property
    def text(self) -> str:
        return "\n".join(text for _, text in self.lines)


class BadDocument(UserError):
    """A file that gives no document; whoever knows its name says so before."""

    def __init__(self, problem: str, line: int = 0):
        super().__init__(problem)
        self.line = line
        """0 where the fault has no line."""


def parts(document: Document, title: str) -> Iterator[tuple[str, str]]:
    """(title, text) of a short document, or of each section of a long one: "Manual: Installation: Linux".

    Every line is in one part, headings too: no answer is lost. A heading whose words the title has adds nothing to it.
    """
    if len(document.text) <= LONG:
        yield title, document.text
        return
    above: list[Line] = []
    lines: list[str] = []
    has_text, name = False, title
    for level, text in document.lines:
        if level:
            if has_text:
                yield name, "\n".join(lines)
                lines, has_text = [], False
            above = [*(heading for heading in above if heading[0] < level), (level, text)]
            name = _with_headings(title, [heading for _, heading in above])
        else:
            has_text = True
        lines.append(text)
    if lines:
        yield name, "\n".join(lines)


def _with_headings(title: str, headings: list[str]) -> str:
    names = [title]
    for heading in headings:
        if heading.casefold() not in names[-1].casefold():
            names.append(heading)
    name = ": ".join(names)
    return name if len(name) <= TITLE or len(names) < 3 else f"{title}: {names[-1]}"


def decoded(data: bytes) -> str:
    """Raises BadDocument where bytes are no UTF-8."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadDocument(f"invalid UTF-8 (byte {error.start}); save the file as UTF-8", line) from None
    if "\0" in text:
        raise BadDocument(UTF16)
    return text


def plain(data: bytes) -> Document:
    return Document([(0, line) for line in paragraphs(decoded(data))])


def paragraphs(text: str) -> list[str]:
    """Paragraphs, which blank lines separate, a line each."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            found[-1].append(line.strip())
        elif found[-1]:
            found.append([])
    return [" ".join(lines) for lines in found if lines]


def markdown(data: bytes) -> Document:
    """Paragraphs, items and cells a line each, without the title.

    The title is the front matter's, or else the first heading, if no text but HTML comes before it.
    """
    title, text = _front_matter(decoded(data))
    lines: list[Line] = []
    opens, level = True, 0
    for token in _MARKDOWN.parse(text):
        if token.type in ("fence", "code_block"):
            lines += [(0, line.strip()) for line in token.content.splitlines()]
            opens = False
        elif token.type == "html_block":
            lines += [(0, line) for line in _html_block(token.content)]
        elif token.type == "heading_open":
            level = int(token.tag[1])
        elif token.type == "inline":
            shown = " ".join(_inline(token.children or []).split())
            if level and opens and title in ("", shown):
                title = shown
            else:
                lines.append((level, shown))
            level, opens = 0, False
    return Document([line for line in lines if line[1]], title)


def _front_matter(text: str) -> tuple[str, str]:
    """(the title that a block of YAML before the text says, or nothing; the text without that block)."""
    lines = text.split("\n")
    ends = (i for i, line in enumerate(lines) if i and line.rstrip(" \t\r") in ("---", "..."))
    if lines[0].rstrip(" \t\r") != "---" or not (end := next(ends, 0)):
        return "", text
    block = [line.rstrip() for line in lines[1:end]]
    if not _KEY.match(next((line for line in block if not line.startswith("#")), "")):
        return "", text
    title = next(filter(None, map(_TITLE.fullmatch, block)), None)
    return " ".join(next(filter(None, title.groups()), "").split()) if title else "", "\n".join(lines[end + 1 :])


def _html_block(block: str) -> list[str]:
    """The lines of text of a block of HTML within Markdown, without its tags."""
    text = _TAG_IN_LINE.sub("", " ".join(_UNSEEN.sub("", block).split()))
    return [" ".join(unescape(line).split()) for line in _TAG.split(text)]


def _inline(tokens: list[Any]) -> str:
    pieces = []
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            pieces.append(" ")
        elif token.type in ("text", "code_inline"):
            pieces.append(token.content)
        elif token.type == "html_inline" and _TAG_IN_LINE.sub("", _UNSEEN.sub("", token.content)):
            pieces.append(" ")  # <br> and the like part words
        elif token.type == "image":
            pieces.append(_inline(token.children or []))
    return "".join(pieces)
