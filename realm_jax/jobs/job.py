"""What a job is to the command line: its name, its help, its own options, and the hooks by which it differs."""

import dataclasses
from collections.abc import Callable
from typing import Any

from realm_jax.config import Config
from realm_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class NoArguments:
    """The own options of a job that has none."""


def check_imported(config: Config, workdir: Workdir, arguments: Any) -> None:
    workdir.check_imported()


@dataclasses.dataclass(frozen=True)
class Job:
    """One job: `realm NAME EXPERIMENT [options]`.

    The command line reads the experiment, lays the options over it, records the settings in the workdir, and calls
    `main`. Hooks that are left out do what most jobs need.
    """

    name: str
    help: str
    """The first line stands in the list of jobs, all of it in the job's own help."""
    main: Callable[[Config, Workdir, Any], int | None] | None = None
    """What the job does, with an object of `arguments`; returns its exit code, None for 0. Only a job whose `command`
    does everything has none."""
    arguments: type = NoArguments
    """A dataclass of the job's own options. One of `peers.Processes` makes it a job that may be several processes."""
    begins: bool = True
    """Whether it may be the first job of a workdir; those that look at what others made may not."""
    joins: bool = True
    """Whether each of several processes of it is one of JAX's; else it only starts such processes."""
    label: Callable[[Any], str] | None = None
    """Tells apart, by their arguments, those of its processes that are not peers of each other; else the name does."""
    command: Callable[[list[str]], int | None] = lambda options: None
    """Reads the command line itself, does all of it, and returns the exit code; None leaves it to us."""
    defaults: Callable[[], Config] = Config
    """The settings that `--help` shows where no experiment is named."""
    clear: Callable[[Workdir], None] = lambda workdir: None
    """Removes what the job left in a workdir when it failed there, before a new workdir is begun."""
    begin: Callable[[Config | None, Workdir, list[str]], Config] | None = None
    """Completes the experiment of a new workdir, given the options as words, or makes one where none was named."""
    check: Callable[[Config, Workdir, Any], None] = check_imported
    """Raises UserError where the job would fail; before any settings are recorded."""
