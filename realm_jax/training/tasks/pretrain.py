"""REALM pre-training: retrieve, read, marginalise over the candidates (Guu et al. 2020, section 3)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int, Integer

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.corpus.sentence_source import can_be_masked
from realm_jax.corpus.store import PassageStore
from realm_jax.errors import UserError
from realm_jax.index import placement, snapshots
from realm_jax.index.base import HostOrDevice, Retriever
from realm_jax.index.candidates import NULL_CANDIDATE, search_candidates, search_candidates_device
from realm_jax.index.device_store import DeviceStore
from realm_jax.kinds import INDEXES
from realm_jax.text import features
from realm_jax.text.salience import LearnedSalience
from realm_jax.training import checkpoints, masked_queries
from realm_jax.training.index_builder import build_one
from realm_jax.training.jitted_models import Models, standing_or_live
from realm_jax.training.masked_queries import MaskedBatch, ReadBatch
from realm_jax.training.mesh import ROWS, WHOLE, local_mesh, local_rows, process_part, shards_in_use, whole
from realm_jax.training.open_run import OpenRun
from realm_jax.training.probe import RecallProbe
from realm_jax.training.question_arrays import probe_questions
from realm_jax.training.results import start_of_pretraining
from realm_jax.training.snapshot_follower import SnapshotFollower, scheduled, snapshot_every
from realm_jax.training.task import Metrics, Outputs, Params, Stream, Task, rng

PROBE_QUESTIONS = 100
NEVER = -1e9
"""A score that leaves a candidate no probability, and all gradients finite."""


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """The retriever of pre-training, with its snapshot."""

    follower: SnapshotFollower
    store: PassageStore
    device_store: DeviceStore | None = None
    """With it, and an exact index, retrieval takes and gives arrays on `mesh`, and waits for none."""
    mesh: Mesh | None = None
    refresh: Callable[[int, Params], None] | None = None
    """Called with each checkpoint's step and embedder: makes the snapshot that is searched from there on."""


