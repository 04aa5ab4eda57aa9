"""Runs an experiment on Cloud TPU VMs: a slice for the trainer and, if asked, another for the index builder.

    python -m tpu.launch experiments/factbook.py --name mine --type v5e-8 --zone us-west4-a --bucket gs://BUCKET
    python -m tpu.launch status | logs | ssh | stop | resume | watch | delete  NAME

Options after `--` go to the experiment: `-- --seed 1 --pretrain.steps 200`. docs/tpu.md has the whole story. It needs
the gcloud CLI and Python's standard library, and nothing else.
"""

import argparse
import dataclasses
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from realm_jax.errors import UserError, of_system
from tpu import record, source
from tpu.gcloud import Gcloud
from tpu.plan import check, check_hours, plan
from tpu.record import Launch
from tpu.slices import LOST, Slice
from tpu.upkeep import bring_up, look_after

COMMANDS = ("start", "status", "logs", "ssh", "stop", "resume", "watch", "delete")


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
    except (UserError, OSError) as error:
        told = of_system(error) if isinstance(error, OSError) else error
        print(f"tpu.launch: error: {told}", file=sys.stderr)
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
    launch = plan(arguments)
    if not gcloud.dry_run:
        check(launch, gcloud)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / f"{launch.commit}.tar.gz"
        source.pack(archive)
        gcloud("storage", "cp", str(archive), launch.source)
    gcloud("storage", "cp", str(Path(__file__).with_name("start.sh")), f"{launch.folder}/start.sh")
    bring_up(launch, gcloud, [one for one in launch.slices if one.ours])


def status(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    launch = record.find(arguments, gcloud)
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
    code = record.ended(launch, one, gcloud)
    return f"`resume {launch.name}` goes on" if code is None else f"its job ended with exit code {code}"


def logs(arguments: argparse.Namespace, gcloud: Gcloud) -> int:
    launch = record.find(arguments, gcloud)
    one = _slice(arguments, launch)
    if (state := one.state(gcloud)) != "READY":
        raise UserError(
            f"{one.name}: the slice is {state or 'gone'}; what its job said until it ended: "
            f"`gcloud storage cat '{launch.workdir}/logs/{one.job}-*'`"
        )
    follow = "-F" if arguments.follow else ""
    return gcloud.attach(*one.ssh(f"tail -n 200 {follow} ~/realm/{one.job}/log", arguments.worker))


def ssh(arguments: argparse.Namespace, gcloud: Gcloud) -> int:
    one = _slice(arguments, record.find(arguments, gcloud))
    return gcloud.attach(*one.ssh(shlex.join(arguments.rest), arguments.worker))


def stop(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    launch = record.find(arguments, gcloud)
    for one in launch.slices:
        if one.state(gcloud) == "READY":
            print(gcloud(*one.ssh(one.script("stop"))), end="")
    print(
        f"{launch.name}: stopped. The slices stay, and cost, until {launch.until()}:\n"
        f"  python -m tpu.launch resume {launch.name}\n  python -m tpu.launch delete {launch.name}"
    )


def resume(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    launch = record.find(arguments, gcloud)
    if arguments.max_hours is not None:
        check_hours(arguments.max_hours)
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
    bring_up(launch, gcloud, missing)


def watch(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    look_after(record.find(arguments, gcloud), gcloud)


def delete(arguments: argparse.Namespace, gcloud: Gcloud) -> None:
    launch = record.find(arguments, gcloud)
    record.end_for_watchers(launch, gcloud)
    for one in launch.slices:
        if one.ours:
            one.delete(gcloud)
            print(f"{one.name}: deleted")
        else:
            print(f"{one.name}: not made by this launcher, so it stays: `gcloud {shlex.join(one.delete_command())}`")
    if not gcloud.dry_run:
        record.path_of(launch.name).unlink(missing_ok=True)
    print(f"{launch.name}: the workdir stays; `gcloud storage rm --recursive {launch.workdir}` removes it")


def _slice(arguments: argparse.Namespace, launch: Launch) -> Slice:
    if arguments.builder and len(launch.slices) < 2:
        raise UserError(
            f"--builder: {launch.name} has no slice for the builder; the trainer embeds the passages itself"
        )
    return launch.slices[-1 if arguments.builder else 0]


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: slices that no job would delete must not stay
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    sys.exit(main())
