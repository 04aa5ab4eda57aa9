"""The file of a small sweep."""

import pytest

from realm_jax.runtime import grid
from tests.runtime.small_sweep import EXPERIMENT


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "POLL_S", 0.02)
    path = tmp_path / "small.py"
    path.write_text(EXPERIMENT.replace("SEEDS", "(0, 1)"))
    return path


@pytest.fixture
def one_seed(experiment):
    """For what two seeds would only do twice."""
    experiment.write_text(EXPERIMENT.replace("SEEDS", "(0,)"))