class Pretrain(Task):
    """Embedder and reader learn together from masked queries; the index follows the embedder at a distance."""

    def __init__(
        self,
        config: Config,
        models: Models,
        retrieval: Retrieval,
        *,
        batches,
        start,
        probe,
        salience: LearnedSalience | None = None,
        part: int = 0,
    ):
        """With `salience` that chooses among the queries drawn; a process makes one `part` of them."""
        super().__init__(start, batches)
        self._config, self._models, self._retrieval = config, models, retrieval
        self._probe, self._salience, self._part = probe, salience, part
        self.patience = config.pretrain.patience
        store, mesh = retrieval.device_store, retrieval.mesh
        self.retrieves_on_host = store is None
        devices = jax.local_device_count() if store is None else mesh.size
        kind = INDEXES[config.index.kind]
        self._encode, self.retrieves_beside = kind.load().encode, not kind.on_devices or devices == 1
        if store is not None:
            # The index and the store are arguments: a new snapshot is other data for the same program.
            self._choose_on_devices = jax.jit(
                functools.partial(self._choose, search_candidates_device),
                out_shardings=(NamedSharding(mesh, ROWS), NamedSharding(mesh, WHOLE)),
            )

    def choose(self, batch: MaskedBatch, step: int) -> MaskedBatch:
        if self._salience is None:
            return batch
        draw = rng(self._config.seed, Stream.SALIENCE, step, *([self._part] if self._part else []))
        count = len(batch.kind) // self._config.pretrain.oversample
        chosen = self._salience.draw(batch.kind, batch.span, count, draw)
        return batch[chosen]

    def observe(self, figures: Metrics) -> Metrics:
        if self._salience is None:
            return figures
        measured = [figures.pop(f"salience/{name}") for name in ("kind", "span", "utility")]
        self._salience.observe(*measured)
        known = zip(self._salience.kinds, self._salience.of_kinds(), strict=True)
        return figures | {f"salience/{kind}": utility for kind, utility in known}

    def memory(self) -> Any:
        return self._salience and self._salience.state()

    def set_memory(self, memory: Any) -> None:
        if self._salience is not None:
            self._salience.set_state(memory)

    def queries(self, batch: MaskedBatch) -> HostOrDevice:
        return batch.query

    def embed(self, params: Params, queries: HostOrDevice) -> Any:
        return self._encode(functools.partial(self._models.embed, params["embedder"]), queries)

    def retrieve(self, embedded: Any, batch: MaskedBatch, step: int) -> tuple[ReadBatch, Metrics]:
        """The best candidates for each query, without its origin where `pretrain.ban_origin` is on."""
        held = self._retrieval
        snapshot = held.follower.at(step)
        if held.device_store is None:
            embedded = jax.tree.map(local_rows, embedded)
            batch, hits = self._choose(search_candidates, snapshot.index, held.store, embedded, batch)
        else:
            batch, hits = self._choose_on_devices(snapshot.index, held.device_store, embedded, batch)
        return batch, {
            "index/staleness_steps": step - snapshot.step,
            "index/snapshot": snapshot.step,
            "retrieval/hits": hits,
            "time/index_wait_s": held.follower.waited_s,
        }

    def _choose(
        self, search: Callable[..., Any], index: Retriever, store: Any, embedded: Any, batch: MaskedBatch
    ) -> tuple[ReadBatch, Any]:
        """The queries to train on with their candidates' tokens, and the share of queries whose answer was found.

        Of arrays of NumPy or of the device, as `search` is.
        """
        settings, origin = self._config.pretrain, batch.origin[:, None]
        banned = origin if settings.ban_origin else origin[:, :0]
        depth = max(settings.candidates, settings.answer_within + 1)
        candidates = search(index, embedded, banned, depth, self._retrieval.store.null_id)
        hits = (candidates[:, 1:, None] == batch.holders[:, None, :]).any((1, 2))
        kept = len(hits) // (settings.oversample if self._salience is None else 1)
        chosen = candidates.__array_namespace__().argsort(~hits, stable=True)[:kept]
        batch, embedded = jax.tree.map(lambda value: value[chosen], (batch, embedded))
        if settings.answer_within:
            batch = dataclasses.replace(batch, mask_weights=batch.mask_weights * hits[chosen, None])
        rows = candidates[chosen, : settings.candidates]
        scores = index.own_scores(embedded, rows)
        return ReadBatch(**vars(batch), passages=store.rows(rows), scores=scores), hits.mean()

    def outputs(self, params: Params, batch: ReadBatch, key: jax.Array) -> Outputs:
        if not self._config.pretrain.embedder_rate:  # half of the backward pass would be for nothing
            params = {**params, "embedder": jax.lax.stop_gradient(params["embedder"])}
        null_row = self._retrieval.store.null_row
        scores, log_p_y = read_candidates(self._config, self._models, params, batch, null_row, key)
        return {"scores": scores, "log_p_y": log_p_y}

    def objective(
        self, batch: ReadBatch, scores: Float[Array, "B K"], log_p_y: Float[Array, "B K M"]
    ) -> tuple[jax.Array, Metrics]:
        log_p_z = objectives.retrieval_log_probs(scores)
        spans = batch.mask_spans if self._config.pretrain.marginalize == "span" else None
        parts = (log_p_z, log_p_y, batch.mask_weights, spans)
        learned = {}
        if self._salience is not None:
            learned = {"salience/kind": batch.kind, "salience/span": batch.span}
            learned["salience/utility"] = objectives.query_utilities(*parts)
        return objectives.marginal_loss(*parts), learned | {
            "retrieval/utility": objectives.retrieval_utility(*parts),
            "retrieval/p_null": jnp.exp(log_p_z[:, 0]).mean(),
            "retrieval/p_best": jnp.exp(log_p_z[:, 1:]).max(1).mean(),
        }

    def probe(self, step: int, params: Params) -> Metrics:
        return self._probe(whole(params["embedder"]))

    def saved(self, step: int, params: Params) -> None:
        if self._retrieval.refresh is not None:
            self._retrieval.refresh(step, params["embedder"])

    def close(self) -> None:
        self._retrieval.follower.close()

    def lacks(self, step: int) -> str:
        if self._config.index.refresh == "inline" and not self._config.pretrain.embedder_rate:
            return ""  # every checkpoint has the embedder of the one snapshot
        return self._retrieval.follower.lacks(step)


