"""The record of a launch, on this machine and in the bucket: enough to look after it from another machine."""

import argparse
import dataclasses
import json
import os
import re
import shlex
import sys
import tempfile
import time
from pathlib import Path

from realm_jax.errors import BadJson, UserError, from_json
from tpu.gcloud import Gcloud, Refused
from tpu.slices import Slice


@dataclasses.dataclass(frozen=True)
class Launch:
    """A launch."""

    name: str
    workdir: str
    """gs://BUCKET/NAME."""
    commit: str
    config: str
    """The experiment file, within the source."""
    options: list[str]
    max_hours: float
    deadline: int
    """Seconds since 1970; 0 before the first start."""
    slices: list[Slice]
    """Trainer, and perhaps builder."""

    @property
    def folder(self) -> str:
        return f"{self.workdir}/launch"

    @property
    def source(self) -> str:
        return f"{self.folder}/{self.commit}.tar.gz"

    def arguments(self, one: Slice) -> list[str]:
        """Of `realm` on a slice."""
        if len(self.slices) == 2:
            extra = ["--builder", "elsewhere" if one == self.slices[0] else "only"]
        else:  # a TPU serves one process
            names = {option.partition("=")[0] for option in self.options}
            given = names & {"--index.refresh", "--index.mesh.platform"}
            extra = [] if given else ["--index.refresh", "inline"]
        return ["run", self.config, *extra, *self.options]

    def variables(self, one: Slice) -> dict[str, str]:
        """Of start.sh."""
        return {
            "SOURCE": self.source,
            "WORKDIR": self.workdir,
            "ARGUMENTS": shlex.join(self.arguments(one)),
            "DEADLINE": str(self.deadline),
        }

    def until(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(self.deadline))


def check_bucket(bucket: str) -> None:
    if not re.fullmatch(r"gs://[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9](/[^\s#?*\[\]]*)?", bucket):
        raise UserError(f"--bucket {bucket}: must be gs://BUCKET, a name of lower-case letters, digits, - _ and .")


def path_of(name: str) -> Path:
    """This machine's record."""
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return state / "realm_tpu" / f"{name}.json"


def keep(launch: Launch, gcloud: Gcloud) -> None:
    """Records the launch here and in the bucket."""
    if gcloud.dry_run:
        return
    path = path_of(launch.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(launch), encoding="utf-8")
    gcloud("storage", "cp", str(path), _place(launch))


def current(launch: Launch, gcloud: Gcloud) -> Launch:
    """The launch as the bucket has it: a `resume`, perhaps on another machine, has given it another deadline."""
    try:
        return read(gcloud("storage", "cat", _place(launch), pretend=_text(launch)), _place(launch))
    except Refused as error:
        if error.is_gone:
            return launch
        raise


def find(arguments: argparse.Namespace, gcloud: Gcloud) -> Launch:
    """The record of a launch; if the bucket cannot be read, this machine's last copy of it."""
    path, name = path_of(arguments.name), arguments.name
    if arguments.bucket:
        check_bucket(arguments.bucket)
    if path.exists():
        found = read(path.read_text(encoding="utf-8"), str(path))
        if arguments.bucket and found.workdir != (asked := f"{arguments.bucket.rstrip('/')}/{name}"):
            raise UserError(
                f"--bucket {arguments.bucket}: {name} of this machine is {found.workdir}, not {asked}; leave --bucket "
                f"out, or move {path} away"
            )
        try:
            return current(found, gcloud)
        except Refused as error:
            print(f"warning: {name}: what this machine knows of it may be old: {error}", file=sys.stderr)
            return found
    if not arguments.bucket:
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.json"))) or "none"
        raise UserError(
            f"{name}: no such launch on this machine (known: {known}); name its bucket if it was begun on another: "
            f"`python -m tpu.launch {arguments.command} {name} --bucket gs://BUCKET`"
        )
    where = f"{arguments.bucket.rstrip('/')}/{name}/launch/launch.json"
    try:
        # Reading changes nothing and costs nothing, so a dry run does it too.
        return read(Gcloud()("storage", "cat", where), where)
    except Refused as error:
        if error.is_gone:
            raise UserError(f"--bucket {arguments.bucket}: no launch {name} there ({where} is not there)") from None
        raise


def read(text: str, where: str) -> Launch:
    """The launch that a record tells of; `where` it stands is for the message if it does not."""
    try:
        values = from_json(text)
        return Launch(**{**values, "slices": [Slice(**one) for one in values["slices"]]})
    except (BadJson, TypeError, KeyError) as error:
        raise UserError(
            f"{where}: not the record of a launch ({error}); delete it, and look for slices with "
            "`gcloud compute tpus tpu-vm list --zone=ZONE`"
        ) from None


def ended(launch: Launch, one: Slice, gcloud: Gcloud) -> int | None:
    """The exit code with which a job ended since its last start; None where it did not."""
    try:
        return int(gcloud("storage", "cat", _end_of(launch, one), pretend="0"))
    except Refused as error:
        if error.is_gone:
            return None
        raise


def end_for_watchers(launch: Launch, gcloud: Gcloud) -> None:
    """Else a watcher, perhaps on another machine, would make deleted slices again."""
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "ended"
        code.write_text("143\n", encoding="utf-8")
        for one in launch.slices:
            try:
                if gcloud.dry_run or ended(launch, one, gcloud) is None:
                    gcloud("storage", "cp", str(code), _end_of(launch, one))
            except Refused as error:
                print(f"warning: a watcher of {launch.name} must be ended by hand: {error}", file=sys.stderr)


def _place(launch: Launch) -> str:
    return f"{launch.folder}/launch.json"


def _text(launch: Launch) -> str:
    return json.dumps(dataclasses.asdict(launch), indent=2) + "\n"


def _end_of(launch: Launch, one: Slice) -> str:
    return f"{launch.folder}/{one.job}-{launch.deadline}.ended"
