"""Fine-tuning keeps what retrieval was worth: dev questions decide which checkpoint goes on."""

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from realm_jax.config import Questions
from realm_jax.index.exact import ExactIndex
from realm_jax.index.snapshots import Manifest, Snapshot
from realm_jax.qa.prepared_questions import prepare_questions
from realm_jax.training import checkpoints, loop
from realm_jax.training.metrics import read_metrics
from realm_jax.training.probe import AnswerProbe
from realm_jax.training.tasks.finetune import Finetune
from realm_jax.workdir import read_json

pytestmark = pytest.mark.usefixtures("one_device")
COUNT = 20


@pytest.fixture
def run(world, tmp_path):
    """Its questions are passages' own words."""
    texts = [world.experiment(tmp_path).texts[row].text for row in range(COUNT)]
    lines = [json.dumps({"question": text, "answer": [" ".join(text.split()[-3:]).strip(".")]}) for text in texts]
    file = tmp_path / "asked.jsonl"
    file.write_text("\n".join(lines))
    questions = Questions(train=(str(file),), dev=(str(file),), test=(str(file),))
    prepare_questions(world.settings(questions=questions), world.data, lambda line: None)
    options = {"probe_questions": COUNT, "checkpoint_every": 1, "keep": 9, "batch_size": 4, "learning_rate": 0.3}
    return world.experiment(tmp_path / "run", questions=questions, finetune=options)


@pytest.fixture
def index_and_snapshot(run, params):
    """An index in which the embedder at the start finds every question's passage: it has the question's vector, and is
    the longest."""
    vectors = np.array(run.models.embed_passages(params["embedder"], run.store.rows(slice(None))))
    asked = np.asarray(run.models.embed(params["embedder"], run.questions("dev").queries))
    length = 2 * np.linalg.norm(vectors, axis=1).max()
    vectors[:COUNT] = length * asked / np.linalg.norm(asked, axis=1, keepdims=True)
    manifest = Manifest(0, len(vectors) - 1, vectors.shape[1], "exact", "", None, {}, {})
    return ExactIndex(vectors[:-1]), Snapshot(0, Path(), vectors, manifest)


def least_of(recall):
    return recall - math.sqrt(recall * (1 - recall) / COUNT)


def scrambled(params):
    """An embedder that says the same of every text."""
    return params | {"embedder": jax.tree.map(jnp.zeros_like, params["embedder"])}


def test_a_checkpoint_that_harms_retrieval_scores_below_all_others(run, params, index_and_snapshot):
    probe, index = AnswerProbe(run), index_and_snapshot[0]
    start = {"embedder": params["embedder"], "reader": params["span_reader"]}
    assert probe(scrambled(start), index)["probe/score"] >= 0  # nothing to be measured by
    probe.begin(start, index)
    whole, harmed = probe(start, index), probe(scrambled(start), index)
    assert whole["probe/recall@5"] > 0.9
    assert harmed["probe/recall@5"] < least_of(whole["probe/recall@5"])
    assert whole["probe/score"] == whole["probe/exact_match"] >= 0
    assert harmed["probe/score"] == harmed["probe/exact_match"] - 1 < 0


def test_recall_after_fine_tuning_is_not_below_the_start(run, params, index_and_snapshot):
    """By a rate at which the embedder forgets what it knew."""
    index, snapshot = index_and_snapshot
    start, probe = {"embedder": params["embedder"], "reader": params["span_reader"]}, AnswerProbe(run)
    questions, stage = run.questions("train"), run.workdir.stage("finetune")
    probe.begin(start, index)
    given = {"snapshot": snapshot, "index": index, "labels": run.labels(questions), "probe": probe}
    given |= {"batches": questions.batches(4, 1), "start": lambda key: jax.tree.map(jnp.copy, start)}
    task = Finetune(run.config, run.models, run.store, **given)
    loop.train(task, "finetune", dataclasses.replace(run.config.finetune, steps=6), stage, 0)
    recalls = [line["probe/recall@5"] for line in read_metrics(stage.metrics) if "probe/recall@5" in line]
    assert len(recalls) == 7 and min(recalls[1:]) < least_of(recalls[0])  # it was harmed on the way
    result = read_json(stage.done)["step"]
    assert recalls[result] >= least_of(recalls[0])
    kept = checkpoints.restore_part(stage.checkpoints, result, "embedder", run.models.shapes("embedder"))
    assert probe(start | {"embedder": kept}, index)["probe/recall@5"] == recalls[result]
