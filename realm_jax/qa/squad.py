"""SQuAD's JSON, of either version: its paragraphs are articles, and its questions are questions.

{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [{"text"}]}]}]}]}
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from realm_jax.corpus.articles import Article, Bad
from realm_jax.corpus.files import made
from realm_jax.corpus.source import Shard, Source, files_at, name_in
from realm_jax.errors import BadJson, UserError, from_json, shown_path

SHARD_BYTES = 1 << 20
Located = Iterator[tuple[str, Any]]
"""(its place, the text there)."""


class SquadFiles(Source):
    """A paragraph is an article, with the title above it."""

    version = "1"
    suffixes = (".json",)

    def __init__(self, path: str, option: str = "data.path"):
        self._path, self._option = path, option

    def question_files(self) -> list[str]:
        """Raises UserError for a file of another form, which would be read as lines of questions otherwise."""
        files = files_at(self._path, self._option, self.suffixes)
        for file in files:
            _entries(file)
        return list(map(str, files))

    def shards(self) -> list[Shard]:
        result, root = [], Path(self._path)
        for file in files_at(self._path, self._option, self.suffixes):
            name = name_in(root, file)
            start, size, digest = 0, 0, hashlib.sha256()
            for number, entry in enumerate(entries := _entries(file), 1):
                text = json.dumps(entry).encode()
                digest.update(text)
                size += len(text)
                if size >= SHARD_BYTES or number == len(entries):
                    key = f"{name}:{len(result)}"
                    result.append(Shard(key, digest.hexdigest(), (str(file),), start, number, start))
                    start, size, digest = number, 0, hashlib.sha256()
        return result

    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        file = Path(shard.files[0])
        for number, entry in enumerate(_entries(file)[shard.start : shard.limit], shard.start):
            for where, paragraph in _paragraphs(entry, f"{shown_path(file)}: data[{number}]"):
                if isinstance(paragraph, Bad):
                    yield paragraph
                else:
                    title = entry.get("title")
                    # SQuAD's titles are those of addresses: Beyonc%C3%A9, New_York_City.
                    title = unquote(title).replace("_", " ") if isinstance(title, str) else shown_path(file.stem)
                    yield made(title, paragraph["context"], where)


def is_squad(data: bytes) -> bool:
    """Whether a file of questions is of this form."""
    return data.lstrip().startswith(b"{") and b'"paragraphs"' in data and b'"qas"' in data


def squad_questions(path: Path) -> Located:
    """The questions that have an answer, as records with `id`, `question` and `answers`.

    Raises:
      UserError: the file is no such JSON, or a paragraph of it is faulty.
    """
    for number, entry in enumerate(_entries(path)):
        for where, paragraph in _paragraphs(entry, f"{shown_path(path)}: data[{number}]"):
            if isinstance(paragraph, Bad):
                raise UserError(str(paragraph))
            for at, record in enumerate(paragraph.get("qas", [])):
                if not (isinstance(record, dict) and _is_unanswerable(record)):
                    yield f"{where}.qas[{at}]", record


def _is_unanswerable(record: dict[str, Any]) -> bool:
    return bool(record.get("is_impossible")) or record.get("answers") == []


def _paragraphs(entry: Any, where: str) -> Located:
    """(its place, the paragraph or its fault)."""
    paragraphs = entry.get("paragraphs") if isinstance(entry, dict) else None
    if not isinstance(paragraphs, list):
        yield where, Bad(where, 'has no list \'paragraphs\'; an entry is {"title": ..., "paragraphs": [...]}')
        return
    for number, paragraph in enumerate(paragraphs):
        place = f"{where}.paragraphs[{number}]"
        if not isinstance(paragraph, dict) or not isinstance(paragraph.get("context"), str):
            yield place, Bad(place, 'has no text \'context\'; a paragraph is {"context": ..., "qas": [...]}')
        elif not isinstance(paragraph.get("qas", []), list):
            yield place, Bad(place, "its 'qas' are no list of questions")
        else:
            yield place, paragraph


def _entries(file: Path) -> list[Any]:
    state = file.stat()
    return _load(file, state.st_mtime_ns, state.st_size)


@functools.lru_cache(2)
def _load(file: Path, modified: int, size: int) -> list[Any]:
    """The file is read once for all its shards; `modified` and `size` tell whether it has changed since."""
    shown = shown_path(file)
    try:
        content = from_json(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except BadJson as error:
        raise UserError(f"{shown}:{error.line}: {error}; data.source squad takes SQuAD's JSON") from None
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UserError(f"{shown}: has no list 'data', as SQuAD's files have; for JSON lines set data.source jsonl")
    return entries
