"""Shards cut by Apache Beam (extra `[beam]`): the work of `shards.py`, on many machines."""

import itertools
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from realm_jax.corpus.shards import Cutter, path_of
from realm_jax.corpus.source import Shard

BLOCK = 1 << 24


def cut_with_beam(
    folder: str, cutters: Sequence[Cutter], options: PipelineOptions | None = None, inputs: str = "", root: str = ""
) -> None:
    """Makes the shards of the cutters' sources in `folder`, a path or a URL that all workers can write to.

    Args:
      inputs: URL of a copy of the sources' files, for workers that do not see the files themselves.
      root: the folder that it is a copy of; all files of the sources lie below it.
    """
    if not FileSystems.exists(folder):
        FileSystems.mkdirs(folder)
    with beam.Pipeline(options=options) as pipeline:
        for number, cutter in enumerate(cutters):
            shards = pipeline | f"shards {number}" >> beam.Create(cutter.source.shards())
            spread = shards | f"spread {number}" >> beam.Reshuffle()
            _ = spread | f"cut {number}" >> beam.ParDo(CutShard(folder, cutter, inputs, root))


class CutShard(beam.DoFn):
    """Writes a shard's file whole or not at all, unless it is there."""

    def __init__(self, folder: str, cutter: Cutter, inputs: str, root: str):
        self._folder, self._cutter, self._inputs, self._root = folder, cutter, inputs, root

    def setup(self):
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # workers are the parallelism

    def process(self, shard: Shard):
        name = path_of(Path(), self._cutter.key(shard)).name
        target = FileSystems.join(self._folder, name)
        if FileSystems.exists(target):
            return
        if self._inputs:
            # The place in the first file, that in the second; a shard of more files reads them as they are.
            places = itertools.chain([(shard.start, shard.limit), shard.beside], itertools.repeat((0, 0)))
            for file, (start, limit) in zip(map(Path, shard.files), places, strict=False):
                _lay(FileSystems.join(self._inputs, str(file.relative_to(self._root))), file, start, limit)
        # Beam may try a shard twice at once: each attempt has its own file.
        temporary = FileSystems.join(self._folder, f".{name}.{uuid.uuid4().hex}.tmp")
        with FileSystems.create(temporary, "text/plain", CompressionTypes.UNCOMPRESSED) as file:
            for line in self._cutter.lines(shard):
                file.write(line.encode())
        FileSystems.rename([temporary], [target])


def _lay(remote: str, file: Path, start: int, limit: int) -> None:
    """Copies bytes of a file to the same place of the same path of this machine; all of it where `limit` is 0."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        FileSystems.open(remote, compression_type=CompressionTypes.UNCOMPRESSED) as source,
        open(os.open(file, os.O_WRONLY | os.O_CREAT), "wb") as part,
    ):
        source.seek(start)
        part.seek(start)
        while (not limit or part.tell() < limit) and (
            block := source.read(min(BLOCK, limit - part.tell()) if limit else BLOCK)
        ):
            part.write(block)
