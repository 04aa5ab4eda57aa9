"""Makes a workdir out of published weights, from which every job goes on as from our own checkpoints.

Vectors and passages stream from file to file: neither is ever whole in memory. Each part appears whole or not at all,
and a part that is there is not made again.
"""

import dataclasses
import functools
import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realm_jax import disk
from realm_jax.config import Bert, Config, Data, Evaluation, Finetune, Index, Pretrain
from realm_jax.corpus import tfds_files
from realm_jax.corpus.articles import Article
from realm_jax.corpus.preparation import Say, prepare_corpus
from realm_jax.corpus.store import write_store
from realm_jax.errors import UserError
from realm_jax.importing import weight_folders
from realm_jax.importing.weight_folders import Parts
from realm_jax.index import snapshots
from realm_jax.index.base import Passages
from realm_jax.index.embed_passages import build_index
from realm_jax.locks import owner, sole_owner
from realm_jax.published.sizes import CONFIG, VOCAB, check_vocab
from realm_jax.qa.needed import require_training_questions
from realm_jax.qa.prepared_questions import prepare_questions
from realm_jax.qa.question_files import read_questions
from realm_jax.tagging.ner import open_ner
from realm_jax.text.tokenizer import SETTINGS, Tokenizer
from realm_jax.training import checkpoints
from realm_jax.training.jitted_models import Models
from realm_jax.training.open_run import OpenRun
from realm_jax.workdir import IMPORTED, Workdir, read_json, write_json

PASSAGE, OWN_PASSAGE, QUERY, JOINT = 320, 288, 96, 384
"""Wordpieces of rows. A published passage has at most 288 in its body, which is kept whole here, as the reader gets it;
passages cut here have 288 in all, and the others are the released code's."""
TEXTS_AT_ONCE = 1000
ROWS_AT_ONCE = 1 << 16
PROGRESS_S = 10.0
PUBLISHED = "published"
"""The choice of `data.source` that means the sources' passages."""
RESULTS = {"pretrain": {"embedder"}, "finetune": {"embedder", "span_reader"}}
"""The parts that a stage of training leaves and answers need; without a masked-LM reader no [MASK] is filled."""


@functools.cache
def read_sources(given: tuple[str, ...], workdir: Workdir) -> Parts:
    """The parts of all sources, fetched where they are remote. Read once a process: settings and job need them."""
    workdir.check_local("import_weights")
    return weight_folders.gather([weight_folders.fetch(source, workdir.root / "source") for source in given])


def settings_of_sources(base: Config | None, given: tuple[str, ...], workdir: Workdir, data_source: str = "") -> Config:
    """`import_settings` of a new workdir, in which the vocabulary will lie.

    Args:
      data_source: whose passages are asked for: `published`, or another of `data.source`; "" where nobody says it.

    Raises:
      UserError: a source cannot be read, or it is not clear whose passages are meant.
    """
    parts = read_sources(given, workdir)
    own = base is not None and base.data.source != PUBLISHED
    if not data_source and base is None and parts.passages is None:
        raise UserError(
            f"--source: only {', '.join(parts.params)} here; a run needs passages too: your documents, by "
            "--data.source folder --data.path FOLDER, or a folder of Open-QA as another --source, or an EXPERIMENT, "
            "with its corpus, right after import_weights"
        )
    if not data_source and own and parts.passages is not None:
        raise UserError(
            f"data.source: passages come from {parts.passages.texts.parent}, and others from the experiment's "
            f"data.source {base.data.source}; give --data.source {base.data.source} to take the models alone, or "
            f"--data.source {PUBLISHED} to take these passages"
        )
    data_source = data_source or (base.data.source if own else PUBLISHED)
    return import_settings(base, of_run(parts, data_source), workdir.root.resolve() / VOCAB, data_source)


def of_run(parts: Parts, data_source: str) -> Parts:
    """What a run takes of its sources: models alone, where its passages are not theirs."""
    return parts if data_source == PUBLISHED else dataclasses.replace(parts, vectors=None, passages=None)


