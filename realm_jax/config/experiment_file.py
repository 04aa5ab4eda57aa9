"""Experiment files: Python files whose `get_config()` or `get_sweep()` gives the run or the sweep; some come with the
package."""

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
SHIPPED = (Path(__file__).parents[1] / "experiments").resolve()
"""Folder of the experiments that come with the package: in a clone a link to the one beside the package."""


def load_experiment(path: Path) -> Config:
    """Runs an experiment file's ``get_config()``. A variant imports its base by its plain name, from its own folder or
    from the shipped ones.

    Args:
      path: the file, or the name of a shipped one.

    Raises:
      UserError: the file is missing, does not run, or gives no Config; the message says where.
    """
    return _load(path, "get_config", Config)


def load_sweep(path: Path) -> Sweep:
    """The same of ``get_sweep()``."""
    return _load(path, "get_sweep", Sweep)


def shipped() -> dict[str, Path]:
    """{name: file} of the experiments that come with the package, and of the files they import."""
    return {file.stem: file for file in sorted(SHIPPED.glob("*.py"))}


def find(path: Path) -> Path:
    """The file of that path or, for a name such as `factbook`, the shipped one.

    Raises:
      UserError: there is none; the message names near ones.
    """
    file = path if path.is_file() else shipped().get(str(path))
    if file is None:
        raise UserError(f"{path}: no such experiment file{_near(path)}")
    return file


def _load(path: Path, function: str, kind: type[T]) -> T:
    path = find(path)
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
        except SystemExit as error:
            where = _line_in(path, error) or path
            raise UserError(
                f"{where}: ends Python ({type(error).__name__}: {error}); {function}() must return {kind_name}"
            ) from None
        except SyntaxError as error:
            where = f"{error.filename or path}:{error.lineno or 1}"
            raise UserError(f"{where}: syntax error: {error.msg}; write it as Python, in UTF-8") from None
        except (Exception, GeneratorExit) as error:
            where = _line_in(path, error)
            if isinstance(error, UserError):
                raise UserError(f"{where}: {error}" if where else str(error)) from None
            name = type(error).__name__
            raise UserError(f"{where or path}: {name}: {error}{_hint(error)}") from error
    if type(value) is not kind:
        raise UserError(f"{path}: {function}() gave a {type(value).__name__}; it must return {kind_name} itself")
    return value


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Lets modules of an absolute folder, and shipped experiments, be imported by their plain names; afterwards no
    trace of them is left."""
    before, folders = dict(sys.modules), [folder, *([] if folder == SHIPPED else [SHIPPED])]
    sys.path[:0] = map(str, folders)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for each in folders:
            sys.path.remove(str(each))
        for name, loaded in list(sys.modules.items()):
            if loaded is not before.get(name) and _folder_of(loaded) in folders:
                del sys.modules[name]
                if name in before:
                    sys.modules[name] = before[name]


def _folder_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).parent if file else None


def _near(path: Path) -> str:
    """Suggestions for a file that is not there: one beside it, or a shipped one."""
    beside = sorted(path.parent.glob("*.py")) if path.parent.is_dir() else []
    files = {name: name for name in shipped()} | {file.stem: str(file) for file in beside}
    nearest = [files[name] for name in difflib.get_close_matches(path.stem, files, n=3, cutoff=0.7)]
    others = f"; beside it there are {', '.join(map(str, beside))}" if beside else ""
    if nearest:
        return f"; did you mean {' or '.join(nearest)}?"
    return f"; nor is it a workdir, which has a config.json{others}; `realm experiments` lists shipped ones"


def _line_in(path: Path, error: BaseException) -> str:
    """Where an error was made: `file:line` of the innermost line of the experiment file in its traceback, and of the
    neighbour that this called."""
    folder = path.parent.resolve()
    near = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve().parent == folder]
    own = [frame for frame in near if Path(frame.filename).resolve() == path.resolve()]
    lines = [f"{frame.filename}:{frame.lineno}" for frame in (*own[-1:], *near[-1:])]
    return lines[0] + (f" (by {lines[-1]})" if lines[-1] != lines[0] else "") if lines else ""


def _hint(error: BaseException) -> str:
    """For a module that is not found, where it may lie; for an option that a part of the schema lacks, the nearest one
    that it has."""
    if isinstance(error, ModuleNotFoundError):
        return "; an experiment file finds shipped ones, what lies in its own folder, and what is installed"
    if "Did you mean" in str(error):  # Python 3.13 says so itself
        return ""
    match = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    part = getattr(sys.modules["realm_jax.config"], match[1], None) if match else None
    if not dataclasses.is_dataclass(part):
        return ""
    names = [field.name for field in dataclasses.fields(part)]
    return f"; {near_miss(match[2], names, f'{match[1]} has')}"
