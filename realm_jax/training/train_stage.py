"""One stage of training, from its row of `stages.STAGES`."""

from realm_jax.config import Config
from realm_jax.stages import STAGES
from realm_jax.training import loop
from realm_jax.training.distributed import is_first
from realm_jax.training.mesh import check_batch
from realm_jax.training.open_run import OpenRun
from realm_jax.training.room import require_room
from realm_jax.training.task import Task
from realm_jax.workdir import Workdir


def task_of(name: str, run: OpenRun) -> Task:
    """Raises UserError if the start of the stage is not there; the message names the job that makes it."""
    return STAGES[name].task.load()(run)


def train_stage(name: str, config: Config, workdir: Workdir) -> None:
    """Runs one stage to its end, or goes on with it.

    Raises:
      UserError: the start of the stage is not there.
    """
    stage, settings, run = STAGES[name], getattr(config, name), OpenRun(config, workdir)
    check_batch(run.mesh.shape["data"], run.mesh.shape["fsdp"], settings, name)
    require_room(config, name, run.models.bert, run.mesh)
    passages = run.store.fingerprint if stage.starts_from else ""
    loop.train(task_of(name, run), name, settings, workdir.stage(name), config.seed, run.mesh, passages)
    if stage.finish and is_first():
        stage.finish.load()(config, workdir)
