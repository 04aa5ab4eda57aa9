"""The classifier of the tagger `ner`: a label for every word of a sentence (Devlin et al. 2019, section 5.3)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from realm_jax import objectives
from realm_jax.models import TokenClassifier
from realm_jax.tagging.labelled import UNCOUNTED, TaggerBatch
from realm_jax.training.mesh import whole
from realm_jax.training.task import Metrics, Outputs, Params, Task


class Tagger(Task):
    """Cross-entropy of the labels; a word's label is that of its first wordpiece."""

    def __init__(
        self,
        module: TokenClassifier,
        batches: Any,
        start: Callable[[jax.Array], Params],
        probe: Callable[[Params], Metrics],
    ):
        super().__init__(start, batches)
        self._module, self._probe = module, probe

    def outputs(self, params: Params, batch: TaggerBatch, key: jax.Array) -> Outputs:
        tokens, targets = batch.tokens, batch.targets
        logits = self._module.apply(
            {"params": params["tagger"]}, tokens, jnp.zeros_like(tokens), deterministic=False, rngs={"dropout": key}
        )
        log_p_y = objectives.target_log_probs(logits, jnp.maximum(targets, 0))
        return {"log_p_y": log_p_y, "right": logits.argmax(-1) == targets}

    def objective(
        self, batch: TaggerBatch, log_p_y: Float[Array, "B T"], right: Bool[Array, "B T"]
    ) -> tuple[jax.Array, Metrics]:
        weights = (batch.targets != UNCOUNTED).astype(jnp.float32)
        accuracy = (right * weights).sum() / weights.sum().clip(1)
        return -objectives.masked_mean(log_p_y, weights), {"tagger/token_accuracy": accuracy}

    def probe(self, step: int, params: Params) -> Metrics:
        return self._probe(whole(params["tagger"]))
