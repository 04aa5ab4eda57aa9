"""Writes the questions of an experiment."""

import dataclasses
import hashlib
from pathlib import Path

from realm_jax.config import Config
from realm_jax.config import Questions as Settings
from realm_jax.corpus import tfds_files
from realm_jax.corpus.preparation import Say
from realm_jax.corpus.source import open_data
from realm_jax.errors import UserError
from realm_jax.kinds import SOURCES
from realm_jax.qa.question_files import read_questions
from realm_jax.qa.questions import Questions, set_folder, write_questions
from realm_jax.workdir import DataDir, read_json, write_json


def prepare_questions(config: Config, data_dir: DataDir, say: Say = lambda line: print(line, flush=True)) -> None:
    """Writes data set `questions`, unless it is there and its files are as they were.

    Raises:
      UserError: a fault that `read_questions` finds, or a file has changed and other runs use its questions;
        nothing is written.
    """
    folder, settings = set_folder(config.questions, data_dir), config.questions
    brings = SOURCES[config.data.source].brings_questions and not settings.files
    source = open_data(config.data) if brings else None
    if source and (files := source.question_files()):
        settings = dataclasses.replace(settings, train=tuple(files))
        settings.check("questions.")
    if settings.files:
        # A sweep's runs have a link to their data.
        shared = bool(config.data.directory) or data_dir.root.is_symlink()
        _from_files(settings, folder, shared, say)
    elif source:
        if not tfds_files.is_written(Questions, folder):
            write_questions(folder, source.questions(config.questions.by_kind))
    else:
        say(f"prepare: no questions: {config.data.source} brings none, and questions.train names no file")


def _from_files(settings: Settings, folder: Path, shared: bool, say: Say) -> None:
    digests, marker = _digests(settings), folder / "files.json"
    if tfds_files.is_written(Questions, folder) and marker.exists():
        before = read_json(marker)
        changed = [name for name in {**before, **digests} if digests.get(name) != before.get(name)]
        if not changed:
            return
        if shared:
            raise UserError(
                f"{changed[0]}: has changed since its questions were prepared in {folder}, which other runs may use; "
                "give the changed file another name, or delete that folder if no run needs it"
            )
    splits = read_questions(settings, lambda line: say(f"prepare: {line}"))
    write_questions(folder, splits)
    write_json(marker, digests)
    taught, told = {question.question for question in splits.get("train", ())}, []
    for split, questions in splits.items():
        again = sum(question.question in taught for question in questions) if split != "train" else 0
        told.append(f"{len(questions)} {split}" + (f" ({again} of them in train too)" if again else ""))
    say("prepare: questions: " + ", ".join(told))


def _digests(settings: Settings) -> dict[str, str]:
    """{file: digest of its bytes}; of a TFDS folder, which does not change, nothing but its name."""
    names = [name for files in settings.files.values() for name in files]
    return {name: hashlib.sha256(Path(name).read_bytes()).hexdigest() if Path(name).is_file() else "" for name in names}
