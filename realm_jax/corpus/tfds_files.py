"""TFDS data sets, written as ArrayRecord without TensorFlow, record by record.

Any TFDS program reads these files: `tfds.builder_from_directory(...).as_data_source(split)`. TFDS's own writer
holds a split in memory, or in one file on disk that it then sorts in memory.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer, naming
from tensorflow_datasets.proto import tf_example_pb2

from realm_jax import disk
from realm_jax.corpus.holders import MAX_HOLDERS
from realm_jax.errors import UserError
from realm_jax.workdir import publish

VERSION = "1.0.0"
FILE_BYTES = 1 << 26
"""Size at which the next file of a split is begun; ArrayRecord's writer remembers where each record of its file is."""
REMEDY = "delete this folder and run `prepare` again"
OTHERS_REMEDY = "have TFDS prepare this data set again"
Examples = Callable[[], Iterable[dict[str, Any]]]


class LocalBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The description of a data set; `write` writes it."""

    VERSION = tfds.core.Version(VERSION)
    description = ""

    def __init__(self, *, data_dir: str | Path, **kwargs):
        super().__init__(data_dir=str(data_dir), file_format="array_record", **kwargs)

    def features(self) -> dict[str, Any]:
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(self.features())
        return tfds.core.DatasetInfo(
            builder=self, description=self.description, features=features, disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        raise NotImplementedError("records come from their caller; see `write`")

    _generate_examples = _split_generators


class Passages(LocalBuilder, skip_registration=True):
    """Record i is row i of the passage store."""

    name = "passages"
    description = "Passages of the corpus, in the order of the passage store's rows."

    def features(self):
        return {
            "title": tfds.features.Text(),
            "text": tfds.features.Text(),
            "id": tfds.features.Text(doc="digest of title and text"),
            "where": tfds.features.Text(doc="the article's origin: file, and line or byte"),
            "article": np.int64,
            "start": np.int64,
            "limit": np.int64,
        }

    @staticmethod
    def example(title: str, body: bytes, where: str, article: int, start: int) -> dict[str, Any]:
        """Of a passage from byte `start` on in the text of its article."""
        return {
            "title": title,
            "text": body.decode(),
            "id": hashlib.sha256(title.encode() + b"\0" + body).hexdigest()[:32],
            "where": where,
            "article": article,
            "start": start,
            "limit": start + len(body),
        }


class Queries(LocalBuilder, skip_registration=True):
    """Articles in the schema of salient_span_wikipedia, and the places of their sentences and spans in the passages."""

    name = "queries"
    description = (
        "Pre-training text: sentences and salient spans (byte offsets), origins and holders (rows of passages)."
    )

    def features(self):
        return {
            "title": tfds.features.Text(),
            "subject": tfds.features.Text(),
            "text": tfds.features.Text(),
            "sentences": tfds.features.Sequence({"start": np.int32, "limit": np.int32}),
            "spans": tfds.features.Sequence({"start": np.int32, "limit": np.int32, "type": tfds.features.Text()}),
            "origin": tfds.features.Tensor(shape=(None,), dtype=np.int32),
            "places": tfds.features.Tensor(shape=(None, 2), dtype=np.int32),
            "holders": tfds.features.Tensor(shape=(None, MAX_HOLDERS), dtype=np.int32),
            "span_pieces": tfds.features.Tensor(shape=(None,), dtype=np.int32),
            "holder_count": tfds.features.Tensor(shape=(None,), dtype=np.int32),
        }


def write(builder: type[LocalBuilder], data_dir: Path, splits: dict[str, Examples]) -> None:
    """Writes all splits in the order of their examples, whole or not at all, holding one record at a time."""
    made = builder(data_dir=data_dir / ".new")  # where none is, of which TFDS would take over what it says
    with publish(data_dir / builder.name / VERSION) as folder:
        infos = [_write_split(made, folder, split, examples()) for split, examples in splits.items()]
        made.info.set_splits(tfds.core.SplitDict(infos))
        made.info.write_to_directory(folder)


def _write_split(builder: LocalBuilder, folder: Path, split: str, examples: Iterable[dict[str, Any]]):
    features, lengths, size = builder.info.features, [], 0
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    template = naming.ShardedFileTemplate(
        data_dir=folder, dataset_name=builder.name, split=split, filetype_suffix="array_record"
    )
    writer, room = None, 0
    for example in examples:
        record = serializer.serialize_example(features.encode_example(example))
        if room <= 0:
            if writer is not None:
                writer.close()
            # Each record by itself, as TFDS writes for reading at random.
            writer = array_record_module.ArrayRecordWriter(str(folder / f"{split}.{len(lengths)}"), "group_size:1")
            room, lengths = FILE_BYTES, [*lengths, 0]
        writer.write(record)
        lengths[-1], size, room = lengths[-1] + 1, size + len(record), room - len(record)
    if writer is None:
        raise ValueError(f"split {split!r} of {builder.name!r} has no examples, which TFDS does not allow")
    writer.close()
    for i in range(len(lengths)):
        os.rename(folder / f"{split}.{i}", template.sharded_filepath(shard_index=i, num_shards=len(lengths)))
    return tfds.core.SplitInfo(name=split, shard_lengths=lengths, num_bytes=size, filename_template=template)


def is_written(builder: type[LocalBuilder], data_dir: Path) -> bool:
    """Whether the data set is there, with every file of it."""
    folder = data_dir / builder.name / VERSION
    if not all((folder / name).exists() for name in ("dataset_info.json", "features.json")):
        return False
    splits = opened(folder).info.splits
    return all(Path(file).exists() for split in splits.values() for file in split.filepaths)


def read(data_dir: Path, name: str, split: str, *, raw: bool = False):
    """A random-access source of records: decoded, or as the bytes that `Fields` takes.

    Raises:
      UserError: the data set is not there, or lacks the split.
    """
    folder = data_dir / name / VERSION
    if not (folder / "dataset_info.json").exists():
        raise UserError(f"{folder}: holds no data set {name!r}; run `prepare` first")
    builder = opened(folder)
    if split not in builder.info.splits:
        raise UserError(f"{folder}: no split {split!r}; there are {', '.join(builder.info.splits)}")
    method = tfds.decode.DeserializeMethod.RAW_BYTES if raw else tfds.decode.DeserializeMethod.DESERIALIZE_AND_DECODE
    with disk.reading(folder, REMEDY):
        return Records(folder, builder.as_data_source(split, deserialize_method=method))


class Records:
    """Records by random access. Raises UserError for one that is damaged."""

    def __init__(self, folder: Path, source: Any, remedy: str = REMEDY):
        self._folder, self._source, self._remedy = folder, source, remedy

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int) -> Any:
        with disk.reading(self._folder, self._remedy):
            return self._source[number]

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))


def opened(folder: Path, remedy: str = REMEDY) -> tfds.core.DatasetBuilder:
    """The builder of a prepared data set. Raises UserError where it is damaged."""
    with disk.reading(folder, remedy):
        return tfds.builder_from_directory(str(folder))


def open_prepared(folder: Path, split: str, example: str) -> tuple[Any, Any]:
    """(builder, records by random access) of a split of a data set that TFDS itself has prepared.

    Args:
      folder: of the data set's version.
      example: such a folder and split, for messages.

    Raises:
      UserError: there is none, or it needs TensorFlow.
    """
    try:
        builder = tfds.builder_from_directory(str(folder))
    except Exception as error:  # TFDS raises whatever its storage does
        raise UserError(
            f"{folder}: no data set that TFDS has prepared ({type(error).__name__}); name its version's folder and a "
            f"split, such as {example}"
        ) from None
    if split.partition("[")[0] not in builder.info.splits:
        raise UserError(f"{folder}:{split}: no such split; there are {', '.join(builder.info.splits)}")
    with disk.reading(folder, OTHERS_REMEDY):
        try:
            return builder, Records(folder, builder.as_data_source(split), OTHERS_REMEDY)
        except NotImplementedError:
            raise UserError(
                f"{folder}: prepared as {builder.info.file_format.value}, which only TensorFlow reads; prepare it with "
                f"`tfds build {builder.name} --file_format array_record`"
            ) from None


class Fields:
    """The fields of a record as TFDS flattens them ("spans/start"), sequences of int or bytes, taken as needed."""

    def __init__(self, record: bytes):
        self._features = tf_example_pb2.Example.FromString(record).features.feature

    def __getitem__(self, name: str) -> Sequence[Any]:
        feature = self._features[name]
        return getattr(feature, feature.WhichOneof("kind")).value
