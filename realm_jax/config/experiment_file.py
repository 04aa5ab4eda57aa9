"""Experiment files: Python files whose `get_config()` or `get_sweep()` says what is run."""

import dataclasses
import difflib
import importlib
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from realm_jax.config.experiment import Config
from realm_jax.config.sweep import Sweep
from realm_jax.errors import UserError, near_miss

T = TypeVar("T")


def load_experiment(path: Path) -> Config:
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


def _near(path: Path) -> str:
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
    part = getattr(sys.modules["realm_jax.config"], match[1], None) if match else None
    if not dataclasses.is_dataclass(part):
        return ""
    names = [field.name for field in dataclasses.fields(part)]
    return f"; {near_miss(match[2], names, f'{match[1]} has')}"
