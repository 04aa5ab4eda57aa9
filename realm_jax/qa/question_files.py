"""Question sets as they are published or brought along: NQ-open, WebQuestions, CuratedTREC, SQuAD, JSON lines, TFDS."""

import codecs
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from realm_jax.config import Questions as Settings
from realm_jax.corpus.tfds_files import open_prepared
from realm_jax.errors import BadJson, Faults, UserError, from_json
from realm_jax.kinds import QUESTION_FORMATS
from realm_jax.qa.answers import compile_pattern
from realm_jax.qa.questions import Question, as_text, check
from realm_jax.qa.squad import is_squad, squad_questions
from realm_jax.settings import file_and_split

_QUESTION, _ANSWERS, _ID = ("question", "qText", "utterance"), ("answer", "answers", "targetValue"), ("id", "qId")
_DESCRIPTION = re.compile(r'\(description (?:"((?:[^"\\]|\\.)*)"|([^()]*))\)')
_LIST = re.compile(r"""\[\s*(?:'[^']*'|"[^"]*")(?:[\s,]+(?:'[^']*'|"[^"]*"))*[\s,]*\]""")
Records = Iterator[tuple[str, Any]]
"""(where: `file:line`, the text there)."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A form that files of questions have; `kinds.QUESTION_FORMATS` has all."""

    fits: Callable[[Path, bytes], bool]
    """Whether a file with these bytes has it."""
    records: Callable[[Path, bytes], Records]
    """The raw records of a file, each with its place."""
    parse: Callable[[str, Any], Any] = lambda where, record: record
    """Makes {"question": ..., "answer": ...} of a raw record, given its place; raises UserError for a faulty one."""
    regex: bool = False
    """Whether answers are regular expressions, so that `questions.match` must be `regex`."""


def read_questions(settings: Settings, say: Callable[[str], None]) -> dict[str, list[Question]]:
    """Every split that has questions. Dev and test without files are taken out of the training questions, by `digit`.

    Raises:
      UserError: a file cannot be read, records are faulty, or a split comes out empty.
    """
    faults = Faults("questions", "Mend them, or have them left out with --questions.skip_faulty. Nothing was written.")
    splits = {split: _read_split(split, settings, faults) for split in settings.files}
    faults.settle(say if settings.skip_faulty else None)
    given = len(splits.get("train", ()))
    missing = {number: split for number, split in enumerate(("dev", "test")) if split not in splits}
    if missing and "train" in splits:
        parts = {split: [] for split in ("train", "dev", "test")}
        for question in splits.pop("train"):
            parts[missing.get(digit(question.question), "train")].append(question)
        splits = parts | splits
    for split, questions in splits.items():
        if not questions and (files := ", ".join(getattr(settings, split))):
            raise UserError(f"questions.{split}: no question in {files}; name a file that has some")
        if not questions:
            raise UserError(
                f"questions.{split}: without a file it gets a tenth of the questions of questions.train, chosen by "
                f"their words, and of so few ({given}) that is none; name a file: --questions.{split} FILE"
            )
    return splits


def digit(question: str) -> int:
    """0 to 9; questions of 0 are ORQA's dev set, the others its training set.

    As TensorFlow's to_hash_bucket_fast (FarmHash's Fingerprint64) into 100,000 buckets, modulo 10, in
    google-research/language, orqa/preprocessing/create_data_splits.py.
    """
    try:
        import farmhash
    except ImportError:
        raise UserError(
            "questions.dev, questions.test: taking them out of the training questions needs the package pyfarmhash, "
            "which has no wheel for this machine; compile it with `pip install pyfarmhash`, or name files"
        ) from None
    return farmhash.fingerprint64(question.encode()) % 10


def _read_split(split: str, settings: Settings, faults: Faults) -> list[Question]:
    questions, seen = [], {}
    for name in getattr(settings, split):
        records, parse = open_records(name, settings.match == "regex")
        for where, record in records:
            try:
                is_regex = settings.match == "regex"
                question = _question(parse(where, record), where, f"{split}-{len(questions)}", is_regex)
                check(question, where)
                if is_regex:
                    _check_patterns(question, where)
                if question.id in seen:
                    raise UserError(f"{where}: id {question.id!r} is at {seen[question.id]} already; it must differ")
            except UserError as fault:
                faults.add(str(fault))
            else:
                seen[question.id] = where
                questions.append(question)
    return questions


def open_records(name: str, regex: bool) -> tuple[Records, Callable[[str, Any], Any]]:
    """The raw records of a file, or of FOLDER:SPLIT, and the function that parses one, given its place.

    Args:
      regex: whether answers are taken as regular expressions.

    Raises:
      UserError: it cannot be read at all.
    """
    path, split = file_and_split(name)
    if path.is_dir():
        return _tfds_records(path, split), lambda where, record: as_text(record)
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise UserError(
            f"{name}: cannot be read ({error.strerror}); name a file of questions, or FOLDER:SPLIT of a data set that "
            "TFDS has prepared"
        ) from None
    form = next(form for kind in QUESTION_FORMATS.values() if (form := kind.load()).fits(path, data))
    if form.regex and not regex:
        raise UserError(f"{name}: its answers are regular expressions, as CuratedTREC's are; set questions.match regex")
    return form.records(path, data), form.parse


