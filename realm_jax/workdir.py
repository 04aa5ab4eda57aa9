"""Every directory, file and marker name that two jobs share, and how a folder is published whole or not at all."""

import contextlib
import dataclasses
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from realm_jax import disk, remote, stages
from realm_jax.errors import BadJson, UserError, from_json
from realm_jax.remote import AnyPath, is_remote, path_of

IMPORTED = "imported"
"""The result of `import_weights`; has checkpoints as a stage of training has."""
OF_SWEEP = ("runs", "stages", "jax_cache", "report", "slurm")
"""Folders in that of a sweep."""


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The layout of a run's folder."""

    root: AnyPath

    @property
    def config(self) -> AnyPath:
        return self.root / "config.json"

    @property
    def sources(self) -> AnyPath:
        """The sources given to `import_weights`: the workdir is tied to it."""
        return self.stage(IMPORTED).root / "sources.json"

    @property
    def evaluation(self) -> AnyPath:
        return self.root / "evaluation"

    @property
    def results(self) -> AnyPath:
        """The figures of `evaluate`."""
        return self.evaluation / "results.json"

    @property
    def unknown(self) -> AnyPath:
        """From which probability on `evaluate` found an answer worth giving."""
        return self.evaluation / "unknown.json"

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
        """The output of the run's jobs, if a sweep ran them."""
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
        """Whether the last job of `run` is done, and its figures are still there."""
        return (self.report / "index.html").exists() and self.results.exists()

    @property
    def failed_job(self) -> str:
        """The last failure of `run`, as it has recorded it; "" where it did not."""
        return read_usage(self.usage).get("failed", "")

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
            given = " ".join(read_json(self.sources, list))
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
        found = read_json(done, step=int)
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
        """The content of `done` before all but the metrics were removed."""
        return self.root / "forgotten.json"


@dataclasses.dataclass(frozen=True)
class SweepDir:
    """The layout of a sweep's folder: a workdir for each run, whose stages lie in folders that equal runs share."""

    root: AnyPath

    @property
    def manifest(self) -> AnyPath:
        """{"reference": ..., "variants": [...], "seeds": [...]}; settings are in the runs' workdirs."""
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
        """The stages that are made once for all runs that need them."""
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
        """Copies data kept elsewhere to local disk, once. Shards that were cut here stay, but not the note beside
        them that they have been assembled, and so do locks."""
        if self.origin is not None and self.done.exists():
            remote.copy_down(self.origin, self.root, keep=("shards/*.jsonl", ".*.lock"))

    def send(self) -> None:
        """Copies data prepared here to their place, unless they are there; shards of the source stay here.

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
    def shards(self) -> Path:
        """Cut parts of the source, files named by all that shapes them: of use to any settings."""
        return self.root / "shards"

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
        """Written last by `prepare`: the prepared parts, and their settings."""
        return self.root / "manifest.json"


USAGE = {
    "stages": dict[str, float],
    "date": str,
    "machine": str,
    "failed": str,
    "done": list[str],
    "time/minutes": float,
    "memory/peak_gib": float,
}
"""Types of what run.json may have."""


def read_usage(path: AnyPath) -> dict[str, Any]:
    """What `run` has recorded of itself; nothing where there is no file. Raises UserError for another record."""
    return read_known(path, USAGE)


def read_known(path: AnyPath, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An object that a job wrote as JSON, of whose fields those that it has are of these types; an empty one where
    there is no file. Raises UserError for another value."""
    found = read_json(path) if path.exists() else {}
    _check_fields(path, found, {name: kind for name, kind in fields.items() if name in found})
    return found


def write_json(path: AnyPath, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: AnyPath, text: str) -> None:
    """Writes a file whole or not at all."""
    if is_remote(path):
        path.write_text(text, encoding="utf-8")
        return
    with disk.written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: AnyPath, kind: type = dict, **fields: Any) -> Any:
    """The value that a job wrote as JSON.

    Args:
      fields: those that it must have, and their types (see `fits`).

    Raises:
      UserError: the file is no JSON, or its value is another one.
    """
    try:
        value = from_json(path.read_bytes())
    except BadJson as error:
        raise _damaged(path, str(error), error.line) from None
    if not isinstance(value, kind):
        raise _damaged(path, f"a {type(value).__name__}, where a {kind.__name__} is expected")
    _check_fields(path, value, fields)
    return value


def _check_fields(path: AnyPath, value: Any, fields: Mapping[str, Any]) -> None:
    """Raises UserError for a field that is missing, or of another type."""
    for name, expected in fields.items():
        if not fits(value.get(name), expected):
            raise _damaged(path, f"its {name!r} is {str(value.get(name))[:40]!r}")


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of a type: int, float (finite, or an int), `list[int]`, `tuple[int, float]` (a list of
    two), `dict[str, int]`, `str | None`, {name: type} of what an object may have, or [such] of a list of these."""
    inside = get_args(kind)
    if isinstance(kind, Mapping):
        return isinstance(value, dict) and all(fits(value[name], of) for name, of in kind.items() if name in value)
    if isinstance(kind, list):
        return isinstance(value, list) and all(fits(one, kind[0]) for one in value)
    if isinstance(kind, UnionType):
        return any(fits(value, one) for one in inside)
    if get_origin(kind) is list:
        return isinstance(value, list) and all(fits(one, inside[0]) for one in value)
    if get_origin(kind) is tuple:
        return isinstance(value, list) and len(value) == len(inside) and all(map(fits, value, inside))
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(fits(one, inside[1]) for one in value.values())
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _damaged(path: AnyPath, problem: str, line: int = 1) -> UserError:
    return UserError(f"{path}:{line}: damaged ({problem}); delete the file and run the job again")


@contextlib.contextmanager
def publish(target: AnyPath) -> Iterator[Path]:
    """Gives an empty folder to fill; on a clean exit it appears as `target` at once, in place of the old one, else
    nothing does.

    A folder left by a killed writer is swept by the next one. In an object store a file of
    `remote.LAST` makes it appear.
    """
    if not is_remote(target):
        with disk.written_folder(target) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="realm") as local:
        yield Path(local)
        remote.remove(target)
        remote.copy_up(Path(local), target)
