"""The one interface of all sources of articles, and the bytes of files read piece by piece."""

import abc
import bz2
import dataclasses
import gzip
import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from realm_jax.config import Data
from realm_jax.corpus.articles import Article, Bad
from realm_jax.errors import UserError, shown_path
from realm_jax.kinds import SOURCES

MAX_RECORD = 16 << 20
"""Bytes of the longest record that is read; a longer one is bad, and is passed over without being held in memory."""
BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Shard:
    """A part of a source that is read, cut and written at one go, by any process."""

    name: str
    """Unlike that of any other shard of the source."""
    digest: str
    """Changes when the shard's input does."""
    files: tuple[str, ...] = ()
    start: int = 0
    """First byte or record of the one file ..."""
    limit: int = 0
    """... and the first that belongs to the next shard."""
    first_line: int = 0
    """Lines, or records, before `start`."""
    beside: tuple[int, int] = (0, 0)
    """First byte and limit in the second file, where two go together."""


class Source(abc.ABC):
    """Where articles come from. Picklable: shards are read in several processes."""

    version = ""
    """Raised when the same input gives other articles."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """Of the files that are read, in small letters; other files are left alone."""
    _path = ""

    @abc.abstractmethod
    def shards(self) -> list[Shard]:
        """All parts, in the corpus's order.

        Raises:
          UserError: there is nothing at the path, or something else.
        """

    @abc.abstractmethod
    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        """The articles of a shard, and in their places the records that are none; holds one at a time."""

    def others(self) -> list[str]:
        """Names of the files at the path that are of other kinds, and are not read."""
        if not self.suffixes or not Path(self._path).is_dir():
            return []
        return [shown_path(file.name) for file in _walk(Path(self._path)) if not _ends(file, self.suffixes)]

    def question_files(self) -> list[str]:
        """Files that hold questions beside the articles."""
        return []

    def questions(self, by_kind: bool) -> dict[str, list[Any]]:
        """Questions by split, of a source that brings them (`kinds.SourceKind`); see the option `questions.by_kind`."""
        raise NotImplementedError


class Given(Source):
    """Articles that are there already, in one shard."""

    def __init__(self, articles: Iterator[Article], name: str = "given"):
        self._articles, self._name = articles, name

    def shards(self) -> list[Shard]:
        return [Shard(self._name, "")]

    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        yield from self._articles


def open_source(name: str, path: str, option: str = "data.path", columns: Mapping[str, str] | None = None) -> Source:
    """The source `name` at `path`; `option` names the path in messages, `columns` the fields (`data.columns`).

    Raises:
      UserError: `published`, which has passages and no articles.
    """
    return SOURCES[name].load()(path, option, *([columns] if SOURCES[name].has_columns else []))


def open_data(settings: Data) -> Source:
    """The source of the knowledge corpus."""
    return open_source(settings.source, settings.path, columns=settings.named_columns)


def nothing_to_cut(path: str, option: str) -> Source:
    raise UserError("data.source: published passages are brought by `import_weights`; there is nothing to cut")


def files_at(path: str, option: str, suffixes: tuple[str, ...] = ()) -> list[Path]:
    """The file at `path`, or all files below a folder (those with these suffixes), in the order of their names.

    Raises:
      UserError: there is none.
    """
    root = Path(path)
    if not path or not root.exists():
        raise UserError(f"{option}: {path!r} is not there; name the file or the folder that data.source is read from")
    if root.is_file():
        return [root]
    files = [file for file in _walk(root) if not suffixes or _ends(file, suffixes)]
    if not files:
        raise UserError(f"{option}: {path}: no file in this folder ends in {', '.join(suffixes) or 'anything'}")
    return files


def name_in(root: Path, file: Path) -> str:
    """What a file at or below the path of a source is called, whatever the folders above are."""
    return shown_path(file.relative_to(root) if file != root else file.name)


def _walk(root: Path) -> list[Path]:
    """All files below a folder but hidden ones; links to folders are followed, unless they lead back to a folder above
    them."""
    files: list[Path] = []
    above = {root: (os.path.realpath(root),)}
    for name, folders, names in os.walk(root, onerror=_unreadable, followlinks=True):
        place = Path(name)
        chain = above.pop(place)
        inner = {folder: os.path.realpath(place / folder) for folder in folders if not folder.startswith(".")}
        folders[:] = [folder for folder, real in inner.items() if real not in chain]
        above |= {place / folder: (*chain, inner[folder]) for folder in folders}
        files += [place / file for file in names if not file.startswith(".") and (place / file).is_file()]
    return sorted(files)


def _unreadable(error: OSError) -> None:
    raise UserError(
        f"{shown_path(error.filename)}: cannot be read ({error.strerror}); give yourself the right to"
    ) from None


def _ends(file: Path, suffixes: tuple[str, ...]) -> bool:
    return file.name.lower().endswith(suffixes)


def digest_of(path: Path, start: int = 0, limit: int | None = None) -> str:
    """Of the bytes from `start` to `limit`."""
    return digest_and_lines(path, start, limit)[0]


def digest_and_lines(path: Path, start: int = 0, limit: int | None = None) -> tuple[str, int]:
    """Digest of the bytes from `start` to `limit`, and the line breaks among them."""
    digest, lines = hashlib.sha256(), 0
    with open(path, "rb") as file:
        file.seek(start)
        left = None if limit is None else limit - start
        while block := file.read(BLOCK if left is None else min(BLOCK, left)):
            digest.update(block)
            lines += block.count(b"\n")
            left = None if left is None else left - len(block)
    return digest.hexdigest(), lines


def open_bytes(path: Path) -> io.BufferedIOBase:
    """The file's bytes, unpacked where its name ends in .bz2 or .gz."""
    return {".bz2": bz2.open, ".gz": gzip.open}.get(path.suffix.lower(), open)(path, "rb")
