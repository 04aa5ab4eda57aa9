"""Which passages hold an answer: three ways to say so, which give different recalls. Name the way beside a number.

Answers that are regular expressions have a way of their own.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int

from realm_jax.errors import UserError
from realm_jax.qa.answers import compile_pattern, regex_match
from realm_jax.qa.questions import answer_pieces
from realm_jax.text.tokenizer import Tokenizer

Kind = Literal["tokens", "normalized", "bytes"]
KINDS = (*get_args(Kind), "regex")


def holds_answer(kind: str, passage: str | bytes | np.ndarray, answers: Sequence[str | np.ndarray]) -> bool:
    """Whether the passage has some answer.

    Args:
      kind: `tokens`: the passage's row (int [P]) has an answer's wordpieces (int [L]) one after another.
        `normalized`: the text has the answer's words one after another (DPR); see `words`.
        `bytes`: the text has the answer's UTF-8 bytes, in the same case, word ends or not (ORQA).
        `regex`: the answer, a regular expression, matches somewhere in the text, in any case (DrQA).
      passage: a row for `tokens`, which has the title too; else the text: ORQA and DPR give the body alone, DrQA an
        article, which begins with its title.
      answers: wordpieces for `tokens`, else text.
    """
    stands = _search(kind, passage)
    return any(stands(answer) for answer in answers)


def _search(kind: str, passage: str | bytes | np.ndarray) -> Callable[[str | np.ndarray], bool]:
    """Whether the passage has an answer; it is made ready once for all of them."""
    if kind == "tokens":
        row = np.asarray(passage)
        return lambda pieces: _contains(row, np.asarray(pieces))
    text = passage.decode() if isinstance(passage, bytes) else str(passage)
    if kind == "normalized":
        spaced = f" {words(text)} "
        return lambda answer: bool(found := _words_of_answer(str(answer))) and f" {found} " in spaced
    if kind == "bytes":
        data = text.encode()
        return lambda answer: bool(answer) and str(answer).encode() in data
    if kind == "regex":
        return lambda answer: compile_pattern(str(answer)).search(text)
    raise UserError(f"finetune.labels: {kind!r} is none of {', '.join(get_args(Kind))}")


def words(text: str) -> str:
    """The words that DPR compares, joined by spaces: the text's words in lower case, after Unicode NFD.

    A word is a run of letters, digits and marks, so accents count; every other visible character, such as a full stop,
    is a word of its own.
    """
    return " ".join(unicodedata.normalize("NFD", text).translate(_SPACED).lower().split())


_words_of_answer = lru_cache(maxsize=100_000)(words)


class _Spaced(dict):
    """Of a character's number the text that takes its place, looked up once each."""

    def __missing__(self, point: int) -> str:
        character = chr(point)
        kind = unicodedata.category(character)[0]
        self[point] = character if kind in "LNM" else " " if kind in "ZC" else f" {character} "
        return self[point]


_SPACED = _Spaced()


def pattern_spans(body: str, patterns: Sequence[str], tokenizer: Tokenizer) -> Iterator[tuple[int, int]]:
    """(first, width) in wordpieces of the body's spans that are answers by a regular expression.

    Of each match the fewest wordpieces that cover it, where the scorer takes their text for an answer: it does not when
    a match begins within a wordpiece.
    """
    offsets = tokenizer.encode(body).offsets
    for pattern in patterns:
        for start, limit in compile_pattern(pattern).spans(body):
            first = int(np.searchsorted(offsets[:, 1], start, "right"))
            last = int(np.searchsorted(offsets[:, 0], limit, "left")) - 1
            if start < limit and first <= last and regex_match(body[offsets[first, 0] : offsets[last, 1]], [pattern]):
                yield first, last - first + 1


class Labeller:
    """Labels rows of the passage store for questions, by any of the kinds."""

    def __init__(
        self,
        kind: str,
        tokenizer: Tokenizer,
        rows: Callable[[np.ndarray], np.ndarray],
        text: Callable[[int], str] | None = None,
    ):
        """`rows` gives the tokens [k, P] of passages, `text` the part of a passage that is searched; `tokens` needs no
        text."""
        if kind not in KINDS:
            raise UserError(f"finetune.labels: {kind!r} is none of {', '.join(get_args(Kind))}")
        if kind != "tokens" and text is None:
            raise ValueError(f"labels of kind {kind!r} need the passages' text")
        self.kind, self._tokenizer, self._rows, self._text = kind, tokenizer, rows, text

    def __call__(self, answers: Sequence[str], passages: Int[np.ndarray, " k"]) -> Bool[np.ndarray, " k"]:
        """Which of these passages hold one of the answers."""
        return self.table([answers], passages)[0]

    def table(self, questions: Sequence[Sequence[str]], passages: Int[np.ndarray, " k"]) -> Bool[np.ndarray, "B k"]:
        """Which of these passages hold one of the answers of each question; each passage is read once."""
        labels = np.zeros((len(questions), len(passages)), bool)
        if self.kind == "tokens":
            rows = self._rows(np.asarray(passages))
            for i, answers in enumerate(questions):
                labels[i] = contains_any(rows, list(answer_pieces(answers, self._tokenizer)))
            return labels
        for k, row in enumerate(passages):
            stands = _search(self.kind, self._text(int(row)))
            labels[:, k] = [any(map(stands, answers)) for answers in questions]
        return labels


def contains_any(rows: Int[np.ndarray, "k P"], answers: Sequence[np.ndarray]) -> Bool[np.ndarray, " k"]:
    """Which rows hold some answer's wordpieces one after another."""
    found = np.zeros(len(rows), bool)
    for pieces in answers:
        found |= _starts(rows, pieces).any(-1)
    return found


def _contains(row: np.ndarray, pieces: np.ndarray) -> bool:
    return bool(_starts(row[None], pieces).any())


def _starts(rows: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """bool [k, P - L + 1]: the pieces begin there."""
    size, room = len(pieces), rows.shape[-1] - len(pieces) + 1
    if size == 0 or room < 1:
        return np.zeros((len(rows), 0), bool)
    found = rows[:, :room] == pieces[0]
    for i in range(1, size):
        found = found & (rows[:, i : i + room] == pieces[i])
    return found
