"""Opens a run, or published weights, as a Model."""

from os import PathLike

from realm_jax.answering.model import Model
from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.remote import path_of
from realm_jax.runtime.settings_record import read_record
from realm_jax.training.mesh import require
from realm_jax.training.open_run import OpenRun
from realm_jax.workdir import Workdir


def load(source: str | PathLike) -> Model:
    """The model of a workdir.

    Args:
      source: a folder, or an address `gs://BUCKET/FOLDER`.

    Raises:
      UserError: there is no run, or its data are not prepared.
    """
    path = path_of(str(source))
    workdir = Workdir(path)
    if not path.is_dir():
        raise UserError(f"{source}: no such folder; name the workdir of a run, such as runs/factbook")
    record = read_record(workdir)
    if record is None:
        raise UserError(f"{source}: a folder without config.json is no run's workdir")
    workdir.check_imported()
    return open_model(record.config, workdir)


def open_model(config: Config, workdir: Workdir) -> Model:
    """Of a run whose settings are known."""
    require(config.mesh.platform)
    return Model(OpenRun(config, workdir))
