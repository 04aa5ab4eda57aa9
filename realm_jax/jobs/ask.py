"""Answer questions, or fill the [MASK] of sentences, and show the passages read.

Prints the answer, the passages read with p(z|x), the score of each reading, and with --truth the gain of each passage
in training on that truth: r(z) = [p(y|z,x) / p(y|x) - 1] p(z|x).

    realm ask runs/factbook "What is the capital of Chad?"
    realm ask runs/factbook "The capital of Chad is [MASK]." --truth "N'Djamena"
    realm ask runs/factbook --questions questions.txt --json > answers.jsonl
"""

import json
import os
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from realm_jax.config import Config
from realm_jax.errors import Faults, UserError, from_json
from realm_jax.jobs.job import Job, keep_programs
from realm_jax.settings import MANY, Range
from realm_jax.workdir import Workdir

PROGRESS_S = 5.0


@dataclass(frozen=True)
class Arguments:
    """The text to ask. Without TEXT and --questions, questions are read from standard input."""

    text: Annotated[Positional[str], arg(metavar="TEXT")] = ""
    """A question, or a sentence with [MASK] for the words to find: one wordpiece each, or all of --truth's."""
    truth: str = ""
    """The right answer; shows you r(z)."""
    questions: str = ""
    """A file of texts to ask: one a line, or a JSON object a line, with `question` and perhaps `truth`. `-` is standard
    input."""
    passages: Annotated[int, Range(1, MANY)] = 5
    """Passages shown of those that are read for an answer (evaluation.read)."""
    unknown: bool = False
    """Whether to give no answer if it is less probable than `evaluate` found worth giving, and no words for [MASK] if
    the null passage has more than half of p(z|x)."""
    json: bool = False
    """Whether to print a JSON object a line, with every passage read."""

    def __post_init__(self):
        if self.text and self.questions:
            raise UserError("--questions: TEXT is given too; ask one of them")
        if self.truth and not self.text:
            raise UserError(
                '--truth: there is no TEXT that it belongs to; write {"question": ..., "truth": ...} a line'
            )


def misplaced(options: list[str]) -> None:
    """Raises UserError if a question is in the place of the run."""
    first = options[0] if options else ""
    if first.startswith("-") or not ("?" in first or " " in first.strip() or "[MASK]" in first):
        return
    if "://" not in first and not os.path.exists(first):  # which may be longer than any name
        raise UserError(f"{first!r} stands where the run belongs: realm ask runs/factbook {shlex.quote(first)}")


def main(config: Config, workdir: Workdir, arguments: Arguments) -> None:
    where, asked = read_asked(arguments)
    keep_programs(workdir)
    from realm_jax.answering.opening import open_model
    from realm_jax.answering.shown import as_text

    model = open_model(config, workdir)
    for place, one in zip(where, asked, strict=True):
        try:
            model.check(*one)
        except UserError as error:
            raise UserError(f"{place}{error}") from None
    start = said = time.monotonic()
    for done, result in enumerate(model.stream(asked, arguments.unknown), 1):
        if arguments.json:
            print(json.dumps(asdict(result), ensure_ascii=False), flush=True)
        else:
            print(as_text(result, arguments.passages), end="\n\n" if done < len(asked) else "\n", flush=True)
        if len(asked) > 1 and (now := time.monotonic()) - said > PROGRESS_S:
            said = now
            print(f"ask: {done} of {len(asked)}, {done / (now - start):.1f} a second", file=sys.stderr, flush=True)


def read_asked(arguments: Arguments) -> tuple[list[str], list[tuple[str, str]]]:
    """(text, truth) of each question, and the place that begins a message about it.

    Raises:
      UserError: there is none, or a file is faulty.
    """
    if arguments.text:
        return [""], [(arguments.text, arguments.truth)]
    name = arguments.questions or "-"
    if name == "-":
        if not arguments.questions and sys.stdin.isatty():
            raise UserError("TEXT is missing; write a question, --questions FILE, or send lines to standard input")
        name, lines = "standard input", sys.stdin.buffer.read()
    else:
        try:
            lines = Path(name).read_bytes()
        except OSError as error:
            raise UserError(f"--questions: {name!r} cannot be read ({error.strerror})") from None
    faults, where, asked = Faults("questions", "mend these lines"), [], []
    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip():
            continue
        try:
            asked.append(_asked(line.decode()))
            where.append(f"{name}:{number}: ")
        except (ValueError, UserError) as error:
            faults.add(f"{name}:{number}: {error}")
    faults.settle()
    if not asked:
        raise UserError(f"{name}: holds no question; write one a line")
    return where, asked


def _asked(line: str) -> tuple[str, str]:
    """Raises ValueError where a line is no question."""
    if not line.startswith("{"):
        return line.strip(), ""
    record: Any = from_json(line)
    found = record.get("question"), record.get("truth", "")
    if not all(isinstance(value, str) for value in found):
        raise ValueError('not {"question": "...", "truth": "..."}, of which the truth may be left out')
    return found


JOB = Job("ask", __doc__, main, Arguments, begins=False, command=misplaced)
