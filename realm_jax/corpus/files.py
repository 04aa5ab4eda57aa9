"""One article a line: JSON lines, and WikiExtractor's output."""

import io
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from realm_jax.corpus.articles import Article, Bad
from realm_jax.corpus.source import MAX_RECORD, Shard, Source, digest_and_lines, files_at, name_in, open_bytes
from realm_jax.errors import BadJson, from_json, shown_path

SHARD_BYTES = 1 << 19
PACKED = (".gz", ".bz2")
UTF16 = "bytes of zero, as in UTF-16 without a mark; save the file as UTF-8"


Columns = Mapping[str, str]
"""{"title", "text" or "id": the field or column of it}, of those that are named otherwise (`data.columns`)."""


class JsonLines(Source):
    """One article a line: {"title": ..., "text": ...}, with "id" if there is one; other fields are left alone.

    `path` is a file or a folder of .jsonl or .json files, perhaps packed (.gz, .bz2).
    """

    version = "2"
    suffixes = tuple(f"{kind}{packed}" for kind in (".jsonl", ".json", ".ndjson") for packed in ("", *PACKED))

    def __init__(self, path: str, option: str = "data.path", columns: Columns | None = None, shard_bytes: int = 0):
        self._path, self._option, self._shard_bytes = path, option, shard_bytes or SHARD_BYTES
        self._columns = columns or {}
        self.version += f"{columns}" if columns else ""  # the same lines give other articles

    def shards(self) -> list[Shard]:
        result, root = [], Path(self._path)
        for file in files_at(self._path, self._option, self.suffixes):
            name, first_line = name_in(root, file), 0
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
            return Bad(where, UTF16)
        try:
            record = from_json(line)
        except BadJson as error:
            return Bad(where, str(error))
        if not isinstance(record, dict):
            return Bad(where, 'not an object; a line is {"title": ..., "text": ...}')
        return self._made(record, where)

    def _made(self, record: dict[str, Any], where: str) -> Article | Bad:
        return article_of(record, where, self._columns)


class WikiExtractor(JsonLines):
    """The output of WikiExtractor with --json: folders AA, AB, ... of files wiki_00, wiki_01, ..., perhaps .bz2."""

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


def article_of(record: Mapping[str, Any], where: str, columns: Columns, they: str = "field") -> Article | Bad:
    """The article of a record, or its fault; `they` is the word for its fields."""
    values = {part: record.get(columns.get(part, part)) for part in ("title", "text", "id")}
    for part in ("title", "text"):
        if not isinstance(values[part], str):
            name = columns.get(part, part)
            there = ", ".join(map(repr, record)) or "none"
            hint = "" if name in record else f"; name another by --data.columns {part}=NAME"
            return Bad(where, f"has no {they} {name!r} that is a text; there are {there}{hint}")
    title = " ".join(_encodable(values["title"]).split())
    return made(title, _encodable(values["text"]), where, "" if values["id"] is None else _encodable(str(values["id"])))


def made(title: str, text: str, where: str, name: str = "", subject: str = "") -> Article | Bad:
    """An article of a text, or its fault; the subject is the title where none is given."""
    if not text.strip():
        return Bad(where, "the document is empty; give it a text or leave it out")
    if not title.strip():
        return Bad(where, "the title is empty; give it one or leave it out")
    return Article(title, subject or title, text, origin=where, id=name)


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
