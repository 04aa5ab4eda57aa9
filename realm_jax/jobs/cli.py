"""The command line: `realm JOB EXPERIMENT [options]`."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from realm_jax import __version__
from realm_jax.config import Config
from realm_jax.config.experiment_file import load_experiment, shipped
from realm_jax.errors import PREFIX, STOPPED, UserError, near_miss, of_system, refusal, shown_path
from realm_jax.jobs import (
    ask,
    build_index,
    evaluate,
    experiments,
    import_weights,
    prepare,
    prepare_with_beam,
    report,
    run,
    serve,
    sweep,
    train,
)
from realm_jax.jobs.job import Job
from realm_jax.jobs.options import HELP, parse, show_help
from realm_jax.remote import AnyPath, path_of
from realm_jax.runtime import peers
from realm_jax.runtime.settings_record import located, missing_file, read_record, settle, starting_point, take_back
from realm_jax.runtime.signals import Terminated, stop_with_parent, stoppable
from realm_jax.workdir import Workdir

JOBS = {
    job.name: job
    for job in (
        *(run.JOB, sweep.JOB, import_weights.JOB, prepare.JOB, prepare_with_beam.JOB),
        *(*train.JOBS, build_index.JOB, evaluate.JOB, report.JOB, ask.JOB, serve.JOB, experiments.JOB),
    )
}
"""All jobs, in the order of the list that `realm --help` prints."""

DEBUG = "REALM_DEBUG"
"""Environment variable that shows where in the program the system refused something."""
USAGE = """\
usage: realm JOB EXPERIMENT [options]
       realm JOB --help

REALM: retrieval-augmented language model pre-training (Guu et al. 2020), in JAX.

jobs:
{jobs}

EXPERIMENT is a Python file with get_config(), the name of one that `realm experiments` lists, such as factbook, or the
workdir of a run, whose recorded settings are then used. Every setting is an option: realm JOB EXPERIMENT --help shows
those to try first, with the experiment's values, and --help-all every one.
"""


def main(argv: Sequence[str] | None = None, jobs: Mapping[str, Job] = JOBS) -> int:
    """Returns the exit code: 2 for a mistake of the user's, 130 and 143 when stopped by Ctrl-C and SIGTERM."""
    if not peers.is_worker():
        return _main(argv, jobs)
    code = 1
    try:
        code = _main(argv, jobs)
        return code
    except Exception:
        traceback.print_exc()
        return code
    finally:
        if code:  # JAX would wait for its peers before it lets the process end; the supervisor tells them
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _main(argv: Sequence[str] | None, jobs: Mapping[str, Job]) -> int:
    try:
        with stoppable():
            stop_with_parent()
            try:
                return _run(list(sys.argv[1:] if argv is None else argv), jobs)
            finally:
                _flush(sys.stdout)
    except UserError as error:
        return _ended(f"{PREFIX}{error}", 2)
    except Terminated:
        return _ended("realm: stopped by SIGTERM", 128 + signal.SIGTERM)
    except KeyboardInterrupt:
        return _ended(STOPPED, 128 + signal.SIGINT)
    except BrokenPipeError:  # who reads what we print has enough
        return _ended("", 128 + signal.SIGPIPE)
    except Exception as error:
        if (refused := error if isinstance(error, OSError) else refusal(error)) is None:
            raise
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return _ended(f"{PREFIX}{of_system(refused)}", 2)


def _flush(stream: Any) -> None:
    """Raises OSError, with the stream's name, where what was printed does not arrive."""
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # else Python tries again when it ends
        raise OSError(error.errno, error.strerror, stream.name) from None


def _ended(message: str, code: int) -> int:
    with contextlib.suppress(OSError):
        if message:
            print(message, file=sys.stderr)
            _flush(sys.stderr)
    return code


