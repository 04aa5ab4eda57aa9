"""Every directory, file and marker name that two jobs share, and how a folder is published whole or not at all."""

import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from realm_jax import remote, stages
from realm_jax.errors import BadJson, UserError, from_json
from realm_jax.remote import AnyPath, is_remote, path_of

IMPORTED = "imported"
"""What `import_weights` brought; has checkpoints as a stage of training has."""
OF_SWEEP = ("runs", "stages", "jax_cache", "report", "slurm")
"""Folders in that of a sweep."""
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The layout of a run's folder."""

    root: AnyPath

    @property
    def config(self) -> AnyPath:
        return self.root / "config.json"

    @property
    def sources(self) -> AnyPath:
        """What `import_weights` was given: the workdir is tied to it."""
        return self.stage(IMPORTED).root / "sources.json"

    @property
    def evaluation(self) -> AnyPath:
        return self.root / "evaluation"

    @property
    def results(self) -> AnyPath:
        """What `evaluate` measured."""
        return self.evaluation / "results.json"

    @property
    def report(self) -> AnyPath:
        return self.root / "report"

    @property
    def usage(self) -> AnyPath:
        """Minutes, memory, seconds of each stage; jobs done since the last start; and which job failed, if one did when
        the run was last tried."""
        return self.root / "run.json"

    @property
    def log(self) -> AnyPath:
        """What the jobs of the run said, where a sweep ran them."""
        return self.root / "log.txt"

    @property
    def slurm_job(self) -> AnyPath:
        """{"job": number}: the last job by which a sweep submitted the run to SLURM."""
        return self.root / "slurm_job.json"

    @property
    def jax_cache(self) -> Path:
        """Compiled programs, on local disk."""
        return (remote.mirror(self.root) if is_remote(self.root) else self.root) / "jax_cache"

    @property
    def is_finished(self) -> bool:
        """Whether the last job of `run` is done, and what was measured is still there."""
        return (self.report / "index.html").exists() and self.results.exists()

    @property
    def failed_job(self) -> str:
        """What `run` last failed at, as it has recorded it; "" where it did not."""
        return read_json(self.usage).get("failed", "") if self.usage.exists() else ""

    def check_local(self, job: str) -> None:
        """Raises UserError where the workdir is in an object store."""
        if is_remote(self.root):
            raise UserError(
                f"{self.root}: {job} needs a workdir on this machine; run it in one, then copy that with "
                f"`gcloud storage rsync --recursive LOCAL {self.root}`"
            )

    def check_imported(self) -> None:
        """Raises UserError where an import was begun and is not finished: no job can go on from it."""
        if self.sources.exists() and not self.stage(IMPORTED).done.exists():
            given = " ".join(read_json(self.sources))
            raise UserError(
                f"{self.root}: the import of published weights has not been finished; run `realm import_weights "
                f"{self.root} --source {given}`"
            )

    def stage(self, name: str) -> "StageDir":
        if name not in (IMPORTED, *stages.STAGES):
            raise ValueError(f"stage {name!r} is none of {', '.join(stages.STAGES)}")
        return StageDir(self.root / name)

    def stage_of(self, job: str) -> "StageDir | None":
        """The stage in which a job works; None for a job that works in none."""
        name = stages.worked_in(job)
        return self.stage(name) if name else None

    def result(self, name: str) -> tuple["StageDir", int]:
        """The checkpoint that a finished stage left for later ones: the folder of the stage it lies in, and its step.

        Raises:
          UserError: the stage is not finished, or a sweep with `--keep figures` has removed it.
        """
        done = self.stage(name).done
        if not done.exists():
            if self.stage(name).forgotten.exists():
                raise UserError(
                    f"{done}: no longer there: a sweep with `--keep figures` has removed the parameters of this stage; "
                    f"`realm run {self.root}` trains them again"
                )
            raise UserError(f"{done}: not there yet; finish the job `{name}` in this workdir first")
        found = read_json(done)
        return self.stage(found.get("stage", name)), found["step"]

    def data(self, directory: str) -> "DataDir":
        """`directory` is the experiment's data.directory; empty means a folder of this workdir."""
        root = path_of(directory) if directory else self.root / "data"
        return DataDir(remote.mirror(root), root) if is_remote(root) else DataDir(root)


@dataclasses.dataclass(frozen=True)
class StageDir:
    """One stage of training."""

    root: AnyPath

    @property
    def checkpoints(self) -> AnyPath:
        return self.root / "checkpoints"

    @property
    def snapshots(self) -> AnyPath:
        return self.root / "snapshots"

    @property
    def metrics(self) -> AnyPath:
        return self.root / "metrics.jsonl"

    @property
    def tensorboard(self) -> AnyPath:
        return self.root / "tensorboard"

    @property
    def done(self) -> AnyPath:
        """Written last by the stage's trainer: {"step": the checkpoint to go on from, "last_step": ..., "reason":
        ...}; and "stage", where the checkpoint lies in that of another stage."""
        return self.root / "done.json"

    @property
    def forgotten(self) -> AnyPath:
        """What `done` was before all but the metrics were removed."""
        return self.root / "forgotten.json"


@dataclasses.dataclass(frozen=True)
class SweepDir:
    """The layout of a sweep's folder: a workdir for each run, whose stages lie in folders that equal runs share."""

    root: AnyPath

    @property
    def manifest(self) -> AnyPath:
        """{"reference": ..., "variants": [...], "seeds": [...]}; settings stand in the runs' workdirs."""
        return self.root / "sweep.json"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def jax_cache(self) -> Path:
        return self.root / "jax_cache"

    def check_local(self) -> None:
        """Raises UserError for an address, of which a Path has one slash alone."""
        if ":/" in str(self.root):
            address = str(self.root).replace(":/", "://", 1)
            raise UserError(f"{address}: a sweep, its file and its folder must be on a file system of this machine")

    def run(self, variant: str, seed: int) -> Workdir:
        return Workdir(self.root / "runs" / variant / str(seed))

    def shared(self, stage: str, key: str) -> Path:
        """What is made once for all runs that need the same."""
        return self.root / "stages" / stage / key


