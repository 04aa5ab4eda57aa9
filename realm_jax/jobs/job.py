"""A job, as the command line sees it: its name, its help, its own options, and the hooks by which it differs."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from realm_jax.config import Config
from realm_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class NoArguments:
    """The own options of a job that has none."""


def check_imported(config: Config, workdir: Workdir, arguments: Any) -> None:
    workdir.check_imported()


def keep_programs(workdir: Workdir) -> None:
    """Keeps the programs that JAX compiles for the next start, in the workdir unless the environment names a place; to
    be called before JAX is imported."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(workdir.jax_cache.resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@dataclasses.dataclass(frozen=True)
class Job:
    """One job: `realm NAME EXPERIMENT [options]`.

    The command line reads the experiment, lays the options over it, records the settings in the workdir, and calls
    `main`. Each hook has a default that serves most jobs.
    """

    name: str
    help: str
    """The list of jobs has the first line, the job's own help all of it."""
    main: Callable[[Config, Workdir, Any], int | None] | None = None
    """The work of the job, given an object of `arguments`; returns its exit code, None for 0. Only a job whose
    `command` does everything has none."""
    arguments: type = NoArguments
    """A dataclass of the job's own options. One of `peers.Processes` makes it a job that may be several processes."""
    begins: bool = True
    """Whether it may be the first job of a workdir; those that look at the results of others may not."""
    joins: bool = True
    """Whether each of several processes of it is one of JAX's; else it only starts such processes."""
    label: Callable[[Any], str] | None = None
    """Tells apart, by their arguments, those of its processes that are not peers of each other; else the name does."""
    command: Callable[[list[str]], int | None] = lambda options: None
    """Reads the command line itself, does all of it, and returns the exit code; None leaves it to us."""
    defaults: Callable[[], Config] = Config
    """The settings that `--help` shows where no experiment is named."""
    clear: Callable[[Workdir], None] = lambda workdir: None
    """Removes the leftovers of a failed job from a workdir, before a new one is begun."""
    begin: Callable[[Config | None, Workdir, list[str]], Config] | None = None
    """Completes the experiment of a new workdir, given the options as words, or makes one where none was named."""
    check: Callable[[Config, Workdir, Any], None] = check_imported
    """Raises UserError where the job would fail; before any settings are recorded."""
