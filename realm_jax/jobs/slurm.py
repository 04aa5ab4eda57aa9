"""Submits runs of a sweep to SLURM."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from realm_jax.errors import UserError


def submit(commands: Sequence[str], folder: Path, parameters: Mapping[str, str]) -> list[str]:
    """Submits each shell command as a job of its own.

    Args:
      folder: where submitit keeps its files; on the file system that all nodes share, as the sweep is.
      parameters: of submitit's executor.

    Returns:
      the jobs' numbers.

    Raises:
      UserError: submitit or SLURM is not there, or a parameter is none.
    """
    try:
        import submitit
    except ImportError as error:
        raise UserError(
            f"--cluster slurm: needs submitit, which is not installed ({error}): run `pip install 'realm_jax[slurm]'`"
        ) from None
    given = {name: int(value) if value.isdigit() else value for name, value in parameters.items()}
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
    except RuntimeError as error:
        raise UserError(f"--cluster slurm: {error}; submit on a machine that has SLURM's commands") from None
    try:
        executor.update_parameters(**given)
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise UserError(f"--cluster_options: {error}") from None
    with_shell = [["bash", "-c", command] for command in commands]
    return [executor.submit(submitit.helpers.CommandFunction(command)).job_id for command in with_shell]