@dataclasses.dataclass(frozen=True)
class DataDir:
    """Prepared data, which are read from local disk."""

    root: Path
    origin: AnyPath | None = None
    """Where they are kept for all machines, in an object store."""

    @property
    def done(self) -> AnyPath:
        """The manifest that counts for all machines."""
        return (self.origin or self.root) / "manifest.json"

    def fetch(self) -> None:
        """Copies what is kept elsewhere to local disk, once. Shards that were cut here stay, but not the note beside
        them that they have been assembled, and so do locks."""
        if self.origin is not None and self.done.exists():
            remote.copy_down(self.origin, self.root, keep=("shards/*.jsonl", ".*.lock"))

    def send(self) -> None:
        """Copies what was prepared here to where it is kept, unless it is there; shards of the source stay here.

        The manifest gets a digest of all that is sent, so that other machines see that question sets have changed.
        """
        if self.origin is None:
            return
        content = remote.digest(self.root, leave_out=("shards",))
        write_json(self.manifest, read_json(self.manifest) | {"content": content})
        if self.done.exists() and self.done.read_bytes() == self.manifest.read_bytes():
            return
        self.done.unlink(missing_ok=True)  # who finds what was sent in part must not take it for whole
        remote.copy_up(self.root, self.origin, leave_out=("shards",))

    @property
    def tfds(self) -> AnyPath:
        """TFDS's data_dir: passages, queries and questions, in ArrayRecord."""
        return self.root / "tfds"

    @property
    def store(self) -> AnyPath:
        """The passage store."""
        return self.root / "store"

    @property
    def manifest(self) -> AnyPath:
        """Written last by `prepare`: what was prepared, from which settings."""
        return self.root / "manifest.json"


def write_json(path: AnyPath, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: AnyPath, text: str) -> None:
    """Writes a file whole or not at all."""
    if is_remote(path):
        path.write_text(text, encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of other machines may write it too, under the same process number.
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: AnyPath) -> Any:
    """Raises UserError where the file is no JSON."""
    try:
        return from_json(path.read_bytes())
    except BadJson as error:
        raise UserError(f"{path}:{error.line}: {error}; delete the file and run the job again") from None


@contextlib.contextmanager
def publish(target: AnyPath) -> Iterator[Path]:
    """Gives an empty folder to fill; on a clean exit it appears as `target` at once, in place of what was there, else
    nothing does.

    A folder left by a killed writer is swept by the next one. In an object store a file of
    `remote.LAST` makes it appear.
    """
    if is_remote(target):
        with tempfile.TemporaryDirectory(prefix="realm") as local:
            yield Path(local)
            remote.remove(target)
            remote.copy_up(Path(local), target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, before = target.with_name(f".{target.name}.tmp"), target.with_name(f".{target.name}.before.tmp")
    for leftover in (temporary, before):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            os.rename(target, before)
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if target.exists():
            shutil.rmtree(before, ignore_errors=True)


@contextlib.contextmanager
def sole_owner(folder: AnyPath, job: str, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds `folder` for one process of `job`; the kernel lets go when the process ends, however it ends.

    Args:
      wait: is told once that another process holds it, whose end is then waited for.

    Raises:
      UserError: another process holds it, and nobody waits; or it is no folder that can be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder") from None
    path = folder / f".{job}.lock"
    if is_remote(folder):
        lease = remote.Lease(path)
        if (holder := lease.holder()) is not None:
            raise UserError(
                f"{folder}: {job} is already running there (process {holder}); stop it first, or wait "
                f"{remote.LEASE_S:.0f} s if it was killed"
            )
        lease.hold()
        try:
            yield
        finally:
            lease.release()
        return
    with open(path, "a+", encoding="utf-8") as file:
        for tries in itertools.count(1):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05 if tries <= 10 else 0.5)
            if tries == 10:  # `owner` holds the lock for an instant
                file.seek(0)
                holder = file.read().strip()
                if wait is None:
                    raise UserError(f"{folder}: {job} is already running there (process {holder}); stop it first")
                wait(f"{folder}: waiting for process {holder}, which is at work there")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def wait_for(
    poll: Callable[[], T | None],
    what: str,
    *,
    stop_after_s: float,
    warn_after_s: float | None = None,
    warn: Callable[[str], None] = print,
    hint: Callable[[], str] = str,
    got_on: Callable[[], bool] = bool,
) -> T:
    """Calls `poll` until it returns something.

    Raises:
      UserError: for `stop_after_s` seconds nothing came, nor did those `got_on` who are waited for.
    """
    start = time.monotonic()
    while (result := poll()) is None:
        waited = time.monotonic() - start
        if waited > stop_after_s and not got_on():
            raise UserError(f"waited {waited:.0f} s for {what}, in vain. {hint()}".rstrip())
        start = start if waited <= stop_after_s else time.monotonic()
        if warn_after_s is not None and waited > warn_after_s:
            warn(f"warning: waiting for {what} since {waited:.0f} s. {hint()}".rstrip())
            warn_after_s = None
        time.sleep(0.2)
    return result


def owner(folder: AnyPath, job: str) -> int | None:
    """Process that holds `folder` for `job` right now, or None."""
    if is_remote(folder):
        return remote.Lease(folder / f".{job}.lock").holder()
    try:
        with open(folder / f".{job}.lock", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0)
    except FileNotFoundError:
        pass
    return None
