"""The files that an experiment reads. A slice has the files that are sent to it, and no more."""

import posixpath
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from realm_jax.config import INPUT_FILES
from realm_jax.config.experiment_file import load_experiment
from realm_jax.errors import UserError
from realm_jax.settings import flatten
from tpu import source


def check_inputs(config: str, options: Sequence[str], has_own: bool) -> None:
    """Looks whether the source has every file and folder that an experiment names.

    Args:
      config: the experiment file, within the source.
      options: the experiment's, which stand behind `--`.
      has_own: whether the TPU is the user's own, and may have files that we know nothing of.

    Raises:
      UserError: one is not sent, or the experiment does not run.
    """
    try:
        experiment = load_experiment(source.ROOT / config)
    except UserError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        # What the slices have and this machine lacks.
        print(f"warning: {config}: whether its files are sent is not known ({error.__cause__})", file=sys.stderr)
        return
    named = flatten(experiment) | _given(options)
    sent = {str(path) for file in source.files() for path in (PurePosixPath(file), *PurePosixPath(file).parents)}
    for option, mark in INPUT_FILES.items():
        for name in mark.names(named[option]):
            if has_own and name.startswith("/"):
                continue
            without_split = name.rpartition(":")[0] or name  # FOLDER:SPLIT
            if not {posixpath.normpath(name), posixpath.normpath(without_split)} & sent:
                raise UserError(
                    f"{option}: {name!r} is not in the source, which is all that is sent to a slice; `git add` it, or "
                    "use a TPU of your own that has it (--on-existing), and name its absolute path there: docs/tpu.md"
                )


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