def read_candidates(
    config: Config, models: Models, params: Params, batch: ReadBatch, null_row: Integer[HostOrDevice, " P"], key: Any
) -> tuple[Float[Array, "B K"], Float[Array, "B K M"]]:
    """Scores f(x, z) with live parameters and log p(y|z,x) of the candidates in `batch`."""
    given = (batch.query, batch.passages, batch.mask_positions, batch.scores)
    scores, logits = candidate_logits(config, models, params, *given, null_row, key)
    targets = jnp.repeat(batch.mask_targets, scores.shape[1], axis=0)
    return scores, objectives.target_log_probs(logits, targets).reshape(*scores.shape, -1)


def candidate_logits(
    config: Config,
    models: Models,
    params: Params,
    query: Int[HostOrDevice, "B Q"],
    passages: Integer[HostOrDevice, "B K P"],
    positions: Int[HostOrDevice, "B M"],
    scores: Float[HostOrDevice, "B K"] | None,
    null_row: Integer[HostOrDevice, " P"],
    key: jax.Array | None,
) -> tuple[Float[Array, "B K"], Float[Array, "B*K M V"]]:
    """Scores f(x, z) with live parameters, and the reader's logits at `positions` of `query`, given each of `passages`.

    Args:
      scores: of a retriever whose own scores the loss takes, without their scale; else None.
      key: of dropout; None turns it off.
    """
    b, k, _ = passages.shape
    keys = jax.random.split(key, 3) if key is not None else (None,) * 3
    live = functools.partial(_live_scores, config, models, params["embedder"], query, passages, null_row, keys)
    scores = standing_or_live(scores, config.pretrain.score_scale, live)
    if not config.pretrain.null_passage:
        scores = scores.at[:, NULL_CANDIDATE].set(NEVER)
    joint, segments, _ = features.join(query, passages, config.data.joint_length)
    rows = (joint.reshape(b * k, -1), segments.reshape(b * k, -1), jnp.repeat(positions, k, axis=0))
    return scores, models.read(params["reader"], *rows, keys[2])


def _live_scores(config: Config, models: Models, embedder: Params, query, passages, null_row, keys) -> jax.Array:
    b, k, _ = passages.shape
    # The null passage is the same for every query: embedded once, on each device, which have as many rows each then.
    nulls = shards_in_use()
    null_rows = jnp.broadcast_to(jnp.asarray(null_row)[None], (nulls, len(null_row)))
    rows = jnp.concatenate([null_rows, passages[:, 1:].reshape(b * (k - 1), -1)])
    vectors = models.embed_passages(embedder, rows, keys[0])
    null = jnp.broadcast_to(vectors[:1], (b, 1, vectors.shape[-1]))
    vectors = jnp.concatenate([null, vectors[nulls:].reshape(b, k - 1, -1)], axis=1)
    return objectives.scores(models.embed(embedder, query, keys[1]), vectors, config.pretrain.score_scale)


