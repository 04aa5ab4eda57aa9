"""From sources to everything that training reads: passage store, passages, queries, tables of sentences.

Sources are cut shard by shard (`shards.py`); then each part is written in one pass over the shards' files. A part
appears whole or not at all, and a part that is there and right is not made again: a run that was stopped goes on, and
of a changed source only the changes are cut. Memory holds few articles at a time; with `data.holders` also the distinct
spans.
"""

import array
import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realm_jax import disk
from realm_jax.config import Config, Data
from realm_jax.corpus import shards, tfds_files
from realm_jax.corpus.articles import Article
from realm_jax.corpus.holders import Holders
from realm_jax.corpus.same_text import read_origins, write_origins
from realm_jax.corpus.shards import Cutter, Record
from realm_jax.corpus.source import Given, Source, open_data, open_source
from realm_jax.corpus.store import PassageStore, is_written, write_store
from realm_jax.corpus.tables import COUNTS, SPLITS, TableWriter, are_written, tables, write_places
from realm_jax.corpus.taggers import RULE_TAGGERS, Tagger
from realm_jax.errors import SHOWN, Faults, UserError
from realm_jax.settings import ShapesData, marked
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.workdir import DataDir, publish, read_json, write_json

Say = Callable[[str], None]
SETTINGS = "settings.json"
FAULTS_ADVICE = "Mend them, or have them left out with --data.skip_faulty. All other records are cut, and stay so."


def prepare_corpus(
    config: Config,
    data: DataDir,
    tokenizer: Tokenizer,
    articles: Iterator[Article] | None = None,
    say: Say = lambda line: print(line, flush=True),
    ner: Tagger | None = None,
) -> dict[str, Any]:
    """Prepares the corpus of `config.data`, or the given articles.

    Args:
      ner: the tagger `ner` of data.taggers, which needs a model.

    Returns:
      further entries of the manifest, written at the very end: counts of articles, passages, sentences, spans, of spans
      that 1 to 10 other passages hold, and of faulty records left out; the store's fingerprint; the settings.

    Raises:
      UserError: faulty records, unless data.skip_faulty; the message lists the first ten, and all else is kept. Data
        that were prepared with other settings, or of which other runs have links and the files have changed. No passage
        at all.
    """
    if config.data.source == "published" and articles is None:
        if not data.manifest.exists():
            raise UserError(f"{data.root}: holds no published passages; run `import_weights` first, or again")
        return read_json(data.manifest)
    settings = _claim(config.data, data, tokenizer)
    corpus = Corpus(config.data, data, tokenizer, articles, ner, say)
    faults = Faults("records in the corpus", FAULTS_ADVICE)
    corpus.cut(faults)
    is_assembled = corpus.is_assembled()
    is_complete = is_assembled and data.manifest.exists() and _has_every_part(corpus, data)
    if not is_complete:
        corpus.scan(faults)
    faults.settle(say if config.data.skip_faulty else None)
    if is_complete:
        return read_json(data.manifest)
    corpus.check_content()
    # A sweep's runs have a link to data that they share.
    if not is_assembled and data.manifest.exists() and data.root.is_symlink():
        raise UserError(
            f"{config.data.path}: has changed since {data.root.resolve()} was prepared from it, which other runs use; "
            "stop them and give `realm sweep` again: runs that are not finished then get data of their own"
        )
    if is_assembled:
        data.manifest.unlink(missing_ok=True)
    parts = (data.manifest, corpus.assembled, *_parts(data))
    with disk.made_anew(parts, data.root / ".before", begin=not is_assembled):
        if not is_written(data.store):
            rows = itertools.chain.from_iterable(map(shards.rows_of, corpus.knowledge()))
            write_store(data.store, rows, config.data.passage_length, tokenizer)
            corpus.claim()
        store = PassageStore.open(data.store)
        if not tfds_files.is_written(tfds_files.Passages, data.tfds):
            say(f"prepare: writing {store.num_passages} passages")
            tfds_files.write(tfds_files.Passages, data.tfds, {"train": lambda: _passages(corpus)})
        if not _has_queries(corpus, data):
            _write_queries(config, data, corpus, store, tokenizer, say)
        shutil.rmtree(data.root / "origins", ignore_errors=True)
        corpus.sweep()
        counts = read_json(tables(data) / COUNTS) | {"faulty": len(faults)}
        write_json(data.manifest, manifest := counts | {"fingerprint": store.fingerprint} | settings)
    return manifest


