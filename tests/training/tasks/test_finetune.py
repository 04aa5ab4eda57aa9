"""Fine-tuning: the beam, its labels, and what they teach the query side and the reader."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from realm_jax.config import Questions
from realm_jax.index.exact import ExactIndex
from realm_jax.index.snapshots import Manifest, Snapshot
from realm_jax.qa.prepared_questions import prepare_questions
from realm_jax.text import features
from realm_jax.training import open_qa
from realm_jax.training.open_qa import read_spans
from realm_jax.training.probe import AnswerProbe
from realm_jax.training.question_arrays import QuestionBatch
from realm_jax.training.task import Stream, rng
from realm_jax.training.tasks.finetune import Finetune
from tests.training.tasks.losses import B, differentiated, gradients, learns, never, row_ids, words_that_learn

join = jax.jit(features.join, static_argnums=2)


@pytest.fixture(scope="module")
def finetune(experiment, questions, vectors):
    manifest = Manifest(0, len(vectors) - 1, vectors.shape[1], "exact", "", None, {}, {})
    snapshot = Snapshot(0, Path(), vectors, manifest)
    given = {"snapshot": snapshot, "index": ExactIndex(vectors[:-1]), "labels": experiment.labels(questions)}
    given |= {"batches": questions.batches(B, 1), "start": never, "probe": never}
    return Finetune(experiment.config, experiment.models, experiment.store, **given)


@pytest.fixture(scope="module")
def read(finetune):
    """`read_spans` of the three best passages, compiled once."""
    return jax.jit(lambda *given: read_spans(finetune._config, finetune._models, *given, 3))


@pytest.fixture(scope="module")
def fine_params(params):
    return {"embedder": params["embedder"], "reader": params["span_reader"]}


@pytest.fixture(scope="module")
def fine_batch(finetune, fine_params):
    batch = next(iter(finetune.batches()))
    return finetune.retrieve(finetune.embed(fine_params, batch.query), batch, 0)


def test_finetune_takes_the_beam_as_it_is_indexed(experiment, questions, fine_batch, fine_params, finetune, vectors):
    batch, metrics = fine_batch
    queries = np.asarray(finetune.embed(fine_params, batch.query))
    beam = np.argsort(-(queries @ vectors[:-1].T), axis=1, kind="stable")[:, :10]
    np.testing.assert_array_equal(row_ids(experiment, batch.passages), beam)
    np.testing.assert_allclose(batch.vectors, vectors[beam])
    np.testing.assert_array_equal(batch.labels, experiment.labels(questions)(batch.question, beam))
    assert metrics["retrieval/beam_recall"] == batch.labels.any(1).mean()


def test_finetune_teaches_the_query_side_and_the_reader(finetune, fine_params, fine_batch):
    batch = replace(fine_batch[0], labels=np.arange(10)[None] == np.arange(1, B + 1)[:, None])
    loss, metrics, found = gradients(finetune, fine_params, batch)
    assert learns(found, "embedder") and loss > 0
    assert loss == pytest.approx(metrics["loss/retriever"] + metrics["loss/reader"], rel=1e-5)
    # Passage vectors stay: no passage token teaches the embedder.
    assert words_that_learn(found, "embedder") == set(np.unique(batch.query).tolist()) - {0}


def test_finetune_teaches_the_reader_where_an_answer_is_read(finetune, read, fine_params, fine_batch):
    batch = fine_batch[0]
    # The first answer is what stands in the body of the first question's best passage.
    scores = jnp.zeros((B, 10)).at[:, :3].set(1.0)
    logits, places, joint, is_body = read(fine_params["reader"], batch.query, batch.passages, scores)
    assert logits.shape == (B, 3, len(features.span_table(56, 6))) and places.tolist() == [[0, 1, 2]] * B
    body = np.asarray(joint[0, 0])[np.asarray(is_body[0, 0])]
    answers = np.zeros_like(batch.answers)
    answers[:, 0, :2] = body[3:5]
    batch = replace(batch, answers=answers, passages=np.tile(batch.passages[:1, :1], (B, 10, 1)))
    _, metrics, found = gradients(finetune, fine_params, batch)
    assert metrics["reader/answer_in_read"] == 1.0 and metrics["loss/reader"] > 0
    assert learns({name: leaf for name, leaf in found.items() if name != "reader/output/bias"}, "reader")


def test_an_embedder_of_rate_0_gets_no_gradient_and_the_reader_the_same(world, finetune, fine_params, fine_batch):
    task = copy.copy(finetune)
    task._config = world.settings(finetune={"embedder_rate": 0.0})
    loss, _, found = gradients(task, fine_params, fine_batch[0])
    expected = gradients(finetune, fine_params, fine_batch[0])
    assert loss == pytest.approx(expected[0], rel=1e-6)
    for name, leaf in found.items():
        wanted = np.zeros_like(leaf) if name.startswith("embedder") else expected[2][name]
        np.testing.assert_allclose(leaf, wanted, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_probe_answers_some_questions_of_each_dev_set(world, tmp_path, monkeypatch, fine_params, vectors):
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(json.dumps({"question": f"q {i}?", "answer": [f"a {i}"]}) + "\n" for i in range(9)))
    questions = Questions(train=(str(file),), dev=(str(file),), dev_new_kinds=(str(file),), test=(str(file),))
    prepare_questions(world.settings(questions=questions), world.data, lambda line: None)
    run = world.experiment(tmp_path, questions=questions, finetune={"probe_questions": 4})
    dev, chosen = run.questions("dev"), np.sort(rng(run.config.seed, Stream.PROBED_QUESTIONS).permutation(9)[:4])
    first = dev.answers[chosen[0]][0].upper()
    said = iter([[first, "wrong", "x", ""], [first, *(dev.answers[i][0] for i in chosen[1:3]), ""]])
    monkeypatch.setattr(open_qa, "texts_of", lambda found, *_: next(said))
    figures = AnswerProbe(run)(fine_params, ExactIndex(vectors[:-1]))
    assert figures == {
        "probe/exact_match": 0.25,
        "probe/exact_match_new_kinds": 0.75,
        "probe/recall@5": 0.0,
        "probe/recall@5_new_kinds": 0.0,
        "probe/score": 0.5,
    }


def test_finetune_without_any_answer_teaches_nothing(finetune, fine_params, fine_batch):
    batch = fine_batch[0]
    answers = np.full_like(batch.answers, 5)  # a wordpiece that stands nowhere
    batch = replace(batch, labels=np.zeros_like(batch.labels), answers=answers)
    loss, metrics, found = gradients(finetune, fine_params, batch)
    assert loss == 0.0 and metrics["retrieval/recall_read"] == 0.0 and metrics["reader/answer_in_read"] == 0.0
    assert not any(leaf.any() for leaf in found.values())


def test_finetune_with_an_answer_in_the_beam_alone_teaches_the_retriever_alone(finetune, fine_params, fine_batch):
    batch, labels = fine_batch[0], np.zeros_like(fine_batch[0].labels)
    labels[:, -1] = True
    batch = replace(batch, labels=labels, answers=np.full_like(batch.answers, 5))
    _, metrics, found = gradients(finetune, fine_params, batch)
    assert metrics["retrieval/recall_read"] == 0.0 and metrics["loss/reader"] == 0.0 < metrics["loss/retriever"]
    assert learns(found, "embedder")
    assert not any(leaf.any() for name, leaf in found.items() if name.startswith("reader"))


def test_finetune_by_patterns_learns_what_literal_answers_teach(
    world, tmp_path, read, fine_params, finetune, fine_batch
):
    """A set whose answers are patterns of the literal ones gives the same labels, loss and gradients."""
    experiment = world.experiment(tmp_path, questions=world.patterns(tmp_path))
    questions = experiment.questions("train")
    assert not questions.pieces.any() and len(questions.trainable()) == len(questions)
    given = {"snapshot": finetune._snapshot, "index": finetune._index, "labels": experiment.labels(questions)}
    given |= {"batches": None, "start": never, "probe": never}
    task = Finetune(experiment.config, experiment.models, experiment.store, **given)
    batch = fine_batch[0]
    batch = QuestionBatch(query=batch.query, answers=batch.answers, question=batch.question)
    batch, metrics = task.retrieve(task.embed(fine_params, batch.query), batch, 0)
    np.testing.assert_array_equal(batch.labels, fine_batch[0].labels)
    assert metrics == fine_batch[1] and batch.labels.any()
    assert batch.widths.shape == batch.passages.shape
    loss, metrics, found = gradients(task, fine_params, batch, differentiated)
    expected = gradients(finetune, fine_params, fine_batch[0], differentiated)
    assert loss == expected[0] and metrics == expected[1] and metrics["reader/answer_in_read"] > 0
    for name, leaf in found.items():
        np.testing.assert_array_equal(leaf, expected[2][name], err_msg=name)
    # What the programs differ in, the labels of spans, is bit for bit the same.
    _, places, joint, is_body = read(fine_params["reader"], batch.query, batch.passages, jnp.zeros((B, 10)))
    widths = jnp.take_along_axis(batch.widths, places[..., None], axis=1)
    literal = features.span_labels(joint, fine_batch[0].answers[:, None], is_body, 6)
    assert literal.any()
    np.testing.assert_array_equal(features.span_labels_of_widths(widths, is_body, 6), literal)


def test_spans_are_read_in_the_best_passages_only(experiment, read, fine_params, fine_batch):
    batch, scores = fine_batch[0], jnp.asarray(np.random.default_rng(0).normal(size=(B, 10)), jnp.float32)
    logits, places, joint, _ = read(fine_params["reader"], batch.query, batch.passages, scores)
    np.testing.assert_array_equal(places, np.argsort(-np.asarray(scores), axis=1)[:, :3])
    for i in range(B):
        for k, place in enumerate(np.asarray(places[i])):
            row, segments, _ = join(batch.query[i : i + 1], batch.passages[i : i + 1, place : place + 1], 56)
            np.testing.assert_array_equal(joint[i, k], row[0, 0])
            alone = experiment.models.score_spans(fine_params["reader"], row[:, 0], segments[:, 0])[0]
            np.testing.assert_allclose(logits[i, k], alone + scores[i, place], rtol=1e-3, atol=1e-3)