def _run(argv: list[str], jobs: Mapping[str, Job]) -> int:
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(f"{shown_path(word)}: is no UTF-8; write it in that encoding, or rename the file") from None
    if not argv or argv[0] in HELP:
        print(_usage(jobs))
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"realm_jax {__version__}")
        return 0
    job, rest = _job(argv[0], jobs), argv[1:]
    if (code := job.command(rest)) is not None:
        return code
    wants_help = not set(HELP).isdisjoint(rest)
    if not rest or rest[0].startswith("-"):
        if job.begin is None and not wants_help:
            raise UserError(
                f"{job.name}: the experiment comes right after the job: realm {job.name} factbook [options]; "
                "`realm experiments` lists those there are"
            )
        if wants_help:
            show_help(job, rest, job.defaults(), Path("runs/<experiment>"))
        source, options = None, rest
    else:
        source, options = path_of(rest[0]), rest[1:]
        if source.is_dir() and not Workdir(source).config.exists():
            source = shipped().get(rest[0], source)
    workdir = Workdir(_workdir_of(source, options))
    if not wants_help and not (source is not None and source.is_dir()):
        job.clear(workdir)
    record = read_record(workdir)
    if source is None and record is not None:
        source = workdir.root
    if source is not None and source.is_dir():
        if record is None:
            raise UserError(f"{source}: a folder without config.json is no run's workdir; name an experiment file")
        experiment = record.experiment
    else:
        experiment = None if source is None else load_experiment(source)
        if record is None and not job.begins and not wants_help:
            raise UserError(f"{workdir.root}: no run there; begin one with `realm run {source}`, or name its --workdir")
        if job.begin is not None and not wants_help:
            experiment = job.begin(experiment, workdir, options)
    base = starting_point(record, experiment, source or workdir.root, workdir)
    if wants_help:
        show_help(job, options, base, workdir.root)
    config, arguments = parse(job, options, base, workdir.root)
    config = located(config, record)
    job.check(config, workdir, arguments)
    # A name mistyped in the first command would else stand in the record, where it could not be changed.
    if record is None and (missing := missing_file(config, workdir)):
        raise UserError(f"{missing}; no workdir was begun")
    settle(record, experiment, config, workdir)
    code: int | None = None
    try:
        code = _start(job, argv, config, workdir, arguments)
    except (UserError, OSError):
        code = 2
        raise
    finally:
        # Of several processes one may fail at its options, and all others by that.
        if code in (2, peers.PEER_FAILED) and not peers.is_worker():
            take_back(record, config, workdir)
    return code


def _start(job: Job, argv: list[str], config: Config, workdir: Workdir, arguments: Any) -> int:
    """Runs the job, or the supervisor of a job of several processes; returns its exit code."""
    if isinstance(arguments, peers.Processes) and peers.several(arguments):
        if not peers.is_worker():
            command = [sys.executable, "-m", "realm_jax", *argv]
            folder = workdir.stage_of(job.name).root if job.joins else workdir.root
            label = job.label(arguments) if job.label else job.name
            return peers.supervise(label, folder, arguments, command)
        if job.joins:
            peers.join(arguments)
    return job.main(config, workdir, arguments) or 0


def _usage(jobs: Mapping[str, Job]) -> str:
    lines = [f"  {job.name:<18} {job.help.splitlines()[0]}" for job in jobs.values()]
    return USAGE.format(jobs="\n".join(lines))


def _job(word: str, jobs: Mapping[str, Job]) -> Job:
    name = word.replace("-", "_")
    if name in jobs:
        return jobs[name]
    raise UserError(f"no job {word!r}; {near_miss(name, list(jobs), 'there are')}")


def _workdir_of(source: AnyPath | None, options: list[str]) -> AnyPath:
    """Read ahead of the other options, whose defaults are in the workdir."""
    given = None
    for i, option in enumerate(options):
        if option == "--workdir=" or options[i : i + 2] == ["--workdir", ""]:
            raise UserError("--workdir: '' names no folder; name one, or one to be made")
        if option.startswith("--workdir="):
            given = option.partition("=")[2]
        elif option == "--workdir" and i + 1 < len(options):
            given = options[i + 1]
    if source is None:
        if given is None:
            raise UserError("--workdir: without an experiment there is no default; name a folder to be made")
        return path_of(given)
    if source.is_dir():
        if given is not None and str(path_of(given)) != str(source) and path_of(given).resolve() != source.resolve():
            raise UserError(f"--workdir: {given} is not {source}, the run that is named as experiment; leave it out")
        return source
    return path_of(given) if given is not None else Path("runs") / source.stem