def pretrain_task(run: OpenRun) -> Task:
    config, stage = run.config, run.workdir.stage("pretrain")
    drawn = config.pretrain.batch_size * config.pretrain.oversample
    if config.index.delay is None and jax.process_count() > 1:
        raise UserError(
            "index.swap_after: 0 swaps as soon as a snapshot is there, which several processes would see at different "
            "steps; it must be at least 1"
        )
    masked, part = run.masked_queries("train"), process_part(run.mesh)
    # Goes on where the warm-up ended, but for the few sentences that it passed over as they gave no query. From the
    # start it would draw the same sentences with the same words hidden, which that reader has been shown with their
    # answers: null passages would tell them, and retrieval would seem worth less.
    batches = masked.batches(drawn, config.seed, part, skip=config.warm_up.steps * config.warm_up.batch_size)
    salience = LearnedSalience(config.masking, masked.kinds) if config.masking.choice.learns else None
    # What retrieval gathers for the host each process has for itself; what stays on the devices they share.
    on_devices, store = config.index.store == "device", run.store
    mesh = run.mesh if on_devices else local_mesh()
    require_room(config, run.models.model.vector_size, store, mesh)
    follower = SnapshotFollower(stage, config.index, snapshot_every(config), store.fingerprint, mesh)
    device_store = DeviceStore(store.tokens, mesh) if on_devices else None

    models = run.models

    def refresh(step: int, embedder: Params) -> None:
        """Makes the snapshot that is searched from checkpoint `step` on, if it is not there: one that was deleted,
        too."""
        if config.index.refresh != "inline":
            return
        due = scheduled(step, snapshot_every(config), config.index.delay)
        if due in snapshots.list_steps(stage.snapshots):
            return
        if due == step or not config.pretrain.embedder_rate:
            params = whole(embedder)
        else:
            try:
                params = checkpoints.restore_part(stage.checkpoints, due, "embedder", models.shapes("embedder"))
            except FileNotFoundError:
                return  # the follower says so, unless it has that snapshot in use
        build_one(run, due, params)

    return Pretrain(
        config,
        models,
        Retrieval(follower, store, device_store, mesh, refresh),
        batches=batches,
        start=start_of_pretraining(run),
        probe=_recall_probe(run),
        salience=salience,
        part=part[0],
    )


def require_room(config: Config, vector_size: int, store: PassageStore, mesh: Mesh) -> None:
    """Refuses an index, or a store on the devices, that does not fit there, before anything is made.

    Raises:
      UserError: it does not fit.
    """
    if not INDEXES[config.index.kind].on_devices:
        return
    size = placement.bytes_per_device(store.num_passages, vector_size, config.index.dtype, mesh)
    tables = {"vectors": size, "the next snapshot's": size}  # loaded while the last one is in use
    if config.index.store == "device":
        tables["tokens"] = placement.bytes_per_device(*store.tokens.shape, store.tokens.dtype, mesh)
    placement.require_room(store.num_passages, tables, mesh)


def _recall_probe(run: OpenRun) -> Callable[[Params], Metrics]:
    """Held-out masked spans and dev questions, of which there are any; nothing where the experiment wants no probe."""
    config, masking, sets = run.config, masked_queries.salient(run.config.masking), {}
    if not (config.pretrain.steps and config.pretrain.probe_queries):
        return lambda params: {}
    if can_be_masked(run.data, "heldout", masking):
        spans = run.masked_queries("heldout", masking).fixed(config.pretrain.probe_queries, config.seed)
        sets["span"] = (spans.query, [rows[rows >= 0] for rows in spans.holders], spans.origin)
    for suffix, dev in run.dev_sets().items():
        found, holders = probe_questions(run.labels(dev), dev, run.store, PROBE_QUESTIONS, config.seed)
        if len(found):
            sets[f"question{suffix}"] = (found, holders, np.full(len(found), -1))
    if not sets:
        print("pretrain: nothing held out to probe recall with, so its last checkpoint is its result", flush=True)
        return lambda params: {}
    return RecallProbe(
        sets,
        run.store,
        config.pretrain.probe_passages,
        config.seed,
        config.index.rows_per_batch,
        run.models.embed_with,
        functools.partial(run.models.embed_with, by=run.models.embed),
    )
