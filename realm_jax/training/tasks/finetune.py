"""Open-QA fine-tuning (Lee et al. 2019, sections 6 and 7): the query side and the reader learn. Passage vectors stay
from checkpoint to checkpoint, and in the paper for ever."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Shaped

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.errors import UserError
from realm_jax.index import snapshots
from realm_jax.index.base import HostOrDevice, Retriever
from realm_jax.index.snapshots import Snapshot
from realm_jax.kinds import INDEXES
from realm_jax.text import features
from realm_jax.training.index_builder import build_one
from realm_jax.training.jitted_models import Models, standing_or_live
from realm_jax.training.mesh import local_mesh, local_rows, process_part, whole
from realm_jax.training.open_qa import read_spans
from realm_jax.training.open_run import OpenRun
from realm_jax.training.probe import AnswerProbe
from realm_jax.training.question_arrays import QuestionBatch
from realm_jax.training.results import (
    first_snapshot,
    fresh_reader,
    restore_imported,
    restore_result,
    start_embedder,
    start_reader,
)
from realm_jax.training.task import Metrics, Outputs, Params, Task
from realm_jax.workdir import StageDir


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class BeamBatch(QuestionBatch):
    """Questions with the best passages of each."""

    passages: Integer[HostOrDevice, "B K P"]
    labels: Bool[HostOrDevice, "B K"]
    """Which hold an answer."""
    vectors: Float[HostOrDevice, "B K E"] | None = None
    scores: Float[HostOrDevice, "B K"] | None = None
    """Of a retriever whose own scores the loss takes, in place of vectors."""
    widths: Int[HostOrDevice, "B K P"] | None = None
    """Where answers are patterns: `BeamLabels.widths`."""


class Finetune(Task):
    """The beam's scores give the early loss; the best passages are read for the span loss."""

    retrieves_on_host = True

    def __init__(
        self,
        config: Config,
        models: Models,
        store: PassageStore,
        *,
        batches,
        start,
        snapshot: Snapshot,
        index,
        labels,
        probe: Callable[[Params, Retriever], Metrics],
        refresh: Callable[[int, Params], tuple[Snapshot, Retriever]] | None = None,
    ):
        """With `refresh` that gives the passages' vectors by the embedder of a checkpoint."""
        super().__init__(start, batches)
        self._config, self._models, self._store = config, models, store
        self._snapshot, self._index, self._labels = snapshot, index, labels
        self._probe, self._refresh, self._refreshed = probe, refresh, -1
        self.patience = config.finetune.patience
        self.retrieves_beside = not INDEXES[config.index.kind].on_devices or jax.local_device_count() == 1

    def queries(self, batch: QuestionBatch) -> HostOrDevice:
        return batch.query

    def embed(self, params: Params, queries: HostOrDevice) -> Any:
        return self._index.encode(functools.partial(self._models.embed, params["embedder"]), queries)

    def retrieve(self, embedded: Any, batch: QuestionBatch, step: int) -> tuple[BeamBatch, Metrics]:
        """The beam: its vectors, or its scores if the loss takes these; its tokens; which of its passages hold an
        answer."""
        depth, embedded = min(self._config.finetune.beam, self._index.num_passages), jax.tree.map(local_rows, embedded)
        _, beam = self._index.search(embedded, depth)
        labels, scores = self._labels(batch.question, beam), self._index.own_scores(embedded, beam)
        found: dict[str, Any] = {"passages": self._store.rows(beam), "labels": labels, "scores": scores}
        if scores is None:
            found["vectors"] = np.asarray(self._snapshot.vectors[beam])
        if self._labels.by_pattern:  # regular expressions are matched here, in the text; the device knows wordpieces
            found["widths"] = self._labels.widths(batch.question, beam, labels)
        return BeamBatch(**vars(batch), **found), {"retrieval/beam_recall": labels.any(1).mean()}

    def outputs(self, params: Params, batch: BeamBatch, key: jax.Array) -> Outputs:
        if not self._config.finetune.embedder_rate:
            params = {**params, "embedder": jax.lax.stop_gradient(params["embedder"])}
        query_key, reader_key = jax.random.split(key)
        scale = self._config.finetune.score_scale

        def live() -> jax.Array:
            queries = self._models.embed(params["embedder"], batch.query, query_key)
            return objectives.scores(queries, batch.vectors, scale)

        scores = standing_or_live(batch.scores, scale, live)
        retriever_loss = objectives.early_loss(scores, batch.labels)
        read = min(self._config.finetune.read, scores.shape[1])
        logits, places, joint, is_body = read_spans(
            self._config, self._models, params["reader"], batch.query, batch.passages, scores, read, reader_key
        )
        max_width = self._config.model.max_span_width
        if batch.widths is not None:
            widths = jnp.take_along_axis(batch.widths, places[..., None], axis=1)
            answers = features.span_labels_of_widths(widths, is_body, max_width)
        else:
            answers = features.span_labels(joint, batch.answers[:, None], is_body, max_width)
        reader_loss = objectives.span_loss(logits, answers)
        top = jnp.take_along_axis(batch.labels, places, axis=1)
        return {
            "loss/retriever": retriever_loss,
            "loss/reader": reader_loss,
            "retrieval/recall@1": top[:, 0],
            "retrieval/recall_read": top.any(1),
            "reader/answer_in_read": answers.any((1, 2)),
        }

    def probe(self, step: int, params: Params) -> Metrics:
        self.saved(step, params)  # answers come from the vectors that are searched next
        return self._probe(params, self._index)

    def saved(self, step: int, params: Params) -> None:
        if self._refresh is not None and step != self._refreshed:
            self._snapshot, self._index = self._refresh(step, params["embedder"])
            self._refreshed = step

    def objective(self, batch: BeamBatch, **outputs: Shaped[Array, " B"]) -> tuple[jax.Array, Metrics]:
        loss = (outputs["loss/retriever"] + outputs["loss/reader"]).mean()
        return loss, {name: values.mean() for name, values in outputs.items()}


