"""A folder of documents, a file each, of every kind in `kinds.DOCUMENTS`."""

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from realm_jax.corpus.articles import Article, Bad
from realm_jax.corpus.documents import BadDocument, parts
from realm_jax.corpus.files import made
from realm_jax.corpus.source import Shard, Source, digest_of, files_at, name_in
from realm_jax.errors import UserError, shown_path
from realm_jax.kinds import DOCUMENTS

FOLDER_SHARDS = 4096
MAX_FILE = 256 << 20
"""Bytes of the longest file that is read; pictures count."""
MAX_TEXT = 16 << 20
"""Characters of the longest document."""


class Folder(Source):
    """One document a file; it has its own title, or the file's name. A long one is an article for each section."""

    version = "4"
    suffixes = tuple(DOCUMENTS)

    def __init__(self, path: str, option: str = "data.path"):
        self._path, self._option = path, option

    def shards(self) -> list[Shard]:
        root, shards = Path(self._path), {}
        files = files_at(self._path, self._option, self.suffixes)
        self._check_packages(files)
        for file in files:
            # By the name alone: a file that comes or goes leaves the shards of the others as they were.
            bucket = int(hashlib.sha256(name_in(root, file).encode()).hexdigest(), 16) % FOLDER_SHARDS
            shards.setdefault(bucket, []).append(file)
        return [
            Shard(
                f"{bucket:04}",
                hashlib.sha256("".join(f"{name_in(root, f)}\0{digest_of(f)}\n" for f in files).encode()).hexdigest(),
                tuple(map(str, files)),
            )
            for bucket, files in sorted(shards.items())
        ]

    def _check_packages(self, files: list[Path]) -> None:
        for suffix, count in Counter(file.suffix.lower() for file in files).items():
            kind = DOCUMENTS.get(suffix)
            if kind and kind.package and importlib.util.find_spec(kind.package) is None:
                raise UserError(
                    f"{self._option}: {self._path}: reading its {suffix} files ({count}) needs the package "
                    f"{kind.package}; pip install 'realm_jax[{kind.extra}]', or move them elsewhere"
                )

    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        for file in map(Path, shard.files):
            yield from self._articles(file, shown_path(file), name_in(Path(self._path), file))

    def _articles(self, file: Path, where: str, name: str) -> Iterator[Article | Bad]:
        size = file.stat().st_size
        if size > MAX_FILE:
            yield Bad(where, f"{size >> 20} MiB; the longest file read has {MAX_FILE >> 20}")
            return
        try:
            # A single file may be named with any suffix.
            document = DOCUMENTS.get(file.suffix.lower(), DOCUMENTS[".txt"]).load()(file.read_bytes())
        except BadDocument as error:
            yield Bad(f"{where}:{error.line}" if error.line else where, str(error))
            return
        if len(document.text) > MAX_TEXT:
            yield Bad(where, f"{len(document.text)} characters; the longest document read has {MAX_TEXT}")
            return
        stem = shown_path(file.stem)
        title = document.title or stem.replace("_", " ").replace("-", " ").strip() or stem
        for number, (heading, text) in enumerate(parts(document, title)):
            yield made(heading, text, where, f"{name}#{number}" if number else name, subject=title)
