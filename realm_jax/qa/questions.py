"""Sets of questions: their records in TFDS, and how they are read."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int

from realm_jax import disk
from realm_jax.config import QUESTION_SPLITS
from realm_jax.config import Questions as Settings
from realm_jax.corpus import tfds_files
from realm_jax.errors import UserError
from realm_jax.settings import Added, ShapesData, flatten, marked
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.workdir import DataDir, read_json


@dataclasses.dataclass(frozen=True)
class Question:
    """One question; in a set made from the corpus, `answers[0]` is literally in it, the others are accepted as well."""

    id: str
    question: str
    answers: tuple[str, ...]
    subject: str = ""
    """Its subject; a set is split by subject."""
    kind: str = ""
    """The template it was made from."""


class Questions(tfds_files.LocalBuilder):
    """Splits `config.QUESTION_SPLITS`, of which a set has some."""

    name = "questions"
    description = "Questions with accepted answers; no dev or test answer is a train answer."

    def features(self) -> dict[str, Any]:
        text = tfds.features.Text()
        return {"id": text, "question": text, "answers": tfds.features.Sequence(text), "subject": text, "kind": text}


def set_folder(settings: Settings, data: DataDir) -> Path:
    """TFDS's data_dir of the set. Every choice of files has its own: several sets may be asked of one corpus."""
    if not settings.has_own_folder:
        return data.tfds
    values, default, added = flatten(settings), flatten(Settings()), marked(Settings, Added)
    shaping = marked(Settings, ShapesData)
    chosen = {name: values[name] for name in shaping if name not in added or values[name] != default[name]}
    chosen["skip_faulty"] = False  # as always: sets that were prepared are found by this key
    key = hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:8]
    return data.tfds / f"questions_{key}"


def prepared_set(settings: Settings, data: DataDir) -> Path:
    """`set_folder` for those who read it.

    Raises:
      UserError: all is prepared, and there are no questions.
    """
    folder = set_folder(settings, data)
    if not settings.files and data.manifest.exists() and not tfds_files.is_written(Questions, folder):
        raise UserError(
            f"{data.root}: this run has no questions; add them by the job `prepare` with --questions.test FILE (and "
            "--questions.train FILE, to learn from)"
        )
    return folder


def split_sizes(settings: Settings, data: DataDir) -> dict[str, int]:
    """{split: number of questions}; empty where no set is prepared."""
    info = set_folder(settings, data) / Questions.name / tfds_files.VERSION / "dataset_info.json"
    found = read_json(info, splits=list)["splits"] if info.exists() else []
    with disk.reading(info.parent, tfds_files.REMEDY):
        sizes = {part["name"]: sum(map(int, part["shardLengths"])) for part in found}
    return {split: sizes[split] for split in QUESTION_SPLITS if split in sizes}


def write_questions(data_dir: Path, splits: dict[str, list[Question]]) -> None:
    """Writes a set in `data_dir` (TFDS's), whole or not at all.

    Raises:
      UserError: a question without text or without answers; nothing is written.
    """
    for split, questions in splits.items():
        for number, question in enumerate(questions):
            check(question, f"split {split}, record {number}")

    def examples(questions: list[Question]):
        return lambda: (dataclasses.asdict(question) | {"answers": list(question.answers)} for question in questions)

    tfds_files.write(Questions, data_dir, {split: examples(questions) for split, questions in splits.items()})


def load_questions(data_dir: Path, split: str) -> list[Question]:
    """All questions of a split, in their order.

    Raises:
      UserError: no such set or split, or a question without text or answers.
    """
    source = tfds_files.read(data_dir, Questions.name, split)
    questions = []
    for number in range(len(source)):
        record = as_text(source[number])
        question = Question(**{field.name: record[field.name] for field in dataclasses.fields(Question)})
        check(question, f"{data_dir / Questions.name}, split {split}, record {number}")
        questions.append(question)
    return questions


def check(question: Question, where: str) -> None:
    """Raises UserError for a question without text or without answers, or with half a character."""
    for text in (question.id, question.question, *question.answers, question.subject, question.kind):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{where}: {ascii(text)[:60]}: character {error.start + 1} is half of one (a lone surrogate), which no "
                "UTF-8 holds; write the whole character"
            ) from None
    if not question.question.strip():
        raise UserError(f"{where} (id {question.id!r}): the question is empty; give it a text or leave the record out")
    if not any(answer.strip() for answer in question.answers):
        raise UserError(
            f"{where} (id {question.id!r}, {question.question!r}): no answers; give one or leave the record out"
        )


def answer_pieces(answers: Iterable[str], tokenizer: Tokenizer) -> Iterator[Int[np.ndarray, " L"]]:
    """The wordpieces of every answer that has any, each sequence once."""
    seen = set()
    for encoding in tokenizer.encode_batch(list(answers)):
        key = tuple(encoding.ids.tolist())
        if key and key not in seen:
            seen.add(key)
            yield encoding.ids


def pad_answers(answers: Iterable[str], tokenizer: Tokenizer, count: int, length: int) -> Int[np.ndarray, "A L"]:
    """At most `count` answers of at most `length` wordpieces, padded; longer ones are left out, perhaps all."""
    rows = np.full((count, length), tokenizer.pad_id, np.int32)
    fitting = (pieces for pieces in answer_pieces(answers, tokenizer) if len(pieces) <= length)
    for row, pieces in zip(rows, fitting, strict=False):
        row[: len(pieces)] = pieces
    return rows


def as_text(value: Any) -> Any:
    """A record of TFDS with its bytes decoded."""
    if isinstance(value, dict):
        return {name: as_text(part) for name, part in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    return tuple(map(as_text, value)) if isinstance(value, list | np.ndarray) else value
