"""Runs an experiment on Cloud TPU VMs: a slice for the trainer and, if asked, another for the index builder.

    python -m tpu.launch experiments/factbook.py --name mine --type v5e-8 --zone us-west4-a --bucket gs://BUCKET
    python -m tpu.launch status | logs | ssh | stop | resume | watch | delete  NAME

Options after `--` go to the experiment: `-- --seed 1 --pretrain.steps 200`. docs/tpu.md has the whole story. It needs
the gcloud CLI and Python's standard library, and nothing else.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from realm_jax.errors import UserError
from tpu import source
from tpu.gcloud import Gcloud, Refused
from tpu.slices import LOST, Slice
from tpu.types import slice_type

COMMANDS = ("start", "status", "logs", "ssh", "stop", "resume", "watch", "delete")
WATCH_S = 60.0
GIB_COST = "each GB that leaves a region costs money, and every read waits for it"


@dataclasses.dataclass(frozen=True)
class Launch:
    """What was launched: enough to look after it from another machine. Kept here and in the bucket."""

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
            given = any(option.startswith(("--index.refresh", "--index.mesh.platform")) for option in self.options)
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


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] not in (*COMMANDS, "-h", "--help"):
        argv.insert(0, "start")
    cut = argv.index("--") if "--" in argv else len(argv)
    arguments, unknown = _parser().parse_known_args(argv[:cut])
    arguments.rest = argv[cut + 1 :]
    try:
        if unknown:
            raise UserError(f"{' '.join(unknown)}: no option of the launcher; those of the experiment go after `--`")
        if arguments.rest and arguments.command not in ("start", "ssh"):
            raise UserError(f"--: {arguments.command} takes no options of an experiment; they belong to the start")
        return arguments.run(arguments, Gcloud(getattr(arguments, "dry_run", False))) or 0
    except UserError as error:
        print(f"tpu.launch: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tpu.launch: stopped; what runs on the slices goes on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tpu.launch", description=__doc__, formatter_class=_Plain)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, words, launched=True):
        one = commands.add_parser(name, help=words, description=words, allow_abbrev=False)
        one.set_defaults(run=run)
        one.add_argument("--dry-run", action="store_true", help="print every command, and run none")
        if launched:
            one.add_argument("name", metavar="NAME", help="of the launch")
            one.add_argument("--bucket", help="gs://BUCKET of a launch that was begun on another machine")
        return one

    def on_one_slice(one, worker, words):
        one.add_argument("--builder", action="store_true", help="the builder's slice, not the trainer's")
        one.add_argument("--worker", default=worker, help=words)

    one = command(
        "start", start, "create slices, and start the experiment on them (the word `start` may be left out)", False
    )
    one.add_argument("config", metavar="CONFIG", help="experiment file, committed")
    one.add_argument("--name", required=True, help="of the launch; its workdir is gs://BUCKET/NAME")
    one.add_argument("--bucket", required=True, help="gs://BUCKET or a folder there")
    one.add_argument("--zone", required=True, help="such as us-west4-a")
    one.add_argument("--type", help="of the trainer's slice, such as v5e-8, v5litepod-16, v6e-8")
    one.add_argument(
        "--builder-type", help="a second slice, for build_index; without it the trainer embeds the passages"
    )
    one.add_argument("--on-existing", metavar="TPU", help="use this TPU of yours, and never delete it; no --type then")
    one.add_argument("--spot", action="store_true", help="cheap slices that may be taken away, and are then made again")
    one.add_argument("--queued", action="store_true", help="wait in the queue until there is a slice")
    one.add_argument("--max-hours", type=float, default=24.0, help="afterwards slices are deleted (%(default)g)")
    one.add_argument("--allow-dirty", action="store_true", help="send the work tree with its uncommitted changes")
    command("status", status, "what the slices and the job on each worker do")
    one = command("logs", logs, "what the job says")
    on_one_slice(one, "0", "number, or all (%(default)s)")
    one.add_argument("--follow", "-f", action="store_true", help="go on as the job does")
    on_one_slice(command("ssh", ssh, "a shell on a worker, or `-- COMMAND`"), "0", "number (%(default)s)")
    command("stop", stop, "stop the job at its last checkpoint; the slices stay, and cost")
    one = command("resume", resume, "start again where the job was, on slices that are there or new ones")
    one.add_argument("--max-hours", type=float, help="from now on (as at the start)")
    command("watch", watch, "make slices that were taken away again, until the job ends")
    command("delete", delete, "delete the slices; the workdir in the bucket stays")
    return parser


class _Plain(argparse.RawDescriptionHelpFormatter):
    pass


def start(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    launch = _plan(arguments)
    if not gcloud.dry_run:
        _check(launch, gcloud)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / f"{launch.commit}.tar.gz"
        source.pack(archive)
        gcloud("storage", "cp", str(archive), launch.source)
    gcloud("storage", "cp", str(Path(__file__).with_name("start.sh")), f"{launch.folder}/start.sh")
    _bring_up(launch, gcloud, [one for one in launch.slices if one.ours])


def _plan(arguments: argparse.Namespace) -> Launch:
    """What the options ask for; touches nothing."""
    name, bucket = arguments.name, arguments.bucket.rstrip("/")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise UserError(f"--name {name}: must be lower-case letters, digits and hyphens, a letter first, 40 at most")
    _check_bucket(arguments.bucket)
    if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+-[a-z0-9]+", arguments.zone):
        raise UserError(
            f"--zone {arguments.zone}: must be such as us-west4-a; `gcloud compute tpus locations list` names the zones"
        )
    _check_hours(arguments.max_hours)
    if bool(arguments.type) == bool(arguments.on_existing):
        raise UserError("--type, --on-existing: give one of the two: a type to create, or a TPU that is there")
    given = ("--workdir", "--coordinator", "--process", "--builder")
    if taken := [option for option in arguments.rest if option.startswith(given)]:
        raise UserError(f"-- {taken[0]}: the launcher sets it; leave it out")
    commit, config = source.commit(arguments.allow_dirty), source.within(Path(arguments.config))
    settings = {"zone": arguments.zone, "spot": arguments.spot, "queued": arguments.queued}
    trainer, builder = f"{name}-trainer", f"{name}-builder"
    if arguments.on_existing:
        slices = [Slice(arguments.on_existing, trainer, "", arguments.zone, ours=False)]
    else:
        slices = [Slice(trainer, trainer, slice_type(arguments.type).name, **settings)]
    if arguments.builder_type:
        slices.append(Slice(builder, builder, slice_type(arguments.builder_type).name, **settings))
    return Launch(name, f"{bucket}/{name}", commit, config, arguments.rest, arguments.max_hours, 0, slices)


def _check_bucket(bucket: str) -> None:
    if not re.fullmatch(r"gs://[^/].*", bucket):
        raise UserError(f"--bucket {bucket}: must be gs://BUCKET")


def _check_hours(hours: float) -> None:
    if not 0 < hours <= 24 * 90:
        raise UserError(f"--max-hours {hours:g}: must be above 0, and at most {24 * 90} (90 days)")


def _check(launch: Launch, gcloud: Gcloud) -> None:
    """What would go wrong later, or cost more than it must.

    Raises:
      UserError: with the command to run next.
    """
    if not gcloud("auth", "list", "--filter=status:ACTIVE", "--format=value(account)").strip():
        raise UserError("gcloud: not logged in; run `gcloud auth login`")
    if gcloud("config", "get", "project").strip() in ("", "(unset)"):
        raise UserError("gcloud: no project is set; run `gcloud config set project PROJECT`")
    if (here := _record_of(launch.name)).exists():
        raise UserError(
            f"--name {launch.name}: was launched before ({_read(here.read_text(), str(here)).workdir}); "
            f"`python -m tpu.launch resume {launch.name}` goes on with it, `delete` ends it, or choose another --name"
        )
    zone, region = launch.slices[0].zone, launch.slices[0].zone.rpartition("-")[0]
    there = [found["type"] for found in gcloud.json("compute", "tpus", "accelerator-types", "list", f"--zone={zone}")]
    bucket = "/".join(launch.workdir.split("/")[:3])
    found = gcloud.find("storage", "buckets", "describe", bucket)
    if found is None:
        raise UserError(
            f"--bucket {bucket}: there is none; run `gcloud storage buckets create {bucket} --location={region}`"
        )
    location = found["location"].lower()
    if location != region:
        print(
            f"warning: --bucket {bucket}: is in {location}, but --zone {zone} in {region}: {GIB_COST}. A bucket beside "
            f"the TPU: `gcloud storage buckets create gs://NEW --location={region}`",
            file=sys.stderr,
        )
    for one in launch.slices:
        state = one.state(gcloud)
        if one.ours and state:
            raise UserError(
                f"--name {launch.name}: there is a TPU {one.name} in {zone} already ({state}); choose another --name, "
                f"use it with --on-existing {one.name}, or run `gcloud {shlex.join(one.delete_command())}`"
            )
        if not one.ours and state != "READY":
            raise UserError(
                f"--on-existing {one.name}: {f'is {state}' if state else f'there is none in {zone}'}; run "
                f"`gcloud compute tpus tpu-vm list --zone={zone}`"
            )
        if one.ours and one.type not in there:
            raise UserError(
                f"--type {one.type}: zone {zone} has none; it has {', '.join(sorted(set(there))) or 'no TPU at all'}. "
                "`gcloud compute tpus locations list` names the zones"
            )


def _bring_up(launch: Launch, gcloud: Gcloud, missing: Sequence[Slice]) -> None:
    """Creates what is missing, starts the job everywhere, says what that costs and how to end it.

    Whatever goes wrong before the job runs: slices that were created here are deleted, or named.
    """
    with _undone_on_failure(gcloud, missing):
        for one in missing:
            print(f"{one.name}: creating {one.type} in {one.zone}" + (" (spot)" if one.spot else ""), flush=True)
            one.create(gcloud, launch.max_hours)
        for one in missing:
            one.wait(gcloud, _say)
        launch = dataclasses.replace(launch, deadline=int(time.time() + launch.max_hours * 3600))
        _keep(launch, gcloud)
        for one in launch.slices:
            one.start(gcloud, launch.folder, launch.variables(one), _say)
    ours = " and ".join(one.name for one in launch.slices if one.ours)
    print(
        f"{launch.name}: started; workdir {launch.workdir}\n"
        + (f"  {ours}: deleted when the job is done, and in any case at {launch.until()}\n" if ours else "")
        + f"  python -m tpu.launch status {launch.name}    # in two minutes: does the job run?\n"
        f"  python -m tpu.launch logs {launch.name} --follow\n"
        f"  python -m tpu.launch stop {launch.name}      # the job; the slices go on costing\n"
        f"  python -m tpu.launch delete {launch.name}    # the slices; the workdir stays",
        flush=True,
    )
    if any(one.spot for one in launch.slices) and not gcloud.dry_run:
        print(
            f"{launch.name}: watching; Ctrl-C leaves it running, `python -m tpu.launch watch {launch.name}` comes back"
        )
        _watch(launch, gcloud)


@contextlib.contextmanager
def _undone_on_failure(gcloud: Gcloud, slices: Sequence[Slice]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for one in slices:
            try:
                one.delete(gcloud)
                said = "deleted again"
            except (UserError, KeyboardInterrupt):
                said = f"COULD NOT BE DELETED and may cost; run `gcloud {shlex.join(one.delete_command())}`"
            with contextlib.suppress(OSError):  # the terminal may be gone
                print(f"{one.name}: {said}", file=sys.stderr, flush=True)
        raise


def status(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    launch = _find(arguments, gcloud)
    hours = (launch.deadline - time.time()) / 3600
    print(f"{launch.name}: commit {launch.commit}, workdir {launch.workdir}")
    print(f"{launch.name}: ends at {launch.until()}, in {hours:.1f} h")
    for one in launch.slices:
        state = one.state(gcloud)
        print(
            f"{one.name} ({one.type}, {one.zone}): {state or f'no such slice; {_end(launch, one, gcloud)}'}", flush=True
        )
        if state == "READY":
            gcloud.attach(*one.ssh(one.script("status")))


def _end(launch: Launch, one: Slice, gcloud: Gcloud) -> str:
    code = _ended(launch, one, gcloud)
    return f"`resume {launch.name}` goes on" if code is None else f"its job ended with exit code {code}"


def logs(arguments: argparse.Namespace, gcloud: Gcloud) -> int:
    launch = _find(arguments, gcloud)
    one = _slice(arguments, launch)
    if (state := one.state(gcloud)) != "READY":
        raise UserError(
            f"{one.name}: the slice is {state or 'gone'}; what its job said until it ended: "
            f"`gcloud storage cat '{launch.workdir}/logs/{one.job}-*'`"
        )
    follow = "-F" if arguments.follow else ""
    return gcloud.attach(*one.ssh(f"tail -n 200 {follow} ~/realm/{one.job}/log", arguments.worker))


def ssh(arguments: argparse.Namespace, gcloud: Gcloud) -> int:
    return gcloud.attach(*_slice(arguments, _find(arguments, gcloud)).ssh(shlex.join(arguments.rest), arguments.worker))


def stop(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    launch = _find(arguments, gcloud)
    for one in launch.slices:
        if one.state(gcloud) == "READY":
            print(gcloud(*one.ssh(one.script("stop"))), end="")
    print(
        f"{launch.name}: stopped. The slices stay, and cost, until {launch.until()}:\n"
        f"  python -m tpu.launch resume {launch.name}\n  python -m tpu.launch delete {launch.name}"
    )


def resume(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    launch = _find(arguments, gcloud)
    if arguments.max_hours is not None:
        _check_hours(arguments.max_hours)
        launch = dataclasses.replace(launch, max_hours=arguments.max_hours)
    states = [one.state(gcloud) for one in launch.slices]
    # First all that may be refused: a job that runs keeps its deadline, and no slice is made in vain.
    for one, state in zip(launch.slices, states, strict=True):
        if state != "READY" and not one.ours:
            raise UserError(f"{one.name}: is {state or 'gone'}, and was not made by this launcher; make it again first")
        if state == "READY" and ": running;" in gcloud(*one.ssh(one.if_set_up("status"))):
            raise UserError(
                f"{one.name}: its job is running; run `python -m tpu.launch stop {launch.name}` first, or "
                f"`python -m tpu.launch watch {launch.name}`, which leaves it alone and makes a slice that was taken "
                "away again"
            )
    missing = []
    for one, state in zip(launch.slices, states, strict=True):
        if state in LOST or not state:
            if state:
                one.delete(gcloud)
                one.await_deletion(gcloud)
            missing.append(one)
    _bring_up(launch, gcloud, missing)


def watch(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    _watch(_find(arguments, gcloud), gcloud)


def _watch(launch: Launch, gcloud: Gcloud) -> None:
    """Until every job has ended, or the time is up."""
    going, failed = list(launch.slices), []
    while going:
        if time.time() > launch.deadline:
            for one in going:
                if one.ours:
                    one.delete(gcloud)
            print(f"{launch.name}: {launch.max_hours:g} hours are over; slices deleted, the workdir stays")
            return
        for one in list(going):
            state = one.state(gcloud)
            code = _ended(launch, one, gcloud)
            if state not in LOST and state:
                if code and one not in failed:
                    failed.append(one)
                    print(
                        f"{one.name}: its job ended with exit code {code}; the slice stays, and costs, until "
                        f"{launch.until()}: `python -m tpu.launch delete {launch.name}`",
                        flush=True,
                    )
            elif code is not None:
                print(f"{one.name}: its job ended with exit code {code}", flush=True)
                going.remove(one)
            elif one.ours:
                print(f"{one.name}: {state or 'gone'}; making it again", flush=True)
                _make_again(launch, one, state, gcloud)
        if gcloud.dry_run:
            return
        time.sleep(WATCH_S)


def _make_again(launch: Launch, one: Slice, state: str, gcloud: Gcloud) -> None:
    """A slice that was taken away; where there is none to be had, the next look tries again."""
    left = (launch.deadline - time.time()) / 3600
    try:
        with _undone_on_failure(gcloud, [one]):
            if state:
                one.delete(gcloud)
                one.await_deletion(gcloud)
            one.create(gcloud, max(left, 0.1))
            one.wait(gcloud, _say)
            one.start(gcloud, launch.folder, launch.variables(one), _say)
        print(f"{one.name}: back, from the last checkpoint on", flush=True)
    except UserError as error:
        print(f"{one.name}: not back yet; trying again in {WATCH_S:.0f} s: {error}", file=sys.stderr, flush=True)


def delete(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    launch = _find(arguments, gcloud)
    _end_for_watchers(launch, gcloud)
    for one in launch.slices:
        if one.ours:
            one.delete(gcloud)
            print(f"{one.name}: deleted")
        else:
            print(f"{one.name}: not made by this launcher, so it stays: `gcloud {shlex.join(one.delete_command())}`")
    if not gcloud.dry_run:
        _record_of(launch.name).unlink(missing_ok=True)
    print(f"{launch.name}: the workdir stays; `gcloud storage rm --recursive {launch.workdir}` removes it")


def _say(message: str) -> None:
    print(message, flush=True)


def _slice(arguments: argparse.Namespace, launch: Launch) -> Slice:
    if arguments.builder and len(launch.slices) < 2:
        raise UserError(
            f"--builder: {launch.name} has no slice for the builder; the trainer embeds the passages itself"
        )
    return launch.slices[-1 if arguments.builder else 0]


def _ended(launch: Launch, one: Slice, gcloud: Gcloud) -> int | None:
    """The exit code with which a job ended since its last start; None where it did not."""
    try:
        return int(gcloud("storage", "cat", _end_of(launch, one), pretend="0"))
    except Refused as error:
        if error.is_gone:
            return None
        raise


def _end_for_watchers(launch: Launch, gcloud: Gcloud) -> None:
    """Else a watcher, perhaps on another machine, would make again what is deleted."""
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "ended"
        code.write_text("143\n")
        for one in launch.slices:
            try:
                if gcloud.dry_run or _ended(launch, one, gcloud) is None:
                    gcloud("storage", "cp", str(code), _end_of(launch, one))
            except Refused as error:
                print(f"warning: a watcher of {launch.name} must be ended by hand: {error}", file=sys.stderr)


def _end_of(launch: Launch, one: Slice) -> str:
    return f"{launch.folder}/{one.job}-{launch.deadline}.ended"


def _record_of(name: str) -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
    return state / "realm_tpu" / f"{name}.json"


def _keep(launch: Launch, gcloud: Gcloud) -> None:
    """Records the launch here and in the bucket."""
    if gcloud.dry_run:
        return
    path = _record_of(launch.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(launch), indent=2) + "\n")
    gcloud("storage", "cp", str(path), f"{launch.folder}/launch.json")


def _find(arguments: argparse.Namespace, gcloud: Gcloud) -> Launch:
    """The record of a launch."""
    path, name = _record_of(arguments.name), arguments.name
    if arguments.bucket:
        _check_bucket(arguments.bucket)
    if path.exists():
        found = _read(path.read_text(), str(path))
        if arguments.bucket and found.workdir != (asked := f"{arguments.bucket.rstrip('/')}/{name}"):
            raise UserError(
                f"--bucket {arguments.bucket}: {name} of this machine is {found.workdir}, not {asked}; leave --bucket "
                f"out, or move {path} away"
            )
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
        return _read(Gcloud()("storage", "cat", where), where)
    except Refused as error:
        if error.is_gone:
            raise UserError(f"--bucket {arguments.bucket}: no launch {name} there ({where} is not there)") from None
        raise


def _read(text: str, where: str) -> Launch:
    try:
        values = json.loads(text)
        return Launch(**{**values, "slices": [Slice(**one) for one in values["slices"]]})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{where}: not the record of a launch ({error}); delete it, and look for slices with "
            "`gcloud compute tpus tpu-vm list --zone=ZONE`"
        ) from None


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: slices that no job would delete must not stay
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    sys.exit(main())
