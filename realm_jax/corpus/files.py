"""Your own documents, and what other tools extracted: JSON lines, WikiExtractor's output, folders of text files."""

import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from realm_jax.corpus.articles import Article, Bad, unescape
from realm_jax.corpus.source import MAX_RECORD, Shard, Source, digest_and_lines, digest_of, files_at, open_bytes
from realm_jax.errors import BadJson, from_json, shown_path

SHARD_BYTES = 4 << 20
FOLDER_SHARDS = 4096
TEXT, MARKDOWN = (".txt", ".text"), (".md", ".markdown")
PACKED = (".gz", ".bz2")
_MARKDOWN = MarkdownIt("commonmark").enable("table")
_KEY = re.compile(r"[\w\"'][^:]*:(?:\s|$)")
"""A line that tells a block of YAML from a rule, `---`, that stands above text."""
_TITLE = re.compile(r"title:[ \t]+(?:\"(.*)\"|'(.*)'|([^\s\"'|>].*))", re.IGNORECASE)
_UNSEEN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_TAG_IN_LINE = re.compile(
    r"</?(?:a|abbr|b|cite|code|del|em|font|i|img|ins|kbd|mark|q|s|samp|small|span|strong|sub|sup|time|tt|u|var|wbr)\b[^<>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[/!?a-z][^<>]*>", re.IGNORECASE)


_UTF16 = "bytes of zero, as in UTF-16 without a mark; save the file as UTF-8"


class JsonLines(Source):
    """One article a line: {"title": ..., "text": ...}, with "id" if there is one; other fields are left alone.

    `path` is a file or a folder of .jsonl or .json files, perhaps packed (.gz, .bz2).
    """

    version = "2"
    suffixes = tuple(f"{kind}{packed}" for kind in (".jsonl", ".json", ".ndjson") for packed in ("", *PACKED))

    def __init__(self, path: str, option: str = "data.path", shard_bytes: int = 0):
        self._path, self._option, self._shard_bytes = path, option, shard_bytes or SHARD_BYTES

    def shards(self) -> list[Shard]:
        result, root = [], Path(self._path)
        for file in files_at(self._path, self._option, self.suffixes):
            name, first_line = shown_path(file.relative_to(root) if file != root else file.name), 0
            for number, (start, limit) in enumerate(self._ranges(file)):
                digest, lines = digest_and_lines(file, start, limit)
                # Its place in bytes is no part of the name: it changes with every line before it.
                result.append(Shard(f"{name}:{number}", digest, (str(file),), start, limit, first_line))
                first_line += lines
        return result

    def _ranges(self, file: Path) -> Iterator[tuple[int, int]]:
        """Whole lines, so that a shard's digest is of all that is read for it."""
        start, size = 0, file.stat().st_size
        step = size if file.suffix.lower() in PACKED else self._shard_bytes
        with open(file, "rb") as opened:
            while start < size:
                limit = _next_line(opened, min(start + step, size))
                yield start, limit
                start = limit

    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        file = Path(shard.files[0])
        is_packed, shown = file.suffix.lower() in PACKED, shown_path(file)
        with open_bytes(file) as opened:
            number, at = shard.first_line, opened.seek(shard.start)
            while is_packed or at < shard.limit:
                try:
                    line = opened.readline(MAX_RECORD + 1)
                    size = len(line)
                    too_long = size > MAX_RECORD
                    while line and not line.endswith(b"\n") and size > MAX_RECORD:
                        line = opened.readline(MAX_RECORD)
                        size += len(line)
                except (OSError, EOFError, zlib.error) as error:
                    yield Bad(f"{shown}:{number + 1}", f"the packed file is damaged ({error}); fetch it again")
                    return
                if not size:
                    return
                number, at = number + 1, at + size
                where = f"{shown}:{number}"
                if too_long:
                    yield Bad(where, f"a line of {size >> 20} MiB; the longest that is read has {MAX_RECORD >> 20}")
                elif line.strip():
                    yield self._article(line, where)

    def _article(self, line: bytes, where: str) -> Article | Bad:
        if b"\0" in line:
            return Bad(where, _UTF16)
        try:
            record = from_json(line)
        except BadJson as error:
            return Bad(where, str(error))
        if not isinstance(record, dict):
            return Bad(where, 'not an object; a line is {"title": ..., "text": ...}')
        return self._made(record, where)

    def _made(self, record: dict[str, Any], where: str) -> Article | Bad:
        for field in ("title", "text"):
            if not isinstance(record.get(field), str):
                return Bad(
                    where, f"has no field {field!r} that is a text; there are {', '.join(map(repr, record)) or 'none'}"
                )
        title, name = " ".join(_encodable(record["title"]).split()), record.get("id")
        return made(title, _encodable(record["text"]), where, "" if name is None else _encodable(str(name)))


