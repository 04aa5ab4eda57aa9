"""A server over a tiny run, in a thread of the test's process."""

import pytest

from realm_jax.answering.opening import load
from tests.answering.finished import finish
from tests.serving.client import Served

EVALUATION = {"read": 4, "batch_size": 4}
"""The same for all runs: their programs are compiled once."""


@pytest.fixture(scope="session")
def experiment(world, tmp_path_factory):
    """A workdir with the results of pre-training and of fine-tuning."""
    return finish(world.experiment(tmp_path_factory.mktemp("served"), evaluation=EVALUATION))


@pytest.fixture
def changing(world, tmp_path):
    """Such a run, whose results a test may change."""
    return finish(world.experiment(tmp_path, evaluation=EVALUATION))


@pytest.fixture(scope="session")
def model(experiment):
    return load(experiment.workdir.root)


@pytest.fixture(scope="session")
def served(model):
    """A server with the limits of every day."""
    with Served(model) as running:
        running.wait_until_warm()
        yield running
