"""The toy experiment, tiny random models, and the passages' vectors."""

import jax
import numpy as np
import pytest

from realm_jax.training.results import start_of_pretraining
from tests.training.tasks.losses import B, K


@pytest.fixture(scope="session")
def experiment(world, tmp_path_factory):
    return world.experiment(
        tmp_path_factory.mktemp("tasks"), pretrain={"candidates": K, "batch_size": B}, ict={"batch_size": 5}
    )


@pytest.fixture(scope="session")
def params(experiment):
    """Embedder, reader and span reader, with LayerNorms that differ from one and biases that differ from zero."""
    params = start_of_pretraining(experiment)(jax.random.key(1))
    params["span_reader"] = experiment.models.span_reader(jax.random.key(2), params["reader"])
    draw = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: leaf + 0.1 * draw.normal(size=leaf.shape).astype(np.float32), params)


@pytest.fixture(scope="session")
def vectors(experiment, params):
    return np.asarray(experiment.models.embed(params["embedder"], experiment.store.rows(slice(None))))


@pytest.fixture(scope="session")
def questions(experiment):
    return experiment.questions("train")
