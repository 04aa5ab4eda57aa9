"""From a part of a source to a file of cut articles: the work that is done in parallel, and never twice.

A shard's file is named by a digest of its input and of every setting that shapes it. So a file that is there is right,
whichever run made it: a stopped run goes on, and of a changed source only the changed shards are made.
"""

import base64
import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realm_jax import disk
from realm_jax.corpus.articles import Article, Bad, check
from realm_jax.corpus.passages import Cut, cut_articles, with_sentences
from realm_jax.corpus.source import Shard, Source
from realm_jax.corpus.taggers import Tagger, spans_of
from realm_jax.errors import UserError, from_json
from realm_jax.text.tokenizer import Tokenizer

FORMAT = 3
"""Raised when the same articles give other files."""
REMEDY = "delete the file and run `prepare` again"
_ARTICLES_AT_ONCE = 64
Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Cutter:
    """Makes shards of one source. Picklable, unless a tagger is at home on a device."""

    source: Source
    tokenizer: Tokenizer
    passage_length: int
    taggers: Sequence[Tagger] = ()
    settings: str = ""
    """The settings that shape the result: the taggers' names, their weights."""

    def key(self, shard: Shard) -> str:
        """Names the shard's file."""
        source = f"{type(self.source).__name__}{self.source.version}"
        parts = [FORMAT, source, shard.name, shard.digest, shard.first_line]
        parts += [self.passage_length, self.tokenizer.fingerprint, self.settings]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def lines(self, shard: Shard) -> Iterator[str]:
        """The shard's file: a line for each cut article, and at last one with the counts and the bad records."""
        bad: list[Bad] = []
        counts = {"articles": 0, "passages": 0}
        for cut in cut_articles(self._articles(shard, bad), self.tokenizer, self.passage_length):
            counts["articles"] += 1
            counts["passages"] += len(cut.passages)
            yield json.dumps(_record(cut), ensure_ascii=False) + "\n"
        yield json.dumps({"shard": shard.name, **counts, "bad": [[b.where, b.problem] for b in bad]}) + "\n"

    def _articles(self, shard: Shard, bad: list[Bad]) -> Iterator[Article]:
        found = enumerate(self.source.read(shard))
        while batch := list(itertools.islice(found, _ARTICLES_AT_ONCE)):
            good: list[Article] = []
            for number, article in batch:
                try:
                    if isinstance(article, Article):
                        check(article, number)
                        good.append(with_sentences(article))
                    else:
                        bad.append(article)
                except UserError as error:
                    where, _, problem = str(error).partition(": ")
                    bad.append(Bad(where, problem))
            untagged = [article for article in good if article.spans is None]
            spans = iter(spans_of(untagged, self.taggers))
            for article in good:
                yield article if article.spans is not None else dataclasses.replace(article, spans=next(spans))


def _record(cut: Cut) -> Record:
    article = cut.article
    return {
        "title": article.title,
        "subject": article.subject,
        "id": article.id,
        "where": article.origin,
        "text": article.text,
        "sentences": article.sentences,
        "spans": article.spans,
        "passages": cut.passages,
        "origins": cut.origins,
        "places": cut.places,
        "span_tokens": cut.span_tokens,
        "rows": [base64.b64encode(row.astype("<i4").tobytes()).decode() for row in cut.rows],
    }


def rows_of(record: Record) -> list[np.ndarray]:
    """int32 token ids of each passage of a record, unpadded."""
    return [np.frombuffer(base64.b64decode(row), "<i4") for row in record["rows"]]


def write_shard(folder: Path, key: str, lines: Iterable[str]) -> Record:
    """Writes a shard's file whole or not at all; returns its last line."""
    with disk.written(path_of(folder, key)) as temporary, open(temporary, "w", encoding="utf-8") as file:
        line = ""
        for line in lines:
            file.write(line)
    return from_json(line)


def path_of(folder: Path, key: str) -> Path:
    return folder / f"{key}.jsonl"


def summary(folder: Path, key: str) -> Record:
    """The last line of a shard's file: its name, counts and bad records."""
    with open(path_of(folder, key), "rb") as file:
        size, step = file.seek(0, os.SEEK_END), 1 << 12
        while True:
            file.seek(max(0, size - step))
            tail = file.read().rstrip(b"\n")
            if b"\n" in tail or step >= size:
                break
            step *= 4
    with disk.reading(path_of(folder, key), REMEDY):
        told = from_json(tail.rpartition(b"\n")[2])
        return told | {"articles": int(told["articles"]), "bad": [(where, problem) for where, problem in told["bad"]]}


def read_records(folder: Path, keys: Iterable[str], chosen: np.ndarray | None = None) -> Iterator[Record]:
    """The cut articles of shards, in their order; only those of which `chosen`, bool [articles], says so."""
    wanted = itertools.repeat(True) if chosen is None else iter(chosen)
    for key in keys:
        with open(path_of(folder, key), "rb") as file, disk.reading(path_of(folder, key), REMEDY):
            line = next(file)
            for following in file:
                if next(wanted):
                    yield from_json(line)
                line = following


def make_shards(
    folder: Path, cutter: Cutter, shards: Sequence[Shard], processes: int, done: Callable[[Record], None]
) -> None:
    """Makes the files that are not there yet, in several processes where that can help; calls `done` after each.

    Raises:
      UserError: a worker process died, most often for memory.
    """
    missing = [shard for shard in shards if not path_of(folder, cutter.key(shard)).exists()]
    processes = min(processes or len(os.sched_getaffinity(0)), len(missing))
    if processes <= 1 or any(tagger.uses_device for tagger in cutter.taggers):
        for shard in missing:
            done(write_shard(folder, cutter.key(shard), cutter.lines(shard)))
        return
    # Spawned: JAX and the tokenizer have threads, which a fork would break.
    context = multiprocessing.get_context("spawn")
    executor = concurrent.futures.ProcessPoolExecutor(processes, context, _begin_worker, (folder, cutter))
    try:
        for future in concurrent.futures.as_completed([executor.submit(_work, shard) for shard in missing]):
            done(future.result())
    except concurrent.futures.process.BrokenProcessPool:
        raise UserError(
            f"a process that cut articles died, most often for want of memory; set data.processes below {processes} "
            "and run prepare again: it goes on with the shards that are missing"
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()


_worker: tuple[Path, Cutter] | None = None


def _begin_worker(folder: Path, cutter: Cutter) -> None:
    global _worker
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    _worker = folder, cutter

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _work(shard: Shard) -> Record:
    folder, cutter = _worker
    return write_shard(folder, cutter.key(shard), cutter.lines(shard))
