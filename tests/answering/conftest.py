import pytest

from realm_jax.answering.opening import load
from tests.answering.finished import finish


@pytest.fixture(scope="session")
def experiment(world, tmp_path_factory):
    """A workdir with the results of pre-training and of fine-tuning; 4 passages are read."""
    return finish(world.experiment(tmp_path_factory.mktemp("asked"), evaluation={"read": 4, "batch_size": 6}))


@pytest.fixture(scope="session")
def model(experiment):
    return load(experiment.workdir.root)
