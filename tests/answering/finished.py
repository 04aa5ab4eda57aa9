"""A run whose stages are done, with parameters of chance: what can be asked."""

import jax
import numpy as np

from realm_jax.runtime.settings_record import settle
from realm_jax.training.checkpoints import CheckpointWriter, State
from realm_jax.training.index_builder import build_one
from realm_jax.training.results import start_of_pretraining
from realm_jax.workdir import write_json

STEP = 2
"""The result of pre-training."""


def finish(experiment):
    """Pre-training and fine-tuning, with indexes of the embedder before and after pre-training."""
    params = start_of_pretraining(experiment)(jax.random.key(experiment.config.seed))
    build_one(experiment, 0, params["embedder"])
    draw = np.random.default_rng(3)
    params = jax.tree.map(lambda leaf: leaf + 0.5 * draw.normal(size=leaf.shape).astype(np.float32), params)
    save(experiment, "pretrain", params, STEP)
    build_one(experiment, STEP, params["embedder"])
    params["reader"] = experiment.models.span_reader(jax.random.key(2), params["reader"])
    save(experiment, "finetune", params)
    settle(None, experiment.config, experiment.config, experiment.workdir)
    return experiment


def save(experiment, stage, params, step=0):
    """The result of a stage."""
    folder = experiment.workdir.stage(stage)
    writer = CheckpointWriter(folder.checkpoints, 2)
    writer.save(step, State(params, {"mean": np.zeros(1)}), {"data": {}}, None)
    writer.wait()
    writer.close()
    write_json(folder.done, {"step": step, "last_step": step, "reason": "test"})
