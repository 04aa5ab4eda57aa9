"""Open-QA fine-tuning (Lee et al. 2019, sections 6 and 7): the query side and the reader learn, passage vectors
stay."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.index import snapshots
from realm_jax.index.snapshots import Snapshot
from realm_jax.kinds import INDEXES
from realm_jax.text import features
from realm_jax.training.jitted_models import Models, standing_or_live
from realm_jax.training.mesh import local_mesh, local_rows, process_part
from realm_jax.training.open_qa import read_spans
from realm_jax.training.open_run import OpenRun
from realm_jax.training.probe import AnswerProbe
from realm_jax.training.results import (
    finetuned_snapshot,
    fresh_reader,
    restore_imported,
    restore_result,
    start_embedder,
    start_reader,
)
from realm_jax.training.task import Batch, Metrics, Params, Task


class Finetune(Task):
    """The beam's scores give the early loss; the best passages are read for the span loss."""

    def __init__(
        self,
        config: Config,
        models: Models,
        store: PassageStore,
        batches,
        snapshot: Snapshot,
        index,
        labels,
        start,
        probe: Callable[[Params], Metrics],
    ):
        super().__init__(start, batches)
        self._config, self._models, self._store = config, models, store
        self._snapshot, self._index, self._labels, self._probe = snapshot, index, labels, probe
        self.patience = config.finetune.patience
        self.retrieves_beside = not INDEXES[config.index.kind].on_devices or jax.local_device_count() == 1

    def embed(self, params: Params, batch: Batch) -> Any:
        return self._index.encode(functools.partial(self._models.embed, params["embedder"]), batch["query"])

    def retrieve(self, embedded: Any, batch: Batch, step: int) -> tuple[Batch, Metrics]:
        """The beam: its vectors, or its scores where these stand; its tokens; which of its passages hold an answer."""
        depth, embedded = min(self._config.finetune.beam, self._index.num_passages), jax.tree.map(local_rows, embedded)
        _, beam = self._index.search(embedded, depth)
        passages = self._store.rows(beam)
        labels = self._labels(batch["question"], beam)
        metrics = {"retrieval/beam_recall": labels.any(1).mean()}
        found = {"passages": passages, "beam_labels": labels, "scores": self._index.own_scores(embedded, beam)}
        if found["scores"] is None:
            found["beam_vectors"] = np.asarray(self._snapshot.vectors[beam])
        if self._labels.by_pattern:  # regular expressions are matched here, in the text; the device knows wordpieces
            found["answer_widths"] = self._labels.widths(batch["question"], beam, labels)
        return {**batch, **found}, metrics

    def outputs(self, params: Params, batch: Batch, key: jax.Array) -> Batch:
        if not self._config.finetune.embedder_rate:
            params = {**params, "embedder": jax.lax.stop_gradient(params["embedder"])}
        query_key, reader_key = jax.random.split(key)
        scale = self._config.finetune.score_scale

        def live() -> jax.Array:
            queries = self._models.embed(params["embedder"], batch["query"], query_key)
            return objectives.scores(queries, batch["beam_vectors"], scale)

        scores = standing_or_live(batch["scores"], scale, live)
        retriever_loss = objectives.early_loss(scores, batch["beam_labels"])
        read = min(self._config.finetune.read, scores.shape[1])
        logits, places, joint, is_body = read_spans(
            self._config, self._models, params["reader"], batch["query"], batch["passages"], scores, read, reader_key
        )
        max_width = self._config.model.max_span_width
        if "answer_widths" in batch:
            widths = jnp.take_along_axis(batch["answer_widths"], places[..., None], axis=1)
            answers = features.span_labels_of_widths(widths, is_body, max_width)
        else:
            answers = features.span_labels(joint, batch["answers"][:, None], is_body, max_width)
        reader_loss = objectives.span_loss(logits, answers)
        top = jnp.take_along_axis(batch["beam_labels"], places, axis=1)
        return {
            "loss/retriever": retriever_loss,
            "loss/reader": reader_loss,
            "retrieval/recall@1": top[:, 0],
            "retrieval/recall_read": top.any(1),
            "reader/answer_in_read": answers.any((1, 2)),
        }

    def probe(self, params: Params) -> Metrics:
        return self._probe(params)

    def objective(self, outputs: Batch, batch: Batch) -> tuple[jax.Array, Metrics]:
        loss = (outputs["loss/retriever"] + outputs["loss/reader"]).mean()
        return loss, {name: values.mean() for name, values in outputs.items()}


def finetune_task(run: OpenRun) -> Task:
    config, models, folder = run.config, run.models, run.folder
    step = finetuned_snapshot(config, folder)
    snapshot = snapshots.load(folder.stage("pretrain").snapshots, step, run.store.fingerprint)
    questions = run.questions("train")
    batches = questions.batches(
        config.finetune.batch_size, config.seed, process_part(run.mesh), config.finetune.questions
    )

    def part(name: str, key: jax.Array) -> Params:
        source = getattr(config.finetune, name)
        if source == "pretrain":
            return restore_result(folder, "pretrain", name, models)
        if source == "weights":
            return fresh_reader(run, key)
        return start_embedder(run, key) if name == "embedder" else start_reader(run, key)

    def start(key: jax.Array) -> Params:
        published = config.finetune.reader == "pretrain" and not config.pretrain.steps
        span_reader = restore_imported(folder, "span_reader", models) if published else None
        if span_reader is None:
            span_reader = models.span_reader(key, part("reader", key))
        return {"embedder": part("embedder", key), "reader": span_reader}

    index = snapshot.index(config.index, local_mesh())
    probe = AnswerProbe(run, index) if config.finetune.probe_questions else lambda params: {}
    return Finetune(config, models, run.store, batches, snapshot, index, run.labels(questions), start, probe)
