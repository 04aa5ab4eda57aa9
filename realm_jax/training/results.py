"""What finished stages left, and what the parameters of later ones start from."""

from collections.abc import Callable

import jax

from realm_jax.config import Config
from realm_jax.training import checkpoints
from realm_jax.training.jitted_models import Models
from realm_jax.training.open_run import OpenRun
from realm_jax.training.task import Params
from realm_jax.workdir import IMPORTED, Workdir, read_json

Start = Callable[[jax.Array], Params]


def result_step(workdir: Workdir, name: str) -> int:
    """The checkpoint that a finished stage left for later ones.

    Raises:
      UserError: the stage is not finished.
    """
    return workdir.result(name)[1]


def restore_result(workdir: Workdir, name: str, part: str, models: Models, shapes: str = "") -> Params:
    """One part of the parameters that a finished stage left."""
    stage, step = workdir.result(name)
    if stage == workdir.stage(IMPORTED):
        part = shapes or part  # there, a reader and a span reader lie side by side
    return checkpoints.restore_part(stage.checkpoints, step, part, models.shapes(shapes or part))


def restore_imported(workdir: Workdir, part: str, models: Models) -> Params | None:
    """`embedder`, `reader` or `span_reader` as `import_weights` brought it; None where it did not."""
    imported = workdir.stage(IMPORTED)
    if not imported.done.exists() or part not in (found := read_json(imported.done))["parts"]:
        return None
    return checkpoints.restore_part(imported.checkpoints, found["step"], part, models.shapes(part))


def start_of_pretraining(run: OpenRun) -> Start:
    """Embedder of the ICT stage and reader of the warm-up; where a stage is left out, what that would start from."""
    return lambda key: {"embedder": start_embedder(run, key), "reader": start_reader(run, key)}


def start_embedder(run: OpenRun, key: jax.Array) -> Params:
    if not run.config.ict.steps:
        return fresh_embedder(run, key)
    return restore_result(run.workdir, "ict", "embedder", run.models)


def start_reader(run: OpenRun, key: jax.Array) -> Params:
    if not run.config.warm_up.steps:
        return fresh_reader(run, key)
    return restore_result(run.workdir, "warm_up", "reader", run.models)


def fresh_embedder(run: OpenRun, key: jax.Array) -> Params:
    """What was imported, or else a new one on the weights."""
    imported = restore_imported(run.workdir, "embedder", run.models)
    return imported or run.models.embedder(jax.random.fold_in(key, 0), run.sample_rows())


def fresh_reader(run: OpenRun, key: jax.Array) -> Params:
    """What was imported, or else a new one on the weights."""
    imported = restore_imported(run.workdir, "reader", run.models)
    return imported or run.models.reader(jax.random.fold_in(key, 1), run.sample_rows())


def finetuned_snapshot(config: Config, workdir: Workdir) -> int:
    """The checkpoint of pre-training whose passage vectors fine-tuning keeps."""
    result = result_step(workdir, "pretrain")
    return 0 if config.finetune.embedder == "start" else result