def lines(path: Path, data: bytes) -> Records:
    """The lines that are not blank, as bytes."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line.rstrip(b"\r")


def parse_text(where: str, line: bytes) -> str:
    """Raises UserError where a line is no UTF-8."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: not UTF-8 (byte {error.start + 1} of the line is 0x{line[error.start]:02x}); save it as UTF-8"
        ) from None


def parse_json(where: str, line: bytes | str) -> Any:
    """Raises UserError where a line is no JSON."""
    try:
        return from_json(line if isinstance(line, str) else parse_text(where, line))
    except BadJson as error:
        raise UserError(f"{where}: {error}; one record a line") from None


def _array_records(path: Path, data: bytes) -> Records:
    """Elements of a JSON array, each with the line that it begins on."""
    try:
        from_json(data)
    except BadJson as error:
        raise UserError(f"{path}:{error.line}: {error}; a list of records is wanted") from None
    text = data.decode()
    decode, between = json.JSONDecoder().raw_decode, re.compile(r"[\s,]*")
    at, line, counted = between.match(text, text.index("[") + 1).end(), 1, 0
    while text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        record, end = decode(text, at)
        yield f"{path}:{line}", record
        at = between.match(text, end).end()


def _parse_tsv(where: str, line: bytes) -> dict[str, str]:
    """`id <tab> kind <tab> question <tab> regular expression`, as in the TREC collections."""
    fields = parse_text(where, line).split("\t")
    if len(fields) != 4:
        raise UserError(f"{where}: {len(fields)} fields; 4 are wanted: id, kind, question, regular expression")
    return dict(zip(("id", "kind", "question", "answer"), fields, strict=True))


def _tfds_records(folder: Path, split: str) -> Records:
    _, source = open_prepared(folder, split, "natural_questions_open/1.0.0:train")
    return ((f"{folder}:{split}, record {i}", source[i]) for i in range(len(source)))


def _question(record: Any, where: str, number: str, is_regex: bool) -> Question:
    """Raises UserError for a record that lacks a field, or has another type in it."""
    if not isinstance(record, dict):
        raise UserError(f"{where}: {json.dumps(record)[:60]}; a record with 'question' and 'answer' is wanted")
    question, answers = _field(record, _QUESTION, where), _field(record, _ANSWERS, where)
    if "targetValue" in record and isinstance(answers, str):
        answers = [re.sub(r"\\(.)", r"\1", quoted) or plain for quoted, plain in _DESCRIPTION.findall(answers)]
    if isinstance(answers, dict):  # Hugging Face's records of SQuAD
        answers = answers.get("text", answers)
    answers = [answers] if isinstance(answers, str) else answers
    if isinstance(answers, list) and all(isinstance(answer, dict) and "text" in answer for answer in answers):
        answers = list(dict.fromkeys(answer["text"] for answer in answers))  # SQuAD's own
    if not isinstance(question, str):
        raise UserError(f"{where}: the question is {json.dumps(question)[:60]}; it must be a text")
    if not isinstance(answers, list | tuple) or not all(isinstance(answer, str) for answer in answers):
        raise UserError(f"{where}: the answers are {json.dumps(answers)[:60]}; they must be a text or a list of texts")
    if not is_regex and (listed := next(filter(_is_list, answers), None)):
        raise UserError(
            f"{where}: the answer {listed[:60]} is a list written as a text, which no prediction equals; write it as a "
            'list of JSON, ["1871", "in 1871"]'
        )
    given = {name: str(value) for name, value in record.items() if value is not None}
    others = {field.name: given.get(field.name, "") for field in dataclasses.fields(Question)[3:]}
    id = next((given[name] for name in _ID if name in given), number)
    return Question(id, question, tuple(answers), **others)


def _is_list(answer: str) -> bool:
    """Whether a text is how Python, pandas or JSON writes a list of texts."""
    return _LIST.fullmatch(answer.strip()) is not None


def _field(record: dict[str, Any], names: tuple[str, ...], where: str) -> Any:
    for name in names:
        if name in record:
            return record[name]
    raise UserError(
        f"{where}: no field {names[0]!r}; a question has {_QUESTION[0]!r} and {_ANSWERS[0]!r}, here are "
        f"{', '.join(map(repr, record)) or 'none'}"
    )


def _check_patterns(question: Question, where: str) -> None:
    for pattern in question.answers:
        try:
            compile_pattern(pattern)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


TREC = Format(lambda path, data: path.suffix == ".tsv", lines, _parse_tsv, regex=True)
SQUAD = Format(lambda path, data: is_squad(data), lambda path, data: squad_questions(path))
ARRAY = Format(lambda path, data: data.lstrip().startswith(b"["), _array_records)
LINES = Format(lambda path, data: True, lines, parse_json)
