"""Tables with named columns, a row an article: CSV, TSV, Parquet, and Arrow as Hugging Face's `datasets` saves it."""

import abc
import csv
import hashlib
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import ipc, parquet

from realm_jax.corpus.articles import Article, Bad
from realm_jax.corpus.files import PACKED, UTF16, Columns, article_of
from realm_jax.corpus.source import MAX_RECORD, Shard, Source, digest_of, files_at, name_in, open_bytes
from realm_jax.errors import BadJson, UserError, from_json, shown_path

SHARD_BYTES = 1 << 19
DELIMITED = tuple(f"{kind}{packed}" for kind in (".csv", ".tsv") for packed in ("", *PACKED))
STATE = "state.json"
"""Names the files of a data set that `datasets` has saved; others beside it are its cache."""
_DAMAGE = (OSError, EOFError, zlib.error, pyarrow.ArrowException)
_NO_UTF8 = "not UTF-8; save the texts of the table as UTF-8"
csv.field_size_limit(MAX_RECORD)
Record = dict[str, Any] | str
"""A row by its columns, or its fault."""


class TableFiles(Source):
    """`path` is a table, or a folder of tables: .csv and .tsv (perhaps .gz or .bz2), .parquet, .arrow."""

    version = "1"
    suffixes = (*DELIMITED, ".parquet", ".arrow")

    def __init__(self, path: str, option: str = "data.path", columns: Columns | None = None, shard_bytes: int = 0):
        self._path, self._option, self._shard_bytes = path, option, shard_bytes or SHARD_BYTES
        self._columns = columns or {}
        self.version += f"{columns}" if columns else ""  # the same rows give other articles

    def shards(self) -> list[Shard]:
        root, result = Path(self._path), []
        for file in files_at(self._path, self._option, self.suffixes):
            if _is_cache(file):
                continue
            name, table = name_in(root, file), _table(file)
            try:
                columns = table.columns()
                self._check(columns, file)
                found = list(table.parts(self._shard_bytes, self._wanted(columns)))
            except _DAMAGE:
                found = [(0, 0, 0, digest_of(file))]  # which `read` will come upon
            for number, (start, limit, before, digest) in enumerate(found):
                result.append(Shard(f"{name}:{number}", digest, (str(file),), start, limit, before))
        if not result:
            raise UserError(f"{self._option}: {self._path}: has no row in any table; name a table that has some")
        return result

    def _wanted(self, columns: Sequence[str]) -> list[str]:
        names = [self._columns.get(part, part) for part in ("title", "text", "id")]
        return [name for name in dict.fromkeys(names) if name in columns]

    def _check(self, columns: Sequence[str], file: Path) -> None:
        for part in ("title", "text", *self._columns):
            name = self._columns.get(part, part)
            if name not in columns:
                there = ", ".join(map(repr, columns)) or "none"
                raise UserError(
                    f"{shown_path(file)}: has no column {name!r}; there are {there}. Name them by --data.columns "
                    "title=NAME,text=NAME (and id=NAME, if one tells the rows apart), when you begin a --workdir"
                )

    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        file, number = Path(shard.files[0]), shard.first_line
        table, shown = _table(file), shown_path(file)
        try:
            for number, record in table.records(shard, self._wanted(table.columns())):
                where = f"{shown}{table.row}{number}"
                yield (
                    Bad(where, record)
                    if isinstance(record, str)
                    else article_of(record, where, self._columns, "column")
                )
        except _DAMAGE as error:
            problem = f"cannot be read from here on ({' '.join(str(error).split())[:200]}); fetch or save the file anew"
            yield Bad(f"{shown}{table.row}{number + 1}", problem)


def _is_cache(file: Path) -> bool:
    """Whether it is no part of the data set that its folder holds, but of the cache beside."""
    state = file.parent / STATE
    if file.suffix.lower() != ".arrow" or not state.exists():
        return False
    try:
        named = {part["filename"] for part in from_json(state.read_bytes())["_data_files"]}
    except (BadJson, LookupError, TypeError):
        raise UserError(f"{shown_path(state)}: does not name the data set's files; save it anew") from None
    return file.name not in named


