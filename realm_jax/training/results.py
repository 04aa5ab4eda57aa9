"""The results of finished stages, from which the parameters of later ones start."""

from collections.abc import Callable

import jax

from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.index.snapshots import FIRST_STEP
from realm_jax.training import checkpoints
from realm_jax.training.jitted_models import Models
from realm_jax.training.open_run import OpenRun
from realm_jax.training.task import Params
from realm_jax.workdir import IMPORTED, StageDir, Workdir, read_json

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
        if part not in (found := read_json(stage.done, parts=list[str])["parts"]):
            raise UserError(
                f"{stage.root}: no {part} was imported, only {', '.join(found)}; name a folder that has it as another "
                "--source of import_weights, in another --workdir"
            )
    return checkpoints.restore_part(stage.checkpoints, step, part, models.shapes(shapes or part))


def restore_imported(workdir: Workdir, part: str, models: Models) -> Params | None:
    """`embedder`, `reader` or `span_reader` as `import_weights` brought it; None where it did not."""
    imported = workdir.stage(IMPORTED)
    if not imported.done.exists() or part not in (found := read_json(imported.done, parts=list[str]))["parts"]:
        return None
    return checkpoints.restore_part(imported.checkpoints, found["step"], part, models.shapes(part))


def start_of_pretraining(run: OpenRun) -> Start:
    """Embedder of the ICT stage and reader of the warm-up; if a stage is left out, the start of that stage."""
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


def first_snapshot(config: Config, workdir: Workdir) -> tuple[StageDir, int]:
    """The stage and the checkpoint whose passage vectors fine-tuning begins with."""
    result = result_step(workdir, "pretrain")
    return workdir.stage("pretrain"), FIRST_STEP if config.finetune.embedder == "start" else result


def finetuned_snapshot(config: Config, workdir: Workdir) -> tuple[StageDir, int]:
    """The stage and the checkpoint whose passage vectors the fine-tuned retriever searches."""
    refreshed = config.finetune.refresh == "inline" and config.finetune.steps
    return workdir.result("finetune") if refreshed else first_snapshot(config, workdir)
