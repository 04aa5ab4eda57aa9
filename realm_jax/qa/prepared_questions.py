"""Writes the questions of an experiment."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from realm_jax.config import Config
from realm_jax.config import Questions as Settings
from realm_jax.corpus import tfds_files
from realm_jax.corpus.source import open_source
from realm_jax.errors import UserError
from realm_jax.kinds import SOURCES
from realm_jax.qa.question_files import read_questions
from realm_jax.qa.questions import Questions, set_folder, write_questions
from realm_jax.workdir import DataDir, read_json, write_json

Say = Callable[[str], None]


def prepare_questions(config: Config, data_dir: DataDir, say: Say = lambda line: print(line, flush=True)) -> None:
    """Writes data set `questions`, unless it is there and its files are as they were.

    Raises:
      UserError: what `read_questions` finds wrong, or a file has changed and other runs use what was made of it;
        nothing is written.
    """
    folder = set_folder(config.questions, data_dir)
    if config.questions.files:
        # A sweep's runs have a link to their data.
        shared = bool(config.data.directory) or data_dir.root.is_symlink()
        _from_files(config.questions, folder, shared, say)
    elif SOURCES[config.data.source].brings_questions:
        if not tfds_files.is_written(Questions, folder):
            source = open_source(config.data.source, config.data.path)
            write_questions(folder, source.questions(config.questions.by_kind))
    else:
        say(f"prepare: no questions: {config.data.source} brings none, and questions.train names no file")


def _from_files(settings: Settings, folder: Path, shared: bool, say: Say) -> None:
    digests, marker = _digests(settings), folder / "files.json"
    if tfds_files.is_written(Questions, folder) and marker.exists():
        changed = [name for name, before in read_json(marker).items() if digests[name] != before]
        if not changed:
            return
        if shared:
            raise UserError(
                f"{changed[0]}: has changed since its questions were prepared in {folder}, which other runs may use; "
                "give the changed file another name, or delete that folder if no run needs it"
            )
    splits = read_questions(settings, lambda line: say(f"prepare: {line}"))
    shutil.rmtree(folder, ignore_errors=True)
    write_questions(folder, splits)
    write_json(marker, digests)
    say("prepare: questions: " + ", ".join(f"{len(questions)} {split}" for split, questions in splits.items()))


def _digests(settings: Settings) -> dict[str, str]:
    """{file: digest of its bytes}; of a TFDS folder, which does not change, nothing but its name."""
    names = [name for files in settings.files.values() for name in files]
    return {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() if Path(name).is_file() else "" for name in names}