class WikiExtractor(JsonLines):
    """What WikiExtractor writes with --json: folders AA, AB, ... of files wiki_00, wiki_01, ..., perhaps .bz2."""

    suffixes = tuple(f"{digit}{packed}" for digit in "0123456789" for packed in ("", *PACKED))

    def _made(self, record: dict[str, Any], where: str) -> Article | Bad:
        text, title = record.get("text"), record.get("title")
        if isinstance(text, str) and isinstance(title, str):
            text = text.strip()
            rest = text.removeprefix(title)
            if rest[:1] in ("", "\n", "\r"):  # some versions repeat the title, on a line of its own
                text = rest.lstrip()
            record = record | {"text": text}
        return super()._made(record, where)


class Folder(Source):
    """A folder of .txt and .md files, one article each: its title stands in it (Markdown), or is the file's name."""

    version = "3"
    suffixes = TEXT + MARKDOWN

    def __init__(self, path: str, option: str = "data.path"):
        self._path, self._option = path, option

    def shards(self) -> list[Shard]:
        root, shards = Path(self._path), {}
        for file in files_at(self._path, self._option, self.suffixes):
            # By the name alone: a file that comes or goes leaves the shards of the others as they were.
            bucket = int(hashlib.sha256(self._name(root, file).encode()).hexdigest(), 16) % FOLDER_SHARDS
            shards.setdefault(bucket, []).append(file)
        return [
            Shard(
                f"{bucket:04}",
                hashlib.sha256("".join(f"{self._name(root, f)}\0{digest_of(f)}\n" for f in files).encode()).hexdigest(),
                tuple(map(str, files)),
            )
            for bucket, files in sorted(shards.items())
        ]

    @staticmethod
    def _name(root: Path, file: Path) -> str:
        return shown_path(file.relative_to(root) if file != root else file.name)

    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        for file in map(Path, shard.files):
            name = shown_path(file)
            if file.stat().st_size > MAX_RECORD:
                yield Bad(name, f"{file.stat().st_size >> 20} MiB; the longest document read has {MAX_RECORD >> 20}")
                continue
            data = file.read_bytes()
            try:
                text = data.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                line = data.count(b"\n", 0, error.start) + 1
                yield Bad(f"{name}:{line}", f"invalid UTF-8 (byte {error.start}); save the file as UTF-8")
                continue
            if "\0" in text:
                yield Bad(name, _UTF16)
                continue
            stem = shown_path(file.stem)
            title = stem.replace("_", " ").replace("-", " ").strip() or stem
            if file.suffix.lower() in MARKDOWN:
                heading, text = plain_markdown(text)
                title = heading or title
            else:
                text = _unwrapped(text)
            yield made(title, text, name, self._name(Path(self._path), file))


def made(title: str, text: str, where: str, name: str = "") -> Article | Bad:
    """An article of a text, or what it lacks."""
    if not text.strip():
        return Bad(where, "the document is empty; give it a text or leave it out")
    if not title.strip():
        return Bad(where, "the title is empty; give it one or leave it out")
    return Article(title, title, text, origin=where, id=name)


def plain_markdown(text: str) -> tuple[str, str]:
    """(title, the text a reader sees: paragraphs, items and cells a line each, without the title).

    The title is what the front matter says, or else the first heading, where no text but HTML stands before it.
    """
    title, text = _front_matter(text)
    lines, opens, is_heading = [], True, False
    for token in _MARKDOWN.parse(text):
        if token.type in ("fence", "code_block"):
            lines += [line.strip() for line in token.content.splitlines()]
            opens = False
        elif token.type == "html_block":
            lines += _html(token.content)
        elif token.type == "heading_open":
            is_heading = True
        elif token.type == "inline":
            shown = " ".join(_inline(token.children or []).split())
            if is_heading and opens and title in ("", shown):
                title = shown
            else:
                lines.append(shown)
            is_heading = opens = False
    return title, "\n".join(filter(None, lines))


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


def _html(block: str) -> list[str]:
    """The lines of text of a block of HTML, without its tags."""
    text = _TAG_IN_LINE.sub("", " ".join(_UNSEEN.sub("", block).split()))
    return [" ".join(unescape(line).split()) for line in _TAG.split(text)]


def _inline(tokens: list) -> str:
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


def _unwrapped(text: str) -> str:
    """Paragraphs, which blank lines separate, a line each."""
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            paragraphs[-1].append(line.strip())
        elif paragraphs[-1]:
            paragraphs.append([])
    return "\n".join(" ".join(lines) for lines in paragraphs if lines)


def _encodable(text: str) -> str:
    """JSON may hold half a character (a lone surrogate), which no UTF-8 can."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _next_line(file: io.BufferedIOBase, start: int) -> int:
    """The first byte from `start` on at which a line begins, or the file ends."""
    at = file.seek(start - 1)
    while part := file.readline(1 << 20):
        at += len(part)
        if part.endswith(b"\n"):
            break
    return at