def import_settings(base: Config | None, parts: Parts, vocab: Path, data_source: str = PUBLISHED) -> Config:
    """The settings of a run with imported weights: sizes, dropout, scales of scores, and what a reader reads are
    theirs.

    Args:
      base: an experiment for everything else; without it, no further training, and numbers of passages as published.
      vocab: where the vocabulary will lie.
      data_source: whose passages the run has.

    Raises:
      UserError: the sources' config.json has numbers that are none of a run.
    """
    count = None if parts.vectors is None else len(parts.vectors)
    try:
        published = published_settings(parts.bert.max_positions, parts.settings, count)
    except UserError as error:  # of what no option has been given for yet
        raise UserError(f"--source: by its {CONFIG}, {error}") from None
    config = base or published
    model = dataclasses.replace(
        parts.model, weights="random", vocab=str(vocab), bert=parts.bert, compute_dtype=config.model.compute_dtype
    )
    data = dataclasses.replace(config.data, source=data_source)
    if data_source == PUBLISHED:
        data = dataclasses.replace(data, path="")
    elif base is None:
        data = dataclasses.replace(data, passage_length=min(OWN_PASSAGE, data.passage_length))
    pretrain, finetune = config.pretrain, config.finetune
    if "embedder" in parts.params:
        pretrain = dataclasses.replace(pretrain, score_scale=published.pretrain.score_scale)
        finetune = dataclasses.replace(finetune, score_scale=published.finetune.score_scale)
    if "span_reader" in parts.params:
        read, joint = published.finetune.read, published.finetune.joint_length
        finetune = dataclasses.replace(finetune, read=read, joint_length=joint, beam=max(finetune.beam, read))
        data = dataclasses.replace(data, query_length=min(data.query_length, joint // 2))
    return dataclasses.replace(config, model=model, data=data, pretrain=pretrain, finetune=finetune)


def published_settings(
    longest: int = Bert.max_positions, settings: dict[str, Any] | None = None, count: int | None = None
) -> Config:
    """The settings of a run without an experiment.

    Args:
      longest: number of positions.
      settings: of the sources' config.json.
      count: number of passages.
    """
    setting = (settings or {}).get
    joint = min(setting("reader_seq_len", 320), longest)
    query = min(QUERY, joint // 2)
    read = setting("reader_beam_size", 5)
    beam = max(read, setting("searcher_beam_size", 5000))
    if count is not None:
        read, beam = min(read, count), min(beam, count)
    return Config(
        name="published",
        data=Data(passage_length=min(PASSAGE, longest), query_length=query, joint_length=min(JOINT, longest)),
        index=Index(kind="exact"),
        pretrain=Pretrain(steps=0, learning_rate=3e-5, candidates=setting("num_candidates", 8)),
        finetune=Finetune(steps=0, learning_rate=1e-5, batch_size=1, beam=beam, read=read, joint_length=joint),
        evaluation=Evaluation(bm25=False),
    )


def check_import(config: Config, workdir: Workdir, given: Sequence[str]) -> None:
    """Everything about an import that can be told before anything is written; called before `import_weights`.

    Raises:
      UserError: the workdir is of other sources; no source has a part that the settings need; questions or vectors are
        faulty.
    """
    _check_claim(workdir, given)
    parts = of_run(read_sources(tuple(given), workdir), config.data.source)
    if config.data.source == PUBLISHED and config.data.path:
        raise UserError(
            f"data.path: {config.data.path!r} is not read, for passages come from the sources; give --data.source "
            "folder (or jsonl, ...) too to have your documents in their place"
        )
    if config.data.source == PUBLISHED and parts.passages is None:
        raise UserError(f"data.source: {PUBLISHED}, but no --source has passages; name a folder of Open-QA as another")
    _check_vocab(config, workdir, parts)
    models = Models(config, workdir)
    for name, tree in parts.params.items():
        checkpoints.check_same_shapes(tree, models.shapes(name), f"--source: {name}")
    if parts.passages is not None and parts.passages.titles is None and config.pretrain.steps:
        raise UserError(
            "pretrain.steps: the sources have no titles, which passages are embedded with; name the folder that has "
            f"{weight_folders.TITLES} as another --source, or leave pre-training out"
        )
    require_training_questions(config)
    if not workdir.sources.exists():  # else an import goes on that was checked when it began
        if config.questions.files:
            read_questions(config.questions, lambda line: None)
        if parts.vectors is not None:
            _check_finite(parts.vectors)


def _check_claim(workdir: Workdir, given: Sequence[str]) -> None:
    """An import that was stopped cannot go on with other sources."""
    if workdir.sources.exists() and (before := read_json(workdir.sources, list)) != list(given):
        raise UserError(
            f"--source: {' '.join(given)}; {workdir.sources} says {' '.join(before)}: use another --workdir"
        )


def _check_vocab(config: Config, workdir: Workdir, parts: Parts) -> None:
    """Of the sources, unless an option names another."""
    vocab = Path(config.model.vocab)
    if vocab == workdir.root.resolve() / VOCAB and not vocab.exists():
        if parts.vocab is None:
            raise UserError(f"--source: none has a {VOCAB}; name one by --model.vocab FILE")
        vocab = parts.vocab
    elif not vocab.is_file():
        raise UserError(f"model.vocab: {config.model.vocab!r} is no file; name a {VOCAB} that goes with the sources")
    check_vocab(vocab, config.model.bert.vocab_size, "the model of the sources")
    Tokenizer.from_vocab(vocab)


def _check_finite(vectors: np.ndarray) -> None:
    bad: list[int] = []
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        part = _from_file(vectors, start, min(start + ROWS_AT_ONCE, len(vectors)))
        bad += (start + np.flatnonzero(~np.isfinite(part).all(1))).tolist()
    if bad:
        raise UserError(
            f"{getattr(vectors, 'filename', '--source')}: block_emb: {len(bad)} of {len(vectors)} vectors are not "
            f"finite, the first in row {bad[0]} (counted from 0); fetch the file again"
        )


def clear_failed(workdir: Workdir) -> None:
    """Removes the leftovers of an import that failed before it made anything whole; another command may then begin
    there."""
    whole = (workdir.stage(IMPORTED).done, workdir.data("").store)
    if (
        workdir.sources.exists()
        and not any(path.exists() for path in whole)
        and owner(workdir.root, "import_weights") is None
    ):
        for left in (workdir.root / "data", workdir.stage(IMPORTED).root):
            shutil.rmtree(left, ignore_errors=True)
        for file in (workdir.root / VOCAB, workdir.root / SETTINGS, workdir.config):
            file.unlink(missing_ok=True)


def import_weights(config: Config, workdir: Workdir, given: Sequence[str], say: Say = print) -> None:
    """Writes `imported/`, and where the sources have passages `data/` (questions too) and the snapshot of step 0.

    A stage to which the settings give no further steps is marked as done, with the imported parameters as its result.

    Raises:
      UserError: the sources are faulty or do not fit each other; another import is at work in the workdir.
    """
    parts = of_run(read_sources(tuple(given), workdir), config.data.source)
    with sole_owner(workdir.root, "import_weights"):
        _check_claim(workdir, given)
        write_json(workdir.sources, list(given))
        vocab = Path(config.model.vocab)
        if not vocab.exists():
            if (cased := parts.vocab.with_name(SETTINGS)).exists():  # may say that the vocabulary keeps case
                shutil.copyfile(cased, vocab.with_name(SETTINGS))
            with disk.written(vocab) as part:
                shutil.copyfile(parts.vocab, part)
        run = OpenRun(config, workdir)
        if parts.passages is not None:
            _import_passages(run, parts, say)
            if config.questions.files:
                prepare_questions(config, run.data, say)
        if parts.vectors is not None:
            _import_vectors(run, parts, say)
        _import_params(run, parts, say)
        for stage, needed in RESULTS.items():
            if getattr(config, stage).steps or not needed <= set(parts.params):
                break
            write_json(workdir.stage(stage).done, {"stage": IMPORTED, "step": 0, "last_step": 0, "reason": "imported"})
            say(f"import_weights: {stage} is done, as published")
        write_json(workdir.stage(IMPORTED).done, {"step": 0, "parts": sorted(parts.params)})


def _import_params(run: OpenRun, parts: Parts, say: Say) -> None:
    stage = run.workdir.stage(IMPORTED)
    if stage.done.exists():
        return
    shutil.rmtree(stage.checkpoints, ignore_errors=True)  # left by a killed import
    checkpoints.write_params(stage.checkpoints, 0, parts.params)
    say(f"import_weights: {', '.join(parts.params)} in {stage.root}")
    for part in sorted({"embedder", "reader"} - set(parts.params)):
        say(f"import_weights: no {part} for pre-training among the sources; it begins untrained")
    config = run.config
    if config.pretrain.steps and "span_reader" in parts.params and config.finetune.reader != "imported":
        say(
            f"import_weights: after {config.pretrain.steps} steps of pre-training, fine-tuning begins a new span "
            "scorer; --finetune.reader imported, in another --workdir, goes on from the sources' span reader"
        )


def _import_passages(run: OpenRun, parts: Parts, say: Say) -> None:
    """The passage store, row by row as published, and the texts; pre-training text too where there is pre-training."""
    config, data, tokenizer, count = run.config, run.data, run.tokenizer, len(parts.vectors)
    if not data.manifest.exists():
        if config.pretrain.steps:
            _prepare_as_articles(run, parts, say)
        else:
            length = config.data.passage_length
            if not data.store.exists():
                write_store(data.store, _rows(_counted(parts, "tokens", say), tokenizer, length), length, tokenizer)
            if not tfds_files.is_written(tfds_files.Passages, data.tfds):
                tfds_files.write(tfds_files.Passages, data.tfds, {"train": lambda: _records(parts, say)})
            fingerprint = run.store.fingerprint
            write_json(data.manifest, {"source": "published", "passages": count, "fingerprint": fingerprint})
    if run.store.num_passages != count:
        raise UserError(
            f"{data.root}: {run.store.num_passages} passages, but the sources have {count} vectors; the data "
            "is another corpus's: use another --workdir"
        )


def _prepare_as_articles(run: OpenRun, parts: Parts, say: Say) -> None:
    """Everything that `prepare` makes of a corpus: each passage is an article, its sentences are masked."""
    articles = (
        Article(title, title, text, origin=parts.passages.where(number), whole=True)
        for number, (title, text) in enumerate(_counted(parts, "articles", say))
    )
    config = run.config
    prepare_corpus(config, run.data, run.tokenizer, articles, say, open_ner(config))


def _counted(parts: Parts, what: str, say: Say) -> Iterator[tuple[str, str]]:
    """The passages, as many as there are vectors; says how far it is."""
    count, start = len(parts.vectors), time.monotonic()
    said = start
    for number, passage in enumerate(parts.passages, 1):
        if number > count:
            raise UserError(f"{parts.passages.texts}: more passages than the {count} vectors; one each is wanted")
        yield passage
        if (now := time.monotonic()) - said > PROGRESS_S:
            said, rate = now, number / (now - start)
            say(f"import_weights: {what} of {number} of {count} passages, {rate:.0f} passages/s")
    if number != count:
        raise UserError(f"{parts.passages.texts}: {number} passages, but {count} vectors; one each is wanted")


def _rows(passages: Iterator[tuple[str, str]], tokenizer: Tokenizer, length: int) -> Iterator[np.ndarray]:
    """`[CLS] title [SEP] body [SEP]` of each passage: as much of the body as fits, then as much of the title."""
    while batch := list(itertools.islice(passages, TEXTS_AT_ONCE)):
        titles = tokenizer.ids_batch([title for title, _ in batch])
        bodies = tokenizer.ids_batch([text for _, text in batch])
        for title, body in zip(titles, bodies, strict=True):
            body = body[: length - 3]
            title = title[: length - 3 - len(body)]
            yield np.array([tokenizer.cls_id, *title, tokenizer.sep_id, *body, tokenizer.sep_id], np.int32)


def _records(parts: Parts, say: Say) -> Iterator[dict[str, Any]]:
    """As the builder `passages` has them; each is an article of its own."""
    for number, (title, text) in enumerate(_counted(parts, "texts", say)):
        yield tfds_files.Passages.example(title, text.encode(), parts.passages.where(number), number, 0)


def _import_vectors(run: OpenRun, parts: Parts, say: Say) -> None:
    """Snapshot 0, to which the null passage's vector is added."""
    folder, store = run.workdir.stage("pretrain").snapshots, run.store
    if snapshots.FIRST_STEP in snapshots.list_steps(folder):
        return
    embed = run.models.embed_with(parts.params["embedder"])
    vectors = _WithNull(parts.vectors, np.asarray(embed(store.rows(slice(store.null_id, None)))))
    passages = Passages(parts.vectors, store.tokens[: store.null_id], run.tokenizer.vocabulary)
    index, recall, seconds = build_index(snapshots.FIRST_STEP, passages, run.config.index)
    snapshots.publish_snapshot(
        folder,
        snapshots.FIRST_STEP,
        vectors,
        kind=run.config.index.kind,
        fingerprint=store.fingerprint,
        index=index,
        recall=recall,
        seconds=seconds,
    )
    say(f"import_weights: {len(parts.vectors)} vectors in {folder}")


class _WithNull:
    """Vectors with the null passage's behind them, read from their file a part at a time and not through a mapping,
    whose pages would count as this process's memory."""

    def __init__(self, vectors: np.ndarray, null: np.ndarray):
        self._vectors, self._null = vectors, null
        self.shape = (len(vectors) + 1, vectors.shape[1])

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, last, _ = rows.indices(self.shape[0])
        part = _from_file(self._vectors, first, min(last, len(self._vectors)))
        return np.concatenate([part, self._null]) if last == self.shape[0] else part


def _from_file(vectors: np.ndarray, first: int, last: int) -> np.ndarray:
    if not isinstance(vectors, np.memmap):
        return vectors[first:last]
    width = vectors.shape[1]
    at = vectors.offset + first * width * vectors.itemsize
    return np.fromfile(vectors.filename, vectors.dtype, (last - first) * width, offset=at).reshape(-1, width)
