"""Submits runs of a sweep to SLURM."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from realm_jax.errors import UserError
from realm_jax.locks import owner
from realm_jax.runtime.grid import Run
from realm_jax.workdir import read_json, write_json

SQUEUE_S = 60.0


def submit(runs: Sequence[Run], command: Callable[[Run], str], folder: Path, parameters: Mapping[str, str]) -> None:
    """Submits each run as a job of its own, and says at once which; but none that is running or has a job in the queue.

    Args:
      command: a run as a line for a shell.
      folder: where submitit keeps its files; on the file system that all nodes share, as the sweep is.
      parameters: of submitit's executor.

    Raises:
      UserError: submitit or SLURM is not there, a parameter is none, or SLURM refuses a job; those submitted stay.
    """
    executor = _executor(folder, parameters)
    from submitit.core.utils import FailedJobError, FailedSubmissionError
    from submitit.helpers import CommandFunction

    jobs = {
        run: read_json(run.workdir.slurm_job, job=str | int)["job"] for run in runs if run.workdir.slurm_job.exists()
    }
    queued = _queued(set(jobs.values())) if jobs else set()
    submitted = 0
    for run in runs:
        record = run.workdir.slurm_job
        if jobs.get(run) in queued:
            print(f"{run}: left out, job {jobs[run]} waits or runs; if it does not, delete {record}", flush=True)
            continue
        if owner(run.workdir.root, "run") is not None:
            print(f"{run}: left out, it is running, log in {run.workdir.log}", flush=True)
            continue
        try:
            job = executor.submit(CommandFunction(["bash", "-c", command(run)])).job_id
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise UserError(
                f"--cluster slurm: no job for {run}: {str(error) or error.__cause__}\n{submitted} submitted before it "
                "stay. Mend what the message names (--cluster_options, if it is one of them) and give the same command "
                "again: it submits the rest."
            ) from None
        write_json(record, {"job": job})
        submitted += 1
        print(f"{run}: job {job}, log in {run.workdir.log}", flush=True)


def _executor(folder: Path, parameters: Mapping[str, str]) -> Any:
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
    return executor


def _queued(jobs: set[str]) -> set[str]:
    """Those that SLURM has pending or running; all, with a warning, where it does not tell.

    Asked of squeue, not of submitit's job states: these come from SLURM's accounting, which not every cluster keeps.
    """
    try:
        asked = subprocess.run(
            ["squeue", "--noheader", "--format=%A"], capture_output=True, text=True, check=True, timeout=SQUEUE_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        print(f"sweep: warning: squeue does not tell which jobs wait or run ({reason})", file=sys.stderr)
        return jobs
    return jobs & set(asked.stdout.split())
