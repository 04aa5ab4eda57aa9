"""Corpora that others published in TensorFlow's formats, read without it: data sets of TFDS, and ORQA's blocks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from realm_jax.corpus import tfds_files, tfrecord
from realm_jax.corpus.articles import Article, Bad
from realm_jax.corpus.source import Shard, Source
from realm_jax.errors import UserError

RECORDS = 20_000
"""Of a shard, where records can be counted."""
BLOCKS, TITLES = "blocks.tfr", "titles.tfr"


class TfdsArticles(Source):
    """Every split of a data set with `title` and `text`, as TFDS prepared it: `wikipedia`, or `salient_span_wikipedia`,
    whose spans are kept, and the sentences where a record says them (config `documents`).

    `path` is the folder with dataset_info.json, or one above it.
    """

    def __init__(self, path: str, option: str = "data.path"):
        self._path = path

    def shards(self) -> list[Shard]:
        builder = self._builder()
        if missing := {"title", "text"} - set(builder.info.features):
            raise UserError(f"{self._path}: its records have no {min(missing)!r}; an article has a title and a text")
        result = []
        for split, info in builder.info.splits.items():
            files = [Path(file) for file in info.filepaths]
            if self._is_array_record(builder):
                for start in range(0, info.num_examples, RECORDS):
                    limit = min(start + RECORDS, info.num_examples)
                    result.append(Shard(f"{split}:{start}", _state(*files), (split,), start, limit))
            else:
                result += [Shard(f"{split}:{file.name}", _state(file), (split, str(file))) for file in files]
        return result

    def _builder(self) -> Any:
        found = [Path(self._path), *sorted(Path(self._path).glob("**/"))] if self._path else []
        folders = list(dict.fromkeys(folder for folder in found if (folder / "dataset_info.json").exists()))
        if len(folders) != 1:
            which = ", ".join(map(str, folders)) or "none"
            raise UserError(
                f"data.path: {self._path!r} must hold one data set that TFDS has prepared (a folder with "
                f"dataset_info.json); there is {which}"
            )
        return tfds_files.opened(folders[0], tfds_files.OTHERS_REMEDY)

    @staticmethod
    def _is_array_record(builder: Any) -> bool:
        return builder.info.file_format.value == "array_record"

    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        builder, (split, *file) = self._builder(), shard.files
        if file:
            records, name, first = tfrecord.read_records(Path(file[0])), Path(file[0]).name, 0
        else:
            method = tfds.decode.DeserializeMethod.RAW_BYTES
            data = tfds_files.Records(
                Path(builder.data_path),
                builder.as_data_source(split, deserialize_method=method),
                tfds_files.OTHERS_REMEDY,
            )
            records = (data[i] for i in range(shard.start, shard.limit))
            name, first = f"{builder.name}, split {split}", shard.start
        number = first
        try:
            for number, record in enumerate(records, first):
                yield self._article(builder.info.features.deserialize_example_np(record), f"{name}: record {number}")
        except UserError as error:  # a damaged file; what was read before is right
            yield Bad(f"{name}: after record {number}", str(error))

    @staticmethod
    def _article(record: dict[str, Any], where: str) -> Article | Bad:
        try:
            title, text = record["title"].decode(), record["text"].decode()
        except UnicodeDecodeError as error:
            return Bad(where, f"invalid UTF-8 ({error})")
        if not text.strip() or not title.strip():
            return Bad(where, "the title or the text is empty")
        sentences = spans = None
        if "sentences" in record:
            sentences = _ranges(record["sentences"])
        if "spans" in record:
            kinds = [kind.decode() for kind in record["spans"]["type"]]
            spans = [(*place, kind) for place, kind in zip(_ranges(record["spans"]), kinds, strict=True)]
        return Article(title, title, text, sentences, spans, origin=where)


class OrqaBlocks(Source):
    """The passages of ORQA and REALM: a folder with blocks.tfr and titles.tfr, record by record beside each other.

    A block is one passage as it is, in spite of the end that the passage length cuts off.
    """

    def __init__(self, path: str, option: str = "data.path"):
        self._path = path

    def shards(self) -> list[Shard]:
        files = [Path(self._path) / name for name in (BLOCKS, TITLES)]
        starts = [list(tfrecord.places(file, RECORDS)) for file in files]
        if len(starts[0]) != len(starts[1]):
            raise UserError(f"{self._path}: {BLOCKS} and {TITLES} have unlike numbers of records; they go together")
        state, names = _state(*files), tuple(map(str, files))
        blocks, titles = (zip(at[:-1], at[1:], strict=True) for at in starts)
        return [
            Shard(f"{i * RECORDS}", state, names, *block, i * RECORDS, title)
            for i, (block, title) in enumerate(zip(blocks, titles, strict=True))
        ]

    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        ranges = ((shard.start, shard.limit), shard.beside)
        blocks, titles = (tfrecord.read_records(Path(f), *place) for f, place in zip(shard.files, ranges, strict=True))
        number = shard.first_line
        try:
            for number, (block, title) in enumerate(zip(blocks, titles, strict=True), shard.first_line):
                yield _block(block, title, f"{BLOCKS}: record {number}")
        except (UserError, ValueError) as error:
            yield Bad(f"{BLOCKS}: after record {number}", str(error))


def _block(block: bytes, title: bytes, where: str) -> Article | Bad:
    try:
        text, name = block.decode(), title.decode()
    except UnicodeDecodeError as error:
        return Bad(where, f"invalid UTF-8 ({error})")
    if not text.strip() or not name.strip():
        return Bad(where, "the title or the text is empty")
    return Article(name, name, text, origin=where, whole=True)


def _ranges(record: dict[str, Any]) -> list[tuple[int, int]]:
    return [(int(start), int(limit)) for start, limit in zip(record["start"], record["limit"], strict=True)]


def _state(*files: Path) -> str:
    """Tells whether files were exchanged; to read all of a published corpus for it would take long."""
    return " ".join(f"{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)