def _claim(settings: Data, data: DataDir, tokenizer: Tokenizer) -> dict[str, Any]:
    """Ties the folder to the settings that shape its content."""
    wanted = _shaping(settings) | {"vocabulary": tokenizer.fingerprint}
    path = data.root / SETTINGS
    found = wanted
    if path.exists() and any(part.exists() for part in _parts(data)):
        found = wanted | _shaping(Data()) | read_json(path)  # earlier versions had fewer settings
    for name in wanted:
        if found[name] != wanted[name]:
            option = "model.vocab" if name == "vocabulary" else f"data.{name}"
            raise UserError(
                f"{data.root}: was prepared with {option} {found[name]!r}, this experiment has {wanted[name]!r}; "
                "set data.directory to another folder, or delete this one"
            )
    write_json(path, wanted)
    return wanted


def clear_failed(data: DataDir) -> None:
    """Removes what a preparation that failed has written for its settings alone, unless there is earlier data."""
    if not any(path.exists() for path in (data.manifest, *_parts(data))):
        (data.root / SETTINGS).unlink(missing_ok=True)
        shutil.rmtree(data.tfds, ignore_errors=True)  # no more than questions by now


def _shaping(settings: Data) -> dict[str, Any]:
    options = {name: getattr(settings, name) for name in marked(Data, ShapesData)}
    return json.loads(json.dumps(options))  # JSON knows no tuples


def _parts(data: DataDir) -> tuple[Path, ...]:
    return data.store, data.tfds / tfds_files.Passages.name, data.tfds / tfds_files.Queries.name, tables(data)


def _has_every_part(corpus: "Corpus", data: DataDir) -> bool:
    """Each whole: files of them may have been deleted by hand."""
    return (
        is_written(data.store) and tfds_files.is_written(tfds_files.Passages, data.tfds) and _has_queries(corpus, data)
    )


def _has_queries(corpus: "Corpus", data: DataDir) -> bool:
    return tfds_files.is_written(tfds_files.Queries, data.tfds) and are_written(data, not corpus.is_its_own_text)


