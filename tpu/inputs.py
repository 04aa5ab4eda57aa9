"""The files that an experiment reads. A slice has what is sent to it, and no more."""

import posixpath
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.settings import flatten
from tpu import source

OPTIONS = (
    *("data.path", "data.text_path", "data.tagger_weights", "model.weights", "model.vocab"),
    *("questions.train", "questions.dev", "questions.test", "tagger.train", "tagger.dev"),
)
NO_FILES = {"data.path": ("excerpt",), "model.weights": ("minilm", "random")}


def check_inputs(config: str, options: Sequence[str], has_own: bool) -> None:
    """Looks whether the source has every file and folder that an experiment names.

    Args:
      config: the experiment file, within the source.
      options: the experiment's, which stand behind `--`.
      has_own: whether the TPU is the user's own, and may have files that we know nothing of.

    Raises:
      UserError: one is not sent, or the experiment does not run.
    """
    experiment = _experiment(config)
    if experiment is None:
        return
    named = flatten(experiment) | _given(options)
    sent = {str(path) for file in source.files() for path in (PurePosixPath(file), *PurePosixPath(file).parents)}
    for option in OPTIONS:
        names = [named[option]] if isinstance(named[option], str) else named[option]
        for name in names:
            if not name or name in NO_FILES.get(option, ()) or (has_own and name.startswith("/")):
                continue
            without_split = name.rpartition(":")[0] or name  # FOLDER:SPLIT
            if not {posixpath.normpath(name), posixpath.normpath(without_split)} & sent:
                raise UserError(
                    f"{option}: {name!r} is not in the source, which is all that is sent to a slice; `git add` it, or "
                    "use a TPU of your own that has it (--on-existing), and name its absolute path there: docs/tpu.md"
                )


def _experiment(config: str) -> Config | None:
    """What the file's get_config() gives; None, with a warning, where this machine lacks what it imports."""
    file, before = source.ROOT / config, set(sys.modules)
    sys.path.insert(0, str(file.parent))  # it may import its neighbours
    try:
        get = runpy.run_path(str(file)).get("get_config")
        experiment = get() if get else None
    except ImportError as error:
        print(f"warning: {config}: whether its files are sent is not known ({error})", file=sys.stderr)
        return None
    except Exception as error:
        raise UserError(f"{config}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.parent))
        for name in set(sys.modules) - before:
            if (path := getattr(sys.modules[name], "__file__", None)) and Path(path).parent == file.parent:
                del sys.modules[name]
    if not isinstance(experiment, Config):
        raise UserError(f"{config}: it must have a function get_config() that returns realm_jax.config.Config")
    return experiment


def _given(options: Sequence[str]) -> dict[str, list[str]]:
    """The words behind each option."""
    given: dict[str, list[str]] = {}
    words: list[str] = []
    for word in options:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            words = given[name.replace("-", "_")] = [value] if equals else []
        else:
            words.append(word)
    return given