def _table(file: Path) -> "_Table":
    name = file.name.lower()
    if name.endswith(DELIMITED):
        return _Delimited(file)
    return _Parquet(file) if name.endswith(".parquet") else _Arrow(file)


class _Table(abc.ABC):
    """One file of rows. Every method may raise the errors in `_DAMAGE`."""

    row = ": row "
    """Stands between a file's name and a row's number in messages."""

    def __init__(self, file: Path):
        self._file = file

    @abc.abstractmethod
    def columns(self) -> list[str]: ...

    @abc.abstractmethod
    def parts(self, size: int, wanted: list[str]) -> Iterator[tuple[int, int, int, str]]:
        """(start, limit, rows or lines before, digest) of parts of some `size` bytes each."""

    @abc.abstractmethod
    def records(self, shard: Shard, wanted: list[str]) -> Iterator[tuple[int, Record]]:
        """(its number, {column: value} or the row's fault)."""


class _Lines:
    """Lines of a file as text, counted; bytes that are no UTF-8 are escaped."""

    def __init__(self, file: io.BufferedIOBase, number: int = 0, at: int = 0):
        self._file, self.number, self.at = file, number, at

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(MAX_RECORD):
            self.number, self.at = self.number + 1, self.at + len(line)
            yield line.decode("utf-8", "surrogateescape")


class _Delimited(_Table):
    """A row may have several lines, within quotation marks; the first row names the columns."""

    row = ":"

    def _head(self) -> tuple[list[str], _Lines, str]:
        """(the columns, where the first row ends, the delimiter)."""
        name = self._file.name.lower()
        with open_bytes(self._file) as opened:
            first = opened.readline(MAX_RECORD).decode("utf-8-sig", "replace")
            delimiter = "\t" if ".tsv" in name else max(",;\t|", key=first.count)
            opened.seek(0)
            lines = _Lines(opened)
            row = next(csv.reader(iter(lines), delimiter=delimiter), [])
        return [column.removeprefix("\ufeff").strip() for column in row], lines, delimiter

    def columns(self) -> list[str]:
        columns = self._head()[0]
        if any("\0" in column for column in columns):
            raise UserError(f"{shown_path(self._file)}: {UTF16}")
        return columns

    def parts(self, size: int, wanted: list[str]) -> Iterator[tuple[int, int, int, str]]:
        columns, head, delimiter = self._head()

        def digest(start: int, limit: int | None) -> str:
            return hashlib.sha256(f"{columns}{delimiter}{digest_of(self._file, start, limit)}".encode()).hexdigest()

        if self._file.suffix.lower() in PACKED:
            yield 0, 0, 0, digest(0, None)
            return
        with open(self._file, "rb") as opened:
            start = opened.seek(head.at)
            lines = _Lines(opened, head.number, start)
            before = lines.number
            for _ in _rows(lines, delimiter):
                if lines.at - start >= size:
                    yield start, lines.at, before, digest(start, lines.at)
                    start, before = lines.at, lines.number
            if lines.at > start:
                yield start, lines.at, before, digest(start, lines.at)

    def records(self, shard: Shard, wanted: list[str]) -> Iterator[tuple[int, Record]]:
        columns, head, delimiter = self._head()
        with open_bytes(self._file) as opened:
            start = opened.seek(shard.start or head.at)
            lines = _Lines(opened, shard.first_line or head.number, start)
            for number, row in _rows(lines, delimiter):
                if isinstance(row, csv.Error):
                    yield number, f"no row of a table ({row}); is a quotation mark left open?"
                elif row and len(row) != len(columns):
                    problem = f"{len(row)} values for {len(columns)} columns; quote a value that holds {delimiter!r}, a"
                    yield number, f"{problem} quotation mark or a line break"
                elif row and not _is_utf8(row):
                    yield number, _NO_UTF8
                elif row:
                    yield number, dict(zip(columns, row, strict=True))
                if shard.limit and lines.at >= shard.limit:
                    return


