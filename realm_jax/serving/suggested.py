"""Questions that a visitor may begin with, out of the run's own data."""

import functools
from typing import Any

from realm_jax.answering.asked import MASK
from realm_jax.config import Config
from realm_jax.corpus import tfds_files
from realm_jax.errors import UserError
from realm_jax.qa.questions import prepared_set
from realm_jax.workdir import Workdir

QUESTIONS, SENTENCES = 3, 2
LONGEST = 140
"""Characters of a sentence."""
LOOKED_AT = 30
"""Articles in which a sentence is looked for."""


@functools.lru_cache(maxsize=1)
def suggested(config: Config, workdir: Workdir) -> list[tuple[str, str]]:
    """(text, truth): dev questions, and held-out sentences with a salient span hidden; as many as there are."""
    return [*_questions(config, workdir), *_sentences(config, workdir)]


def _questions(config: Config, workdir: Workdir) -> list[tuple[str, str]]:
    data = workdir.data(config.data.directory)
    try:
        source = tfds_files.read(prepared_set(config.questions, data), "questions", "dev")
    except UserError:
        return []
    records = [source[len(source) * i // QUESTIONS] for i in range(min(QUESTIONS, len(source)))]
    return [(record["question"].decode(), _first(record["answers"], config)) for record in records]


def _first(answers: Any, config: Config) -> str:
    """The first answer, unless answers are patterns."""
    return "" if config.questions.match == "regex" else answers[0].decode()


def _sentences(config: Config, workdir: Workdir) -> list[tuple[str, str]]:
    try:
        source = tfds_files.read(workdir.data(config.data.directory).tfds, "queries", "heldout")
    except UserError:
        return []
    found: list[tuple[str, str]] = []
    for i in range(min(LOOKED_AT, len(source))):
        record = source[len(source) * i // LOOKED_AT if len(source) > LOOKED_AT else i]
        sentence = _masked(record)
        if sentence and len(found) < SENTENCES:
            found.append(sentence)
    return found


def _masked(record: Any) -> tuple[str, str] | None:
    """The first short sentence of an article with its last span hidden, its subject before it."""
    text, spans, sentences = record["text"], record["spans"], record["sentences"]
    for start, limit in zip(sentences["start"], sentences["limit"], strict=True):
        inside = [
            (int(first), int(last))
            for first, last in zip(spans["start"], spans["limit"], strict=True)
            if start <= first and last <= limit
        ]
        if inside and limit - start <= LONGEST:
            first, last = inside[-1]
            subject = record["title"].decode().partition(":")[0]
            sentence = f"{subject}: {text[start:first].decode()}{MASK}{text[last:limit].decode()}"
            return " ".join(sentence.split()), text[first:last].decode()
    return None
