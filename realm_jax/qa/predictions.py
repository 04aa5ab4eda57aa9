"""Files of predicted answers, in the forms that the official scorers read."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from realm_jax.errors import Faults, UserError
from realm_jax.qa.question_files import lines, parse_json, parse_text
from realm_jax.qa.questions import Question
from realm_jax.remote import AnyPath
from realm_jax.workdir import write_text

Key = tuple[str, str]
"""("question", its wording), ("id", its id) or ("line", its place)."""
FORMS = (
    'a line is {"question": ..., "prediction": ...} (NQ-open and ORQA), question <tab> answers <tab> [prediction] '
    '(WebQuestions), or, one for each question in their order, [{"span": ...}] (DrQA)'
)


def write_predictions(
    folder: AnyPath, name: str, questions: Sequence[Question], predictions: Sequence[str], match: str
) -> None:
    """Writes `name`.jsonl as NQ-open's and ORQA's scorers read it, and the file by which the rule `match` is otherwise
    scored: `name`.preds for DrQA's (CuratedTREC), `name`.tsv for SEMPRE's (WebQuestions)."""
    first, second = [], []
    for asked, prediction in zip(questions, predictions, strict=True):
        first.append(json.dumps({"id": asked.id, "question": asked.question, "prediction": prediction}))
        if match == "regex":
            second.append(json.dumps([{"span": prediction}]))
        else:
            second.append(f"{_wording(asked.question)}\t{json.dumps(asked.answers)}\t{json.dumps([prediction])}")
    for ending, written in ((".jsonl", first), (".preds" if match == "regex" else ".tsv", second)):
        write_text(folder / f"{name}{ending}", "".join(f"{line}\n" for line in written))


def read_predictions(path: Path, questions: Sequence[Question]) -> list[str | None]:
    """The file's prediction for each question; None where it says nothing.

    Of questions with the same wording each takes a line of its own, in their order, or all take the only one.

    Raises:
      UserError: lines that are no predictions, have no question of the split, or answer a question again, be it by its
        wording, its id or its place.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"--predictions: {path}: cannot be read ({error.strerror})") from None
    places: dict[Key, list[int]] = {}
    for i, asked in enumerate(questions):
        for key in (("question", _wording(asked.question)), ("id", asked.id), ("line", str(i + 1))):
            places.setdefault(key, []).append(i)
    said: dict[Key, list[tuple[str, str]]] = {}
    faults = Faults("predictions", f"In a file of predictions {FORMS}.")
    for number, (where, line) in enumerate(lines(path, data), 1):
        try:
            key, prediction = _parse(where, line, number)
            if key not in places:
                raise UserError(f"{where}: {key[0]} {key[1]!r} is none of this split's {len(questions)}")
            if len(said.setdefault(key, [])) == len(places[key]):
                raise UserError(f"{where}: {key[0]} {key[1]!r} has been answered already; one line a question")
            said[key].append((where, prediction))
        except UserError as fault:
            faults.add(str(fault))
    found: dict[int, tuple[str, str]] = {}
    for key, predictions in said.items():
        for i, row in enumerate(places[key]):
            where, prediction = predictions[min(i, len(predictions) - 1)]
            if row in found:
                faults.add(f"{where}: {key[0]} {key[1]!r} has been answered already, at {found[row][0]}")
            found[row] = where, prediction
    faults.settle()
    return [found[row][1] if row in found else None for row in range(len(questions))]


def _parse(where: str, line: bytes, number: int) -> tuple[Key, str]:
    """The question of a line, and the answer it gives."""
    if line.startswith((b"{", b"[")):
        record = parse_json(where, line)
        if isinstance(record, list):
            return ("line", str(number)), _text(where, "span", record[0] if record else {"span": ""})
        key = next((name for name in ("question", "id") if name in record), None)
        if key is None:
            raise UserError(f"{where}: neither 'question' nor 'id'; here are {', '.join(map(repr, record)) or 'none'}")
        return (key, _wording(str(record[key]))), _text(where, "prediction", record)
    fields = parse_text(where, line).split("\t")
    if len(fields) != 3:
        raise UserError(f"{where}: {len(fields)} fields; 3 are wanted: question, answers, predictions")
    answers = parse_json(where, fields[2])
    if not isinstance(answers, list):
        raise UserError(f"{where}: the third field is {fields[2][:60]}; it must be a JSON list of predictions")
    return ("question", _wording(fields[0])), _text(where, "prediction", {"prediction": answers[0] if answers else ""})


def _text(where: str, name: str, record: Any) -> str:
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise UserError(f"{where}: no text in a field {name!r}")
    return value


def _wording(text: str) -> str:
    return " ".join(text.split())
