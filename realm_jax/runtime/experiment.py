"""Experiment files, and the record of a run's settings that keeps all jobs of a workdir to the same ones."""

import dataclasses
import difflib
import functools
import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from realm_jax import config as schema
from realm_jax import remote
from realm_jax.config import Config, Sweep
from realm_jax.errors import UserError, near_miss
from realm_jax.remote import AnyPath
from realm_jax.settings import changes, file_and_split
from realm_jax.workdir import SweepDir, Workdir, read_json, write_json

T = TypeVar("T")


def load_experiment(path: AnyPath) -> Config:
    """Runs an experiment file's ``get_config()``. A variant may import its base from the same folder by its plain name.

    Raises:
      UserError: the file is missing, does not run, or gives no Config; the message says where.
    """
    return _load(path, "get_config", Config)


def load_sweep(path: Path) -> Sweep:
    """The same of ``get_sweep()``."""
    return _load(path, "get_sweep", Sweep)


def _load(path: Path, function: str, kind: type[T]) -> T:
    if not path.is_file():
        raise UserError(f"{path}: no such experiment file{_near(path)}")
    kind_name = f"realm_jax.config.{kind.__name__}"
    module, folder = ModuleType(path.stem), path.parent.resolve()
    module.__file__ = str(folder / path.name)
    with importable(folder):
        sys.modules[module.__name__] = module  # dataclasses look their module up
        try:
            exec(compile(path.read_bytes(), path, "exec"), module.__dict__)
            get = getattr(module, function, None)
            if not callable(get) and function == "get_config" and hasattr(module, "get_sweep"):
                raise UserError(f"{path}: no function get_config(), but get_sweep(): `realm sweep {path}` runs that")
            if not callable(get):
                raise UserError(f"{path}: no function {function}(); define one that returns {kind_name}")
            value = get()
        except SyntaxError as error:
            raise UserError(f"{error.filename}:{error.lineno}: syntax error: {error.msg}") from None
        except Exception as error:
            where = _line_in(path, error)
            if isinstance(error, UserError):
                raise UserError(f"{where}: {error}" if where else str(error)) from None
            name = type(error).__name__
            raise UserError(f"{where or path}: {name}: {error}{_hint(error)}") from error
    if not isinstance(value, kind):
        raise UserError(f"{path}: {function}() gave a {type(value).__name__}; it must return {kind_name}")
    return value


@dataclasses.dataclass(frozen=True)
class Record:
    """What <workdir>/config.json holds, written whole by the first job; only `of_the_machine` options ever change."""

    experiment: Config
    """What the experiment file gave."""
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
    values = read_json(workdir.config)
    try:
        return Record(schema.from_dict(values["experiment"]), schema.from_dict(values["config"]))
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
    """The recorded settings, but what the experiment file says anew of how to compute them."""
    before, after = schema.flatten(record.experiment), schema.flatten(experiment)
    values = dataclasses.asdict(record.config)
    for name in filter(schema.of_the_machine, after):
        if before[name] != after[name]:
            *path, last = name.split(".")
            functools.reduce(dict.__getitem__, path, values)[last] = after[name]
    return schema.from_dict(values)


def settle(record: Record | None, experiment: Config, config: Config, workdir: Workdir) -> None:
    """Records the settings of a new workdir; holds later jobs to them, but for those that say how it is computed: of
    these the record has the last ones.

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
    if changes := differences(record.config, config, "there", "asked for"):
        raise UserError(
            f"{workdir.root} belongs to other settings:\n{changes}\n"
            "The settings of a run never change: leave these options out, or use another --workdir."
        )
    if record.config != config:
        write_json(workdir.config, values)


def take_back(record: Record | None, config: Config, workdir: Workdir) -> None:
    """Leaves the record as it was before a job that could not begin: a new workdir in which nothing was made has none.

    So a mistaken option is not held against the command that mends it. What another job has recorded meanwhile stays
    where this one, with `config`, had nothing new to record.
    """
    if record is not None:
        if record.config != config:
            write_json(workdir.config, dataclasses.asdict(record))
        return
    made = [str(path.relative_to(workdir.root)) for path in remote.files(workdir.root)]
    # What is dotted, or lies in a folder that is, is the processes' own: locks, signs of life.
    if all(name.startswith(".") or "/." in name or name in (workdir.config.name, workdir.usage.name) for name in made):
        workdir.usage.unlink(missing_ok=True)
        workdir.config.unlink(missing_ok=True)


def missing_file(config: Config) -> str:
    """Which option names a file that is not there; "" where none does."""
    data, questions, tagger = config.data, config.questions, config.tagger
    named = {
        "data.path": () if data.path == "excerpt" else (data.path,),
        "data.text_path": (data.text_path,),
        "data.tagger_weights": (data.tagger_weights,),
        **{f"questions.{split}": getattr(questions, split) for split in ("train", "dev", "test")},
        **{f"tagger.{split}": getattr(tagger, split) for split in ("train", "dev")},
    }
    for option, names in named.items():
        for name in filter(None, names):
            if not file_and_split(name)[0].exists():
                return f"{option}: {name!r} is not there"
    return ""


def differences(old: Config, new: Config, old_word: str, new_word: str) -> str:
    """One line for each option that differs, or nothing."""
    return "\n".join(
        f"  {name}: {before!r} {old_word}, {after!r} {new_word}"
        for name, (before, after) in changes(old, new).items()
        if not schema.of_the_machine(name)
    )


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Lets modules of an absolute folder be imported by their plain names; afterwards no trace of them is left."""
    before = dict(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, loaded in list(sys.modules.items()):
            if loaded is not before.get(name) and _folder_of(loaded) == folder:
                del sys.modules[name]
                if name in before:
                    sys.modules[name] = before[name]


def _folder_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).parent if file else None


def _near(path: AnyPath) -> str:
    """What the user may have meant by a file that is not there."""
    files = [str(file) for file in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
    files += [str(file) for file in sorted(Path("experiments").glob("*.py")) if str(file) not in files]
    if not files:
        return ""
    names = [Path(file).name for file in files]
    nearest = [files[names.index(name)] for name in difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)]
    return f"; did you mean {' or '.join(nearest)}?" if nearest else f"; there are {', '.join(files)}"


def _line_in(path: Path, error: Exception) -> str:
    """Where an error was made: `file:line` of the innermost line of the experiment file in its traceback, and of the
    neighbour that this called."""
    folder = path.parent.resolve()
    near = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve().parent == folder]
    own = [frame for frame in near if Path(frame.filename).resolve() == path.resolve()]
    lines = [f"{frame.filename}:{frame.lineno}" for frame in (*own[-1:], *near[-1:])]
    return lines[0] + (f" (by {lines[-1]})" if lines[-1] != lines[0] else "") if lines else ""


def _hint(error: Exception) -> str:
    """For a module that is not found, where it may lie; for an option that a part of the schema lacks, the nearest one
    that it has."""
    if isinstance(error, ModuleNotFoundError):
        there = Path("experiments") / f"{error.name}.py"
        beside = there if there.is_file() else "what it imports"
        return f"; an experiment file finds what is installed, and what lies in its own folder: put it beside {beside}"
    if "Did you mean" in str(error):  # Python 3.13 says so itself
        return ""
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    part = getattr(schema, match[1], None) if match else None
    if not dataclasses.is_dataclass(part):
        return ""
    names = [field.name for field in dataclasses.fields(part)]
    return f"; {near_miss(match[2], names, f'{match[1]} has')}"