def finetune_task(run: OpenRun) -> Task:
    config, models, workdir = run.config, run.models, run.workdir
    stage, step = first_snapshot(config, workdir)
    questions, made = run.questions_to_learn()
    batches = questions.batches(
        config.finetune.batch_size, config.seed, process_part(run.mesh), config.finetune.questions, made
    )

    def part(name: str, key: jax.Array) -> Params:
        source = getattr(config.finetune, name)
        if source == "pretrain":
            return restore_result(workdir, "pretrain", name, models)
        if source == "weights":
            return fresh_reader(run, key)
        return start_embedder(run, key) if name == "embedder" else start_reader(run, key)

    def start(key: jax.Array) -> Params:
        published = config.finetune.reader == "imported" or (
            config.finetune.reader == "pretrain" and not config.pretrain.steps
        )
        span_reader = restore_imported(workdir, "span_reader", models) if published else None
        if span_reader is None and config.finetune.reader == "imported":
            raise UserError("finetune.reader: imported, but no span reader was; name another, or import one")
        if span_reader is None:
            span_reader = models.span_reader(key, part("reader", key))
        params = {"embedder": part("embedder", key), "reader": span_reader}
        if probe is not None:
            probe.begin(params, index)
        return params

    def load(stage: StageDir, step: int) -> tuple[Snapshot, Retriever]:
        snapshot = snapshots.load(stage.snapshots, step, run.store.fingerprint)
        return snapshot, snapshot.index(config.index, local_mesh())

    def refresh(step: int, embedder: Params) -> tuple[Snapshot, Retriever]:
        stage = workdir.stage("finetune")
        if step not in snapshots.list_steps(stage.snapshots, run.store.fingerprint):
            build_one(run, step, whole(embedder), stage="finetune")
        return load(stage, step)

    snapshot, index = load(stage, step)
    probe = AnswerProbe(run) if config.finetune.probe_questions else None
    return Finetune(
        config,
        models,
        run.store,
        batches=batches,
        start=start,
        snapshot=snapshot,
        index=index,
        labels=run.labels(questions),
        probe=probe or (lambda params, index: {}),
        refresh=refresh if config.finetune.refresh == "inline" else None,
    )
