"""Numbers that no option takes, and words that none is: options of all jobs and of the launcher."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from realm_jax.jobs import cli, report, sweep
from realm_jax.settings import Range
from tests.robustness.driver import Case
from tpu import launch

ODD = ("nan", "inf", "-inf", "1e26", "9" * 30, "0x10", "", "1e999")
LONG, HALF = "x" * 5000, "caf\udce9"
WORDS = {
    "ask": (["x" * 300], [LONG, "Why?"], ["What is the capital of Chad?"], ["a b", "--json"], ["?" * 300], [HALF]),
    "run": (
        ["factbok"],
        ["factbook", "--questions.train", ""],
        ["factbook", "--workdir", ""],
        ["factbook", "--workdir="],
        ["factbook", "--name", HALF],
    ),
    "prepare": (["factbook", "--workdir", "y" * 256], ["factbook", "--data.path", LONG], ["factbook", "--sed", "1"]),
    "pretrain": (["factbook", "--pretrain.steps"], ["factbook", "--data.source", "nothing"], ["factbook", "1", "2"]),
    "evaluate": (
        ["factbook"],
        ["/dev/null"],
        ["/"],
        ["."],
        ["-"],
        ["factbook\n"],
        ["factbook", "--questions.test", ""],
    ),
    "report": (["--sweep", "x" * 300], ["--sweep", ""], ["--sweep", "/dev/null"], ["--beside", "q"], [LONG]),
    "sweep": (["x" * 300], ["factbook"], ["/dev/null"], ["factbook_sweep", "--sweep_dir", LONG], [LONG]),
    "import_weights": (["--source", "x" * 300], ["w", "--source", ""], ["w", "--source", "/dev/null"], [LONG]),
    "experiments": (["one"], ["--all"]),
    "no_such_job": ([], ["factbook"]),
    HALF: ([],),
}
START = ("start", "experiments/factbook.py", "--allow-dirty", "--dry-run")
LAUNCH = {
    "--type": ("v5e-999999999999", "v5e-7", "v5e-0", "v4-9", "v9-8", "v5e", "v5e-", "v5e-١", "v6e-8 --x", "v5p-99999"),
    "--bucket": ("gs://", "gs:///x", "s3://mine", "mine", "gs://A", "gs://a b", "gs://ab/?", ""),
    "--zone": ("", "us", "us-west4", "us west4-a", "US-WEST4-A"),
    "--name": ("", "A", "a" * 50, "1a", "a_b", "a/b"),
    "--max-hours": ("nan", "inf", "0", "-1", "1e26", "x"),
}


def of(kind: type, path: str = "") -> Iterator[tuple[str, Any, tuple]]:
    """(name, type, marks) of every option of a dataclass."""
    plain = get_type_hints(kind)
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if dataclasses.is_dataclass(plain[name]):
            yield from of(plain[name], f"{path}{name}.")
        else:
            yield f"{path}{name}", plain[name], getattr(hint, "__metadata__", ())


def numbers(kind: type) -> dict[str, tuple[type, Range | None]]:
    """{option: its type, and its range if it has one}, of those that are numbers."""
    return {
        name: (hint, next((mark for mark in marks if isinstance(mark, Range)), None))
        for name, hint, marks in of(kind)
        if hint in (int, float)
    }


def kinds() -> dict[str, type]:
    """{job: dataclass of its own options}, of all; and that of experiments."""
    found = {name: job.arguments for name, job in cli.JOBS.items()} | {"sweep": sweep.Options, "report": report.OfSweep}
    return found | {"experiment": cli.Config}


def cases(workdir: Path) -> Iterator[Case]:
    """Args: workdir: of a run, with whose options these are mixed."""
    for job, kind in kinds().items():
        for option, (_, bounds) in numbers(kind).items():
            beyond = (bounds.low - 1, bounds.high * 2 + 1) if bounds else ()
            for value in (*ODD, *map(str, beyond)):
                first = ["report", str(workdir)] if job == "experiment" else [job, str(workdir)]
                argv = [*first, f"--{option}", value]
                yield Case("numbers", f"{job} --{option} {value[:20]!r}", lambda _, argv=argv: argv, refused=True)
    for job, words in WORDS.items():
        for given in words:
            argv = [word for word in (job, *given) if word or given]
            yield Case("words", f"{job} {str(given)[:60]}", lambda _, argv=argv: argv, refused=True)
    right = {"--type": "v5e-8", "--bucket": "gs://a-bucket", "--zone": "us-west4-a", "--name": "mine"}
    for option, values in LAUNCH.items():
        for value in values:
            given = [word for pair in (right | {option: value}).items() for word in pair]
            yield _launch(f"{option} {value!r}", [*START, *given])
    existing = [word for name in ("--bucket", "--zone", "--name") for word in (name, right[name])]
    yield _launch("--queued beside --on-existing", [*START, *existing, "--on-existing", "a-tpu", "--queued"])


def _launch(name: str, argv: list[str]) -> Case:
    return Case("launcher", name, lambda _: argv, refused=True, main=launch.main, prefix="tpu.launch: error: ")