class Corpus:
    """The shards of the knowledge corpus, and of the pre-training text where that is another one."""

    def __init__(
        self,
        settings: Data,
        data: DataDir,
        tokenizer: Tokenizer,
        articles: Iterator[Article] | None = None,
        ner: Tagger | None = None,
        say: Say = print,
    ):
        self._settings, self._tokenizer, self._say = settings, tokenizer, say
        self.folder = data.shards
        self.assembled = self.folder / "assembled.json"
        source = Given(articles) if articles is not None else open_data(settings)
        self._cutters = {"knowledge": self._cutter(source, ner)}
        if settings.text_source:
            text = open_source(settings.text_source, settings.text_path, "data.text_path")
            self._cutters["text"] = self._cutter(text, ner)
        self._keys: dict[str, list[str]] = {}
        self._left_out: dict[str, np.ndarray] = {}
        self._seen = {role: np.zeros(2, np.int64) for role in self._cutters}
        """Of each role, the records, and the faulty ones among them."""
        self._is_empty: dict[str, bool] = {}

    def _cutter(self, source: Source, ner: Tagger | None) -> Cutter:
        names = self._settings.taggers
        taggers = [ner if name == "ner" else RULE_TAGGERS[name]() for name in names]
        marks = json.dumps([names, self._settings.tagger_weights])
        return Cutter(source, self._tokenizer, self._settings.passage_length, taggers, marks)

    @property
    def cutters(self) -> list[Cutter]:
        return list(self._cutters.values())

    @property
    def is_its_own_text(self) -> bool:
        return "text" not in self._cutters

    def cut(self, faults: Faults) -> None:
        """Makes the shards that are missing."""
        for role, cutter in self._cutters.items():
            all_shards = cutter.source.shards()
            if others := cutter.source.others():
                names = ", ".join(others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
                kinds = ", ".join(cutter.source.suffixes)
                self._say(f"prepare: {len(others)} files of other kinds than {kinds} were not read: {names}")
            self._keys[role] = [cutter.key(shard) for shard in all_shards]
            if missing := sum(not shards.path_of(self.folder, key).exists() for key in self._keys[role]):
                self._cut(cutter, all_shards, missing)
            for key in self._keys[role]:
                told = shards.summary(self.folder, key)
                self._seen[role] += np.array([told["articles"] + len(told["bad"]), len(told["bad"])])
                for where, problem in told["bad"]:
                    faults.add(f"{where}: {problem}")

    def _cut(self, cutter: Cutter, all_shards: Sequence[shards.Shard], missing: int) -> None:
        of = "" if len(all_shards) == missing == 1 else f", {missing} of {len(all_shards)} shards"
        self._say(f"prepare: cutting articles into passages of {self._settings.passage_length} wordpieces{of}")
        start = said = time.monotonic()
        done, passages = 0, 0

        def report(counts: Record) -> None:
            nonlocal said, done, passages
            done, passages = done + 1, passages + counts["passages"]
            if time.monotonic() - said > 10:
                said = time.monotonic()
                rate = passages / (said - start)
                self._say(f"prepare: {done} of {missing} shards, {passages} passages, {rate:.0f} passages/s")

        shards.make_shards(self.folder, cutter, all_shards, self._settings.processes, report)
        self._say(f"prepare: {passages} passages in {time.monotonic() - start:.0f} s")

    def scan(self, faults: Faults) -> None:
        """Learns which articles are held out, and how long the types of spans are; leaves out articles whose id an
        earlier one has, and names them."""
        for role in self._keys:
            titles, ids, counts = array.array("Q"), array.array("Q"), array.array("q")
            self.type_bytes = 0
            for number, record in enumerate(self._records(role)):
                titles.append(_digest(record["title"]))
                ids.append(_digest(record["id"] or f"\0{number}"))
                counts.append(len(record["passages" if self.is_its_own_text else "sentences"]))
                self.type_bytes = max([self.type_bytes, *(len(kind.encode()) for _, _, kind in record["spans"])])
            again = _again(np.frombuffer(ids, np.uint64))
            self._left_out[role] = again
            self._is_empty[role] = not np.frombuffer(counts, np.int64)[~again].any()
            for number, record in enumerate(self._records(role)) if again.any() else ():
                if again[number]:
                    faults.add(f"{record['where']}: its id {record['id']!r} is another's already; ids must differ")
        # The last role is that of the pre-training text.
        self.heldout = _smallest(np.frombuffer(titles, np.uint64)[~again], self._settings.heldout_fraction)
        counts = np.frombuffer(counts, np.int64)[~again]
        self._before = np.cumsum(counts) - counts

    def check_content(self) -> None:
        """Raises UserError where a source has nothing to cut or to mask: to be learned before anything is removed."""
        for role, option in (("knowledge", "path"), ("text", "text_path")):
            if self._is_empty.get(role):
                records, faulty = map(int, self._seen[role])
                place = getattr(self._settings, option) or getattr(self._settings, option.replace("path", "source"))
                raise UserError(
                    f"data.{option}: {place}: gave no passage; {records} records were seen, {faulty} of them left out "
                    "as faulty, the others without a word; a corpus needs articles with a title and a text. What was "
                    "prepared before is as it was"
                )

    def knowledge(self) -> Iterator[Record]:
        """The articles that passages are cut from."""
        return self._good("knowledge")

    def text(self) -> Iterator[Record]:
        """The articles that pre-training masks."""
        return self._good("knowledge" if self.is_its_own_text else "text")

    def split(self, heldout: bool, origins: np.ndarray | None) -> Iterator[tuple[Record, np.ndarray]]:
        """(article, int32 [sentences]: rows of the passages that have its sentences, or -1), of those that
        pre-training masks the ones that are held out, or the others.

        Args:
          origins: of every sentence, where the text is not the knowledge corpus.
        """
        chosen = self.heldout == heldout
        records = self._good("knowledge" if origins is None else "text", chosen)
        for record, before in zip(records, self._before[chosen]):
            if origins is None:
                yield record, np.array(record["origins"], np.int32) + np.int32(before)
            else:
                yield record, np.array(origins[before : before + len(record["sentences"])])

    def _good(self, role: str, chosen: np.ndarray | None = None) -> Iterator[Record]:
        keep = ~self._left_out[role]
        if chosen is not None:
            keep[keep] = chosen
        return self._records(role, keep)

    def _records(self, role: str, chosen: np.ndarray | None = None) -> Iterator[Record]:
        return shards.read_records(self.folder, self._keys[role], chosen)

    def is_assembled(self) -> bool:
        """Whether the store was written from these very shards."""
        return self.assembled.exists() and read_json(self.assembled) == self._keys

    def claim(self) -> None:
        """Says that the store was."""
        write_json(self.assembled, self._keys)

    def sweep(self) -> None:
        """Removes files of earlier states of the source."""
        keep = {shards.path_of(self.folder, key) for keys in self._keys.values() for key in keys}
        for path in set(self.folder.iterdir()) - keep - {self.assembled}:
            path.unlink()


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _again(digests: np.ndarray) -> np.ndarray:
    """bool [n]: whether the same comes before."""
    order = np.argsort(digests, kind="stable")
    again = np.zeros(len(digests), bool)
    again[order[1:]] = digests[order[1:]] == digests[order[:-1]]
    return again


def _smallest(digests: np.ndarray, fraction: float) -> np.ndarray:
    """bool [n]: whether an article is held out, which are those whose titles have the smallest digests."""
    count = min(max(round(fraction * len(digests)), int(fraction > 0)), max(len(digests) - 1, 0))
    chosen = np.zeros(len(digests), bool)
    chosen[np.argsort(digests, kind="stable")[:count]] = True
    return chosen


def _passages(corpus: Corpus) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(corpus.knowledge()):
        text = record["text"].encode()
        for start, limit in record["passages"]:
            yield tfds_files.Passages.example(record["title"], text[start:limit], record["where"], number, start)


def _write_queries(
    config: Config, data: DataDir, corpus: Corpus, store: PassageStore, tokenizer: Tokenizer, say: Say
) -> None:
    start, holders = time.monotonic(), None
    if config.data.holders:
        say("prepare: looking up which passages hold each salient span")
        holders = Holders(store, (tuple(s) for record in corpus.text() for s in record["span_tokens"]), tokenizer)
    origins = None
    if not corpus.is_its_own_text:
        say("prepare: looking up which sentences of the text stand in the knowledge corpus")
        write_origins(data.root / "origins", corpus.knowledge(), corpus.text())
        origins = read_origins(data.root / "origins")
    counts = {
        "articles": len(corpus.heldout),
        "passages": store.num_passages,
        "sentences": 0,
        "spans": 0,
        "spans_with_few_holders": 0,
    }
    with publish(tables(data)) as folder:
        with TableWriter(folder, corpus.type_bytes) as writer:

            def examples(split: str) -> Iterator[dict[str, Any]]:
                for record, rows in corpus.split(split == "heldout", origins):
                    example = _query(record, rows, holders)
                    writer.append(split, example)
                    few = (example["holder_count"] >= 1) & (example["holder_count"] <= 10)
                    counts["spans_with_few_holders"] += int(few.sum())
                    counts["sentences"] += len(example["origin"])
                    counts["spans"] += len(few)
                    yield example

            # TFDS refuses a split without examples, as `heldout` is with heldout_fraction 0.
            splits = [split for split in SPLITS if (split == "heldout") in corpus.heldout]
            tfds_files.write(
                tfds_files.Queries, data.tfds, {split: lambda split=split: examples(split) for split in splits}
            )
        if not corpus.is_its_own_text:
            write_places(folder, corpus.knowledge())
        (folder / COUNTS).write_text(json.dumps(counts) + "\n", encoding="utf-8")
    say(
        f"prepare: {counts['sentences']} sentences with {counts['spans']} salient spans, "
        f"{counts['spans_with_few_holders']} of them in 1 to 10 other passages, in {time.monotonic() - start:.0f} s"
    )


def _query(record: Record, origin: np.ndarray, holders: Holders | None) -> dict[str, Any]:
    limits = [limit for _, limit in record["sentences"]]
    sentence_of_span = np.searchsorted(limits, [limit for _, limit, _ in record["spans"]])
    found = [
        holders(tuple(tokens), int(origin[sentence]))
        for tokens, sentence in zip(record["span_tokens"], sentence_of_span, strict=True)
        if holders is not None
    ]
    counts = [count for _, count in found] if holders is not None else [0] * len(record["spans"])
    return {
        "title": record["title"],
        "subject": record["subject"],
        "text": record["text"],
        "sentences": [{"start": start, "limit": limit} for start, limit in record["sentences"]],
        "spans": [{"start": start, "limit": limit, "type": kind} for start, limit, kind in record["spans"]],
        "origin": origin,
        "places": np.array(record["places"], np.int32).reshape(-1, 2),
        "holders": np.array([rows for rows, _ in found], np.int32).reshape(-1, tfds_files.MAX_HOLDERS),
        "holder_count": np.array(counts, np.int32),
        "span_pieces": np.array([len(tokens) for tokens in record["span_tokens"]], np.int32),
    }
