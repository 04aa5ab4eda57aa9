"""The options of a job on the command line: its own, the workdir, and every setting of the experiment."""

import sys
from dataclasses import field, is_dataclass, make_dataclass
from itertools import pairwise
from typing import Annotated, Any, NoReturn

import tyro

from realm_jax.config import Config
from realm_jax.jobs.job import Job
from realm_jax.remote import AnyPath
from realm_jax.settings import First, check, flatten, help_texts, marked, types

HELP = ("-h", "--help", "--help-all")
WORKDIR_HELP = (
    "Folder of the run: settings, checkpoints, snapshots, metrics, report. "
    "The first job there records its settings in config.json; later jobs take them from there."
)
FLAT = tyro.conf.arg(name="")


def parse(job: Job, options: list[str], config: Config, workdir: AnyPath) -> tuple[Config, Any]:
    """The settings and the job's own arguments. Wrong options end the process with code 2."""
    # Without any option there is nothing to look up among the hundreds of settings, which takes a while.
    given = any(word.startswith("-") for word in options)
    settings = [("config", Annotated[Config, FLAT], field(default=config))] if given else []
    parsed = _cli(job, options, workdir, settings, job.help)
    check(parsed.arguments, "--")
    return parsed.config if given else config, parsed.arguments


def show_help(job: Job, options: list[str], config: Config, workdir: AnyPath) -> NoReturn:
    """Prints the options to try first, those of the group that is named after `--help`, or with `--help-all` every one;
    ends the process with code 0."""
    values = flatten(config)
    groups = [name for name in vars(config) if is_dataclass(getattr(config, name))]
    group = next((word for before, word in pairwise(options) if before in HELP and word in groups), None)
    if "--help-all" in options:
        note, settings = "All options, by group.", [("config", Annotated[Config, FLAT], field(default=config))]
    else:
        shown = [name for name in values if group and name.startswith(f"{group}.")] or marked(Config, First)
        kinds, texts = types(Config), help_texts(Config)
        settings = [
            (
                f"_{number}",
                Annotated[kinds[name], tyro.conf.arg(name=name, help=texts.get(name))],
                field(default=values[name]),
            )
            for number, name in enumerate(shown)
        ]
        note = (
            f"{f'The options of {group}' if group else 'The options to try first'}, then those of the job itself. "
            f"--help-all shows all {len(values)}, --help GROUP those of a group: {', '.join(groups)}."
        )
    _cli(job, ["--help"], workdir, settings, f"{job.help.strip()}\n\n{note}")
    sys.exit(0)


def _cli(job: Job, words: list[str], workdir: AnyPath, settings: list[tuple[str, Any, Any]], description: str) -> Any:
    fields = [
        ("arguments", Annotated[job.arguments, FLAT]),
        ("workdir", Annotated[str, tyro.conf.arg(metavar="DIR", help=WORKDIR_HELP)], field(default=str(workdir))),
        *settings,
    ]
    return tyro.cli(
        make_dataclass("Command", fields),
        args=words,
        prog=f"realm {job.name} EXPERIMENT",
        description=description,
        use_underscores=True,
    )