def _rows(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """(its first line, a row or its fault)."""
    reader = csv.reader(iter(lines), delimiter=delimiter)
    while True:
        number = lines.number + 1
        try:
            row: list[str] | csv.Error = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            row = error
        yield number, row


def _is_utf8(row: list[str]) -> bool:
    try:
        "".join(row).encode()
    except UnicodeEncodeError:
        return False
    return True


class _Parquet(_Table):
    """A part is a group of rows, as the file has them."""

    def columns(self) -> list[str]:
        with parquet.ParquetFile(self._file) as table:
            return list(table.schema_arrow.names)

    def parts(self, size: int, wanted: list[str]) -> Iterator[tuple[int, int, int, str]]:
        before = 0
        with parquet.ParquetFile(self._file) as table:
            for number in range(table.metadata.num_row_groups):
                group = table.metadata.row_group(number)
                chunks = [group.column(column) for column in range(group.num_columns)]
                places = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
                limit = min(places) + sum(chunk.total_compressed_size for chunk in chunks)
                # The rows alone: where they stand in the file is no part of the digest.
                yield number, number + 1, before, digest_of(self._file, min(places), limit)
                before += group.num_rows

    def records(self, shard: Shard, wanted: list[str]) -> Iterator[tuple[int, Record]]:
        number = shard.first_line
        with parquet.ParquetFile(self._file) as table:
            for batch in table.iter_batches(256, row_groups=[shard.start], columns=wanted):
                yield from _records(batch, number)
                number += batch.num_rows


class _Arrow(_Table):
    """Record batches, as a stream or a file of Arrow."""

    def columns(self) -> list[str]:
        with pyarrow.memory_map(str(self._file)) as opened:
            return list(self._reader(opened).schema.names)

    def _reader(self, opened: pyarrow.NativeFile) -> Any:
        is_file = opened.read(6) == b"ARROW1"
        opened.seek(0)
        return ipc.open_file(opened) if is_file else ipc.open_stream(opened)

    def _batches(self, opened: pyarrow.NativeFile) -> Iterator[pyarrow.RecordBatch]:
        reader = self._reader(opened)
        if isinstance(reader, ipc.RecordBatchFileReader):
            return map(reader.get_batch, range(reader.num_record_batches))
        return iter(reader)

    def parts(self, size: int, wanted: list[str]) -> Iterator[tuple[int, int, int, str]]:
        start = before = rows = seen = limit = 0
        digest = hashlib.sha256()
        with pyarrow.memory_map(str(self._file)) as opened:
            for limit, batch in enumerate(self._batches(opened), 1):
                chosen = batch.select(wanted)
                # Copied, for it may be written with what belongs to its neighbours.
                digest.update(chosen.take(pyarrow.array(range(batch.num_rows))).serialize())
                rows, seen = rows + batch.num_rows, seen + chosen.nbytes
                if seen >= size:
                    yield start, limit, before, digest.hexdigest()
                    start, before, seen, digest = limit, rows, 0, hashlib.sha256()
        if seen:
            yield start, limit, before, digest.hexdigest()

    def records(self, shard: Shard, wanted: list[str]) -> Iterator[tuple[int, Record]]:
        number = shard.first_line
        with pyarrow.memory_map(str(self._file)) as opened:
            for at, batch in enumerate(self._batches(opened)):
                if shard.limit and at >= shard.limit:
                    return
                if at >= shard.start:
                    yield from _records(batch.select(wanted), number)
                    number += batch.num_rows


def _records(batch: pyarrow.RecordBatch, before: int) -> Iterator[tuple[int, Record]]:
    for row in range(batch.num_rows):
        number = before + row + 1
        try:
            yield number, batch.slice(row, 1).to_pylist()[0]
        except UnicodeDecodeError:
            yield number, _NO_UTF8
