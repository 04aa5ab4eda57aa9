"""Reader warm-up: the reader learns to copy an answer out of a passage that holds it."""

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.text import features
from realm_jax.training import masked_queries
from realm_jax.training.jitted_models import Models
from realm_jax.training.masked_queries import MaskedBatch, ReadBatch
from realm_jax.training.mesh import process_part
from realm_jax.training.open_run import OpenRun
from realm_jax.training.results import fresh_reader
from realm_jax.training.task import Metrics, Outputs, Params, Stream, Task, rng

NEAR = 4


class WarmUp(Task):
    """Masked-LM on one given passage: the query's own, another that holds the answer, one that does not, or none.

    Without it, a reader that cannot use passages yet drives p(null) to 1, and retrieval gets no gradient.
    """

    retrieves_on_host = True

    def __init__(self, config: Config, models: Models, store: PassageStore, batches, start, part: int = 0):
        super().__init__(start, batches)
        self._config, self._models, self._store, self._part = config, models, store, part

    def retrieve(self, embedded: None, batch: MaskedBatch, step: int) -> tuple[ReadBatch, Metrics]:
        """Draws the passage that each query is read with; the share of own passages falls linearly."""
        stage = self._config.warm_up
        done = step / max(stage.steps - 1, 1)
        own = stage.own_passage_start + (stage.own_passage_end - stage.own_passage_start) * done
        draw = rng(self._config.seed, Stream.WARM_UP_PASSAGES, step, *([self._part] if self._part else []))
        rows = np.empty(len(batch.origin), np.int32)
        for i, (origin, holders) in enumerate(zip(batch.origin, batch.holders, strict=True)):
            others = holders[holders >= 0]
            kind = draw.random()
            if kind < stage.null_passage:
                rows[i] = self._store.null_id
            elif kind < stage.null_passage + stage.distractor:
                rows[i] = self._distractor(int(origin), others, draw)
            elif len(others) == 0 or draw.random() < own:
                rows[i] = origin
            else:
                rows[i] = draw.choice(others)
        return ReadBatch(**vars(batch), passages=self._store.rows(rows)[:, None]), {}

    def _distractor(self, origin: int, holders: np.ndarray, draw: np.random.Generator) -> int:
        """As often a near passage, which an article's next ones are, as any; the null passage where that one holds
        it."""
        count = self._store.num_passages
        near = origin + draw.integers(1, NEAR + 1) * draw.choice((-1, 1))
        row = int(near % count if draw.random() < 0.5 else draw.integers(count))
        return self._store.null_id if row == origin or row in holders else row

    def outputs(self, params: Params, batch: ReadBatch, key: jax.Array) -> Outputs:
        joint, segments, _ = features.join(batch.query, batch.passages, self._config.data.joint_length)
        logits = self._models.read(params["reader"], joint[:, 0], segments[:, 0], batch.mask_positions, key)
        targets = batch.mask_targets
        return {"log_p_y": objectives.target_log_probs(logits, targets), "right": logits.argmax(-1) == targets}

    def objective(
        self, batch: ReadBatch, log_p_y: Float[Array, "B M"], right: Bool[Array, "B M"]
    ) -> tuple[jax.Array, Metrics]:
        accuracy = (right * batch.mask_weights).sum() / batch.mask_weights.sum().clip(1)
        return -objectives.masked_mean(log_p_y, batch.mask_weights), {"reader/token_accuracy": accuracy}


def warm_up_task(run: OpenRun) -> Task:
    config, models = run.config, run.models
    part = process_part(run.mesh)
    masked = run.masked_queries("train", masked_queries.salient(config.masking))
    batches = masked.batches(config.warm_up.batch_size, config.seed, part)
    return WarmUp(config, models, run.store, batches, lambda key: {"reader": fresh_reader(run, key)}, part[0])
