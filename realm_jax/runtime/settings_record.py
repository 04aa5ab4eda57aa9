"""The record of a run's settings, which keeps all jobs of a workdir to the same ones."""

import dataclasses
import difflib
import functools
from typing import Any

from realm_jax import remote
from realm_jax.config import INPUT_FILES, Config, of_the_machine
from realm_jax.errors import UserError
from realm_jax.kinds import SOURCES
from realm_jax.remote import AnyPath
from realm_jax.settings import changes, file_and_split, flatten, from_dict
from realm_jax.workdir import SweepDir, Workdir, read_json, write_json


@dataclasses.dataclass(frozen=True)
class Record:
    """The content of <workdir>/config.json, written whole by the first job; only `of_the_machine` options ever
    change."""

    experiment: Config
    """The settings of the experiment file."""
    config: Config
    """That, with the options of the command line."""


def read_record(workdir: Workdir) -> Record | None:
    """Raises UserError where the file is no record of this version."""
    if workdir.root.exists() and not workdir.root.is_dir():
        raise UserError(f"{workdir.root}: is a file; --workdir must name a folder, or one to be made")
    if SweepDir(workdir.root).manifest.exists():
        raise UserError(
            f"{workdir.root}: is the folder of a sweep; --workdir must name another one, or one to be made. With the "
            f"sweep `realm sweep {workdir.root}` goes on, and `realm report --sweep {workdir.root}` writes its tables"
        )
    if not workdir.config.exists():
        return None
    try:
        values = read_json(workdir.config)
    except UserError as error:
        raise UserError(
            f"{str(error).rpartition(';')[0]}; put it back, or delete it and name the experiment again, with the same "
            "options"
        ) from None
    try:
        return Record(from_dict(values["experiment"], Config), from_dict(values["config"], Config))
    except UserError as error:
        raise UserError(f"{workdir.config}: {error}") from None
    except (TypeError, KeyError, AttributeError):
        raise UserError(
            f"{workdir.config}: not the record of an experiment ('experiment' and 'config'); use another --workdir"
        ) from None


def starting_point(record: Record | None, experiment: Config, source: AnyPath, workdir: Workdir) -> Config:
    """The settings that the command line's options are laid over: those recorded, else the experiment file's.

    Raises:
      UserError: the experiment file has changed since it was recorded.
    """
    if record is None:
        return experiment
    if changes := differences(record.experiment, experiment, "then", "now"):
        raise UserError(
            f"{source} has changed since {workdir.root} was begun:\n{changes}\n"
            f"Use another --workdir for the new settings, or name {workdir.root} in place of the file to go on with "
            "the recorded ones."
        )
    return _with_machine(record, experiment)


def _with_machine(record: Record, experiment: Config) -> Config:
    """The recorded settings, except those of how to compute them that the experiment file says anew."""
    before, after = flatten(record.experiment), flatten(experiment)
    changed = {name: after[name] for name in filter(of_the_machine, after) if before[name] != after[name]}
    return _replaced(record.config, changed)


def _replaced(config: Config, changed: dict[str, Any]) -> Config:
    """Settings with other values of some options, by their dotted names."""
    values = dataclasses.asdict(config)
    for name, value in changed.items():
        *path, last = name.split(".")
        functools.reduce(dict.__getitem__, path, values)[last] = value
    return from_dict(values, Config)


def located(config: Config, record: Record | None) -> Config:
    """The settings with the absolute names of the files that are there, so that later jobs find them from any folder.
    What is recorded otherwise stays as it is."""
    values, recorded = flatten(config), flatten(record.config) if record else {}
    found = {}
    for option, mark in INPUT_FILES.items():
        value = values[option]
        if value != recorded.get(option) and mark.names(value):
            found[option] = _absolute(value) if isinstance(value, str) else tuple(map(_absolute, value))
    changed = {option: value for option, value in found.items() if value != values[option]}
    return _replaced(config, changed) if changed else config


def _absolute(name: str) -> str:
    path, split = file_and_split(name)
    if path.is_absolute() or not path.exists():
        return name
    return str(path.absolute()) + (f":{split}" if split else "")


def settle(record: Record | None, experiment: Config, config: Config, workdir: Workdir) -> None:
    """Records the settings of a new workdir; holds later jobs to them, but for those that say how it is computed, and
    for the questions of a run that has none: of these the record has the last ones.

    Raises:
      UserError: an option differs from the record; the workdir is left as it was.
    """
    values = dataclasses.asdict(Record(experiment, config))
    if record is None:
        try:
            write_json(workdir.config, values)
        except OSError as error:
            raise UserError(f"{workdir.root}: cannot be written ({error.strerror}); name another --workdir") from None
        # Another job may have begun at the same moment: what stands now counts, for both.
        record = read_record(workdir)
    asked = config
    if not record.config.questions.files and not SOURCES[record.config.data.source].brings_questions:
        asked = dataclasses.replace(config, questions=record.config.questions)  # what a run has none of may be added
    if changes := differences(record.config, asked, "there", "asked for"):
        raise UserError(
            f"{workdir.root} belongs to other settings:\n{changes}\n"
            "These settings of a run never change: leave these options out, or use another --workdir."
        )
    if record.config != config:
        write_json(workdir.config, values)


def take_back(record: Record | None, config: Config, workdir: Workdir) -> None:
    """Leaves the record as it was before a job that could not begin: a new workdir in which nothing was made has none.

    So a mistaken option is not held against the command that mends it. Cut shards count for nothing, as other settings
    find their own. The record of another job meanwhile stays, if this one, with `config`, had nothing new to record.
    """
    if record is not None:
        if record.config != config:
            write_json(workdir.config, dataclasses.asdict(record))
        return
    shards = workdir.data(config.data.directory).shards
    made = [
        str(path.relative_to(workdir.root)) for path in remote.files(workdir.root) if not path.is_relative_to(shards)
    ]
    # What is dotted, or lies in a folder that is, is the processes' own: locks, signs of life.
    if all(name.startswith(".") or "/." in name or name in (workdir.config.name, workdir.usage.name) for name in made):
        workdir.usage.unlink(missing_ok=True)
        workdir.config.unlink(missing_ok=True)


def missing_file(config: Config, workdir: Workdir) -> str:
    """Which option names a file that is not there, nor one that the run makes itself; "" where none does."""
    values = flatten(config)
    for option, mark in INPUT_FILES.items():
        for name in mark.names(values[option]):
            path = file_and_split(name)[0]
            if not path.exists() and not path.is_relative_to(workdir.root.resolve()):
                meant = difflib.get_close_matches(name, mark.words, n=1)
                return f"{option}: {name!r} is not there" + "".join(f"; did you mean {word!r}?" for word in meant)
    return ""


def differences(old: Config, new: Config, old_word: str, new_word: str) -> str:
    """One line for each option that differs, or nothing."""
    return "\n".join(
        f"  {name}: {before!r} {old_word}, {after!r} {new_word}"
        for name, (before, after) in changes(old, new).items()
        if not of_the_machine(name)
    )
