"""HTML files: title, headings, and the text that a browser shows of the page itself."""

import codecs
import re
from html.parser import HTMLParser

from realm_jax.corpus.documents import BadDocument, Document, Line, decoded

_CHARSET = re.compile(rb"""<meta[^>]{1,200}charset\s{0,9}=\s{0,9}["']?\s{0,9}([a-z0-9_:.-]{1,40})""", re.IGNORECASE)
_HEAD = 4096
"""Bytes in which a page says how its characters are written."""
_UNSEEN = ("script", "style", "template", "noscript", "svg", "nav", "footer", "select", "button", "iframe")
"""Elements that are no text of the page: programs, and links to other pages."""
_IN_LINE = re.compile(
    "a|abbr|acronym|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|img|ins|kbd|label|mark|math|mi|mn|mo|q|rp|rt|ruby|s|"
    "samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr"
)
"""Elements that part no words."""
_LATIN = {"iso8859-1", "ascii"}
"""Charsets that browsers read as Windows-1252."""


def html(data: bytes) -> Document:
    """Paragraphs, items and cells a line each. The title is the page's <title>, or else its first heading."""
    parser = _Parser()
    parser.feed(_characters(data))
    parser.close()
    lines, title = parser.lines, " ".join("".join(parser.title).split())
    if lines and lines[0][0] and lines[0][1] == (title or lines[0][1]):
        title = lines.pop(0)[1]
    return Document(lines, title)


def _characters(data: bytes) -> str:
    declared = _CHARSET.search(data, 0, _HEAD)
    try:
        return decoded(data)
    except BadDocument:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            name = "utf-16"
        elif declared:
            name = declared[1].decode()
        else:
            raise
    try:
        name = codecs.lookup(name).name
        if name == "utf-8":
            raise BadDocument("is no UTF-8, as its <meta charset> says; save the file as UTF-8")
        return data.decode("cp1252" if name in _LATIN else name, "replace" if name in _LATIN else "strict")
    except (LookupError, UnicodeDecodeError):
        raise BadDocument(f"is not in the charset {name!r} that it names; save the file as UTF-8") from None


class _Parser(HTMLParser):
    """Faulty nesting is read as it is: an end tag that closes nothing is nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.lines: list[Line] = []
        self._pieces: list[str] = []
        self._level, self._unseen, self._depth = 0, "", 0
        self._in_title = self._in_pre = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._unseen:
            self._depth += tag == self._unseen
        elif tag in _UNSEEN:
            self._unseen, self._depth = tag, 1
        elif tag == "title":
            self._in_title = not self.title
        elif not _IN_LINE.fullmatch(tag):
            self._end_line()
            if heading := re.fullmatch(r"h([1-6])", tag):
                self._level = int(heading[1])
            self._in_pre |= tag in ("pre", "textarea")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _UNSEEN:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            self._depth -= tag == self._unseen
            self._unseen = self._unseen if self._depth else ""
        elif tag == "title":
            self._in_title = False
        elif not _IN_LINE.fullmatch(tag):
            self._end_line()
            self._in_pre &= tag not in ("pre", "textarea")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._unseen:
            first, *others = data.split("\n") if self._in_pre else [data]
            self._pieces.append(first)
            for line in others:
                self._end_line()
                self._pieces.append(line)

    def close(self) -> None:
        super().close()
        self._end_line()

    def _end_line(self) -> None:
        text = " ".join("".join(self._pieces).split())
        if text:
            self.lines.append((self._level, text))
            self._level = 0
        self._pieces = []
