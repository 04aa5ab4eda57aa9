"""REALM pre-training: retrieve, read, marginalise over the candidates (Guu et al. 2020, section 3)."""

import jax
import jax.numpy as jnp
import numpy as np

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.index.candidates import search_candidates
from realm_jax.text import features
from realm_jax.training.follow import SnapshotFollower
from realm_jax.training.models import Models
from realm_jax.training.task import Batch, Metrics, Params, Task


class Pretrain(Task):
    """Embedder and reader learn together from masked queries; the index follows the embedder at a distance."""

    def __init__(
        self, config: Config, models: Models, store: PassageStore, batches, follower: SnapshotFollower, start, probe
    ):
        super().__init__(start, batches)
        self._config, self._models, self._store = config, models, store
        self._follower, self._probe = follower, probe
        self._null_row = store.rows(np.int32(store.null_id))

    def embed(self, params: Params, batch: Batch) -> jax.Array:
        return self._models.embed(params["embedder"], batch["query"])

    def retrieve(self, embedded: jax.Array, batch: Batch, step: int) -> tuple[Batch, Metrics]:
        """The best candidates for each query, its origin left out."""
        snapshot = self._follower.at(step)
        candidates = search_candidates(
            snapshot.index, embedded, batch["origin"][:, None], self._config.pretrain.candidates, self._store.null_id
        )
        hits = (candidates[:, 1:, None] == batch["holders"][:, None, :]).any((1, 2))
        chosen = np.argsort(~hits, kind="stable")[: self._config.pretrain.batch_size]
        batch, candidates = {key: value[chosen] for key, value in batch.items()}, candidates[chosen]
        metrics = {
            "index/staleness_steps": step - snapshot.step,
            "index/snapshot": snapshot.step,
            "retrieval/hits": hits.mean(),
            "time/index_wait_s": self._follower.waited_s,
        }
        return {**batch, "passages": self._store.rows(candidates)}, metrics

    def loss(self, params: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        scores, log_p_y = read_candidates(self._config, self._models, params, batch, self._null_row, key)
        log_p_z = objectives.retrieval_log_probs(scores)
        spans = batch["mask_spans"] if self._config.pretrain.marginalize == "span" else None
        parts = (log_p_z, log_p_y, batch["mask_weights"], spans)
        return objectives.marginal_loss(*parts), {
            "retrieval/utility": objectives.retrieval_utility(*parts),
            "retrieval/p_null": jnp.exp(log_p_z[:, 0]).mean(),
            "retrieval/p_best": jnp.exp(log_p_z[:, 1:]).max(1).mean(),
        }

    def probe(self, params: Params) -> Metrics:
        return self._probe(params["embedder"])

    def close(self) -> None:
        self._follower.close()


def read_candidates(
    config: Config,
    models: Models,
    params: Params,
    batch: Batch,
    null_row: np.ndarray | jax.Array,
    key: jax.Array | None,
):
    """Scores f(x, z) [B,K] with live parameters and log p(y|z,x) [B,K,M] of the candidates in `batch`.

    Dropout is off where `key` is None.
    """
    query, passages, positions = batch["query"], batch["passages"], batch["mask_positions"]
    (b, k, _), m = passages.shape, positions.shape[1]
    keys = jax.random.split(key, 3) if key is not None else (None,) * 3
    # The null passage is the same for every query: embedded once.
    rows = jnp.concatenate([null_row[None], passages[:, 1:].reshape(b * (k - 1), -1)])
    vectors = models.embed(params["embedder"], rows, keys[0])
    null = jnp.broadcast_to(vectors[:1], (b, 1, vectors.shape[-1]))
    vectors = jnp.concatenate([null, vectors[1:].reshape(b, k - 1, -1)], axis=1)
    scores = objectives.scores(models.embed(params["embedder"], query, keys[1]), vectors, config.pretrain.score_scale)
    joint, segments, _ = features.join(query, passages, config.data.joint_length)
    logits = models.read(
        params["reader"],
        joint.reshape(b * k, -1),
        segments.reshape(b * k, -1),
        jnp.repeat(positions, k, axis=0),
        keys[2],
    )
    targets = jnp.repeat(batch["mask_targets"], k, axis=0)
    return scores, objectives.target_log_probs(logits, targets).reshape(b, k, m)
