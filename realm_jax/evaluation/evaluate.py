"""Measures the worth of training: retrieval before and after, Open-QA, and the baselines without learned retrieval."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import numpy as np

from realm_jax.config import Config
from realm_jax.corpus import tfds_files
from realm_jax.corpus.sentence_source import can_be_masked
from realm_jax.evaluation import bm25, confidence, hybrid, spans
from realm_jax.evaluation.recall import DEPTHS, SUFFIXES, ranks, ranks_file, recalls
from realm_jax.index import snapshots
from realm_jax.kinds import INDEXES
from realm_jax.qa import answers as scoring
from realm_jax.qa.predictions import read_predictions, write_predictions
from realm_jax.qa.questions import load_questions, prepared_set, split_sizes
from realm_jax.training import open_qa
from realm_jax.training.masked_queries import MaskedBatch, NothingFits, salient, unfiltered
from realm_jax.training.mesh import local_mesh, require
from realm_jax.training.metrics import read_metrics
from realm_jax.training.open_run import OpenRun
from realm_jax.training.question_arrays import QuestionSet
from realm_jax.training.results import finetuned_snapshot, restore_result, result_step, start_of_pretraining
from realm_jax.training.tasks.closed_book import cloze_answers
from realm_jax.workdir import Workdir, write_json

READINGS = 5
"""Held-out spans that are shown as in table 3 of the paper."""


def evaluate(config: Config, workdir: Workdir) -> None:
    """Writes <workdir>/evaluation/results.json; the figures of the report and of summary.json.

    Raises:
      UserError: a stage that is measured has not been finished.
    """
    require(config.mesh.platform)
    results = Evaluation(OpenRun(config, workdir)).results()
    (workdir.report / "index.html").unlink(missing_ok=True)  # it is of other results
    write_json(workdir.results, results)


def evaluate_file(config: Config, workdir: Workdir, path: Path, split: str) -> None:
    """Prints the scores of a file of predictions for a split's questions, by every rule of `questions.match`.

    As the official scorer counts, a question without a prediction is a wrong one.

    Raises:
      UserError: the questions are not prepared, or the file is faulty.
    """
    match, data = config.questions.match, workdir.data(config.data.directory)
    data.fetch()
    questions = load_questions(prepared_set(config.questions, data), split)
    predictions = read_predictions(path, questions)
    if missing := [question for question, said in zip(questions, predictions, strict=True) if said is None]:
        _say(f"{path}: no prediction for {len(missing)} questions, counted as wrong, such as {missing[0].question!r}")
    pairs = [(said, question.answers) for said, question in zip(predictions, questions, strict=True)]
    others = [] if match == "regex" else [name for name in scoring.NORMALISERS if name != match]
    for name in (match, *others):
        right = sum(said is not None and scoring.exact_match(said, answers, name) for said, answers in pairs)
        print(f"exact match ({name}): {right / len(pairs):.4f} ({right}/{len(pairs)})")
        if name != "regex":
            f1 = sum(scoring.f1(said, answers, name) for said, answers in pairs if said is not None)
            print(f"F1 ({name}): {f1 / len(pairs):.4f}", flush=True)


class Evaluation:
    """The input that all measurements share."""

    def __init__(self, run: OpenRun):
        self._run, self._config, self._workdir = run, run.config, run.workdir
        self._models, self._store, self._texts = run.models, run.store, run.texts
        self._snapshots = run.workdir.stage("pretrain").snapshots
        self._sizes = split_sizes(self._config.questions, run.data)
        self._answers = self._config.finetune.steps > 0 or self._workdir.stage("finetune").done.exists()
        # Who learned to answer of labelled questions has test questions, or is told that they are missing.
        unlabelled = self._config.finetune.made_steps or self._config.model.reader_weights
        wanted = self._sizes or (self._answers and not unlabelled) or self._config.closed_book.steps
        asked = {*self._sizes, "test"} if wanted else set()
        there = [split for split in SUFFIXES if split in asked]
        self._questions = {split: run.questions(split) for split in there}
        self._labels = {split: run.labels(questions) for split, questions in self._questions.items()}

    def results(self) -> dict[str, Any]:
        config, workdir = self._config, self._workdir
        step = result_step(workdir, "pretrain")
        start = start_of_pretraining(self._run)(jax.random.key(config.seed))
        pretrained = {part: restore_result(workdir, "pretrain", part, self._models) for part in ("embedder", "reader")}
        results: dict[str, Any] = {
            "seed": config.seed,
            "config": config.name,
            "counts": {"passages": self._store.num_passages} | self._sizes,
        }
        settings = (config.index, local_mesh())
        first_snapshot = snapshots.load(self._snapshots, snapshots.FIRST_STEP, self._store.fingerprint)
        first = first_snapshot.index(*settings)
        last_snapshot = snapshots.load(self._snapshots, step, self._store.fingerprint) if step else first_snapshot
        last = last_snapshot.index(*settings) if step else first
        data = self._run.data
        written = tfds_files.is_written(tfds_files.Queries, data.tfds)
        if written and can_be_masked(data, "heldout", salient(config.masking)):
            _say("held-out masked spans")
            try:
                (before, _), (after, readings) = self._spans(start, first, "_start"), self._spans(pretrained, last, "")
                results |= before | after | {"readings": readings}
            except NothingFits as error:  # the figures of the questions are worth having all the same
                _say(f"held-out masked spans are left out: {error}")
        results |= self._index_figures(last_snapshot.manifest)
        if not self._questions:
            return results
        _say("questions before and after pre-training")
        before, rows_before = self._question_recall(start["embedder"], first, "_start")
        # Of the retriever that is fine-tuned, as the paper's table 2 has it.
        embedder, snapshot, found_by = pretrained["embedder"], last_snapshot, last
        if config.finetune.embedder == "start":
            embedder, snapshot, found_by = start["embedder"], first_snapshot, first
        zero_shot, _ = self._question_recall(embedder, found_by, "_zero_shot")
        results |= before | zero_shot
        if self._answers:
            _say("questions after fine-tuning")
            stage, kept = finetuned_snapshot(config, workdir)
            embedder = restore_result(workdir, "finetune", "embedder", self._models)
            if config.finetune.refresh == "inline":
                snapshot = snapshots.load(stage.snapshots, kept, self._store.fingerprint)
                found_by = snapshot.index(*settings)
            else:
                snapshot, found_by = (last_snapshot, last) if kept == step else (first_snapshot, first)
            results |= self._open_qa(embedder, found_by, rows_before["test"])
        if config.closed_book.steps:
            _say("closed book")
            results |= self._closed_book(results.get("examples", []))
        if config.evaluation.bm25 and "dev" in self._questions:
            _say("BM25")
            results |= bm25.measure(self._texts, self._questions, self._hits)
            if INDEXES[config.index.kind].embeds:
                _say("BM25 and vectors together")
                embed = self._models.embed_many_with(embedder)
                results |= hybrid.measure(self._run, snapshot.vectors[:-1], embed, self._questions, self._hits)
        return results

    def _spans(self, params: dict[str, Any], index, suffix: str) -> tuple[dict[str, float], list[dict[str, Any]]]:
        """Recall, utility and p(null) on held-out spans, with the index of the same embedder; and some of the spans."""
        arguments = (self._config, self._models, params, index, self._store)
        count, seed = self._config.evaluation.heldout_queries, self._config.seed
        named = salient(self._config.masking)
        queries = self._run.masked_queries("heldout", named).fixed(count, seed)
        filtered = spans.measure(*arguments, queries)
        paper = unfiltered(self._config.masking)
        everything = spans.measure(*arguments, self._run.masked_queries("heldout", paper).fixed(count, seed))
        figures = {
            f"retrieval/span_recall@5{suffix}": filtered.recall,
            f"retrieval/utility{suffix}": filtered.utility,
            f"retrieval/p_null{suffix}": filtered.p_null,
            f"retrieval/unfiltered_span_recall@5{suffix}": everything.recall,
            f"retrieval/unfiltered_utility{suffix}": everything.utility,
            f"retrieval/unfiltered_p_null{suffix}": everything.p_null,
        }
        return figures, [self._shown(queries, reading) for reading in filtered.readings[:READINGS]]

    def _shown(self, queries: MaskedBatch, reading: spans.Reading) -> dict[str, Any]:
        """A held-out span in words, with the passage that tells it best."""
        tokenizer, passage, i = self._run.tokenizer, self._texts[reading.row], reading.query
        hidden = queries.mask_targets[i][queries.mask_weights[i] > 0]
        words = {"text": tokenizer.decode(queries.query[i]), "truth": tokenizer.decode(hidden)}
        return words | {"title": passage.title, "body": passage.text} | reading._asdict()

    def _question_recall(self, embedder: Any, index, when: str) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Every split's recall, and the rows [B,100] found for its questions; writes the ranks of the first hits."""
        config, figures, found, places = self._config, {}, {}, {}
        for split, questions in self._questions.items():
            _, found[split] = open_qa.retrieve(config, self._models, embedder, index, questions.queries, max(DEPTHS))
            hits = self._hits(split, found[split])
            figures |= recall_figures(hits, SUFFIXES[split] + when)
            places[split] = ranks(hits)
        write_json(ranks_file(self._workdir, when), places)
        return figures, found

    def _hits(self, split: str, rows: np.ndarray) -> np.ndarray:
        """bool [B,k]: whether a found passage holds an answer, by finetune.labels or regular expressions."""
        return self._labels[split](np.arange(len(rows)), rows)

    def _open_qa(self, embedder: Any, index, before_rows: np.ndarray) -> dict[str, Any]:
        config = self._config
        reader = restore_result(self._workdir, "finetune", "reader", self._models, "span_reader")
        params = {"embedder": embedder, "reader": reader}
        results, rows = self._question_recall(params["embedder"], index, "")
        predictions, sure = {}, {}
        for split, questions in self._questions.items():
            found = open_qa.answer(config, self._models, params, index, self._store, questions.queries)
            predictions[split] = open_qa.texts_of(found, self._run.tokenizer, self._texts)
            results |= self._score(f"predictions_{split}", predictions[split], questions, SUFFIXES[split])
            pairs = zip(predictions[split], questions.answers, strict=True)
            right = np.array([scoring.exact_match(*pair, config.questions.match) for pair in pairs], bool)
            sure[split] = np.array([answer.probability for answer in found]), right
        results |= confidence.measure(self._workdir, sure, SUFFIXES, config.evaluation.wrong_costs)
        results |= {"qa/labels": self._labels["test"].kind, "qa/match": config.questions.match}
        results["examples"] = self._examples(predictions["test"], before_rows, rows["test"])
        return results

    def _score(self, name: str, predictions: list[str], questions: QuestionSet, suffix: str) -> dict[str, float]:
        """Exact match and F1, means over questions; writes the predictions."""
        match = self._config.questions.match
        write_predictions(self._workdir.evaluation, name, questions.questions, predictions, match)
        pairs = list(zip(predictions, questions.answers, strict=True))
        figures = {f"qa/exact_match{suffix}": float(np.mean([scoring.exact_match(*pair, match) for pair in pairs]))}
        if match != "regex":  # patterns have no words to count
            figures[f"qa/f1{suffix}"] = float(np.mean([scoring.f1(*pair, match) for pair in pairs]))
        return figures

    def _examples(self, predictions: list[str], before: np.ndarray, after: np.ndarray) -> list[dict[str, Any]]:
        """Test questions drawn at random, with the passages retrieved before and after training."""
        questions, count = self._questions["test"], min(self._config.evaluation.examples, len(predictions))
        hits = {"before": self._hits("test", before[:, :5]), "after": self._hits("test", after[:, :5])}
        rows = {"before": before, "after": after}
        chosen = np.random.default_rng(self._config.seed).choice(len(predictions), count, replace=False)

        def passages(when: str, i: int) -> list[dict[str, Any]]:
            return [
                {
                    "row": int(row),
                    "title": self._texts[row].title,
                    "body": self._texts[row].text,
                    "holds_answer": bool(hit),
                }
                for row, hit in zip(rows[when][i], hits[when][i], strict=False)
            ]

        return [
            {
                "id": questions.ids[i],
                "question": questions.texts[i],
                "answers": questions.answers[i],
                "prediction": predictions[i],
                "correct": scoring.exact_match(predictions[i], questions.answers[i], self._config.questions.match),
                "match": self._config.questions.match,
                "before": passages("before", i),
                "after": passages("after", i),
            }
            for i in sorted(chosen.tolist())
        ]

    def _closed_book(self, examples: list[dict[str, Any]]) -> dict[str, float]:
        reader = restore_result(self._workdir, "closed_book", "reader", self._models)
        results, by_id = {}, {}
        for split, questions in self._questions.items():
            predictions = cloze_answers(self._run, reader, questions)
            results |= self._score(
                f"predictions_closed_book_{split}", predictions, questions, f"_closed_book{SUFFIXES[split]}"
            )
            by_id |= zip(questions.ids, predictions, strict=True)
        for example in examples:
            example["closed_book"] = by_id[example["id"]]
        return results

    def _index_figures(self, manifest: snapshots.Manifest) -> dict[str, Any]:
        lines = [line for line in read_metrics(self._workdir.stage("pretrain").metrics) if "index/snapshot" in line]
        return {
            "index/snapshots_used": len({line["index/snapshot"] for line in lines}),
            "index/max_staleness_steps": max((line["index/staleness_steps"] for line in lines), default=0),
            "index/waited_s": _sum_of_starts([line["time/index_wait_s"] for line in lines]),
            "index/recall": manifest.recall,
            **{f"index/{name}": value for name, value in manifest.looks.items()},
        }


def recall_figures(hits: np.ndarray, suffix: str) -> dict[str, float]:
    return {f"retrieval/recall@{k}{suffix}": share for k, share in recalls(hits).items()}


def _sum_of_starts(seconds: list[float]) -> float:
    """The total of a count that every start of a process begins at 0 again."""
    return sum(after - before if after >= before else after for before, after in pairwise([0.0, *seconds]))


def _say(what: str) -> None:
    print(f"evaluate: {what}", flush=True)
