"""When a predicted answer is right: exact match and F1 by the named rules of `questions.match`."""

import collections
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from realm_jax.errors import UserError

_PUNCTUATION = frozenset(string.punctuation)
SECONDS = 2.0
"""Which a user's regular expression may take for a text."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Lower case, no punctuation, no a/an/the, single spaces.

    As in the NQ-open scorer (google-research/language, orqa/utils/eval_utils.py), accents are taken apart from their
    letters (Unicode NFD) and stay: "Jose" is not "José". A set whose readers cannot write accents lists both spellings.
    """
    return squad_normalise(unicodedata.normalize("NFD", text))


def squad_normalise(text: str) -> str:
    """The same without NFD, as SQuAD's own scorer and DPR's: an accent encoded in two ways is two answers."""
    text = "".join(char for char in text.lower() if char not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def strip_accents(text: str) -> str:
    """`José` becomes `Jose`."""
    if text.isascii():
        return text
    marks_apart = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(char for char in marks_apart if unicodedata.category(char) != "Mn"))


NORMALISERS: dict[str, Callable[[str], str]] = {
    "nq_open": normalise,
    "squad": squad_normalise,
    "no_accents": lambda text: normalise(strip_accents(text)),
}
"""By their names in `questions.match`."""


def exact_match(prediction: str, answers: Iterable[str], match: str = "nq_open") -> bool:
    """Whether the prediction equals some answer, both normalised; for `regex`, whether one matches it."""
    if match == "regex":
        return regex_match(prediction, answers)
    normaliser = NORMALISERS[match]
    return normaliser(prediction) in set(map(normaliser, answers))


def f1(prediction: str, answers: Iterable[str], match: str = "nq_open") -> float:
    """The best F1 of the prediction's words against an answer's, both normalised; patterns have no words."""
    normaliser = NORMALISERS[match]
    return max((_f1(normaliser(prediction).split(), normaliser(answer).split()) for answer in answers), default=0.0)


def _f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    if not prediction or not answer:
        return float(prediction == answer)
    common = sum((collections.Counter(prediction) & collections.Counter(answer)).values())
    return 2 * common / (len(prediction) + len(answer))


def regex_match(prediction: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern (CuratedTREC's answers) matches from the prediction's first character on, in any case.

    Raises:
      UserError: a pattern is no regular expression, or takes too long.
    """
    return any(compile_pattern(pattern).match(prediction) for pattern in patterns)


class AnswerPattern:
    """A regular expression that is an answer. People write patterns that would run for ever: each search has a limit.

    Raises:
      UserError: it is none, or a search in a text takes more than SECONDS.
    """

    def __init__(self, pattern: str):
        import regex  # as re, with a limit of time

        self._pattern = pattern
        try:
            self._compiled = regex.compile(pattern, regex.IGNORECASE | regex.UNICODE | regex.MULTILINE)
        except (regex.error, RecursionError, OverflowError, MemoryError, ValueError) as error:
            raise UserError(
                f"answer {pattern[:200]!r}: not a regular expression ({error}); mend it or leave the question out"
            ) from None

    def match(self, text: str) -> bool:
        return self._limited(lambda: self._compiled.match(text, timeout=SECONDS), text) is not None

    def search(self, text: str) -> bool:
        return self._limited(lambda: self._compiled.search(text, timeout=SECONDS), text) is not None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """(start, limit) of all matches."""
        return self._limited(lambda: [m.span() for m in self._compiled.finditer(text, timeout=SECONDS)], text)

    def _limited(self, find: Callable[[], Any], text: str) -> Any:
        try:
            return find()
        except TimeoutError:
            raise UserError(
                f"answer {self._pattern[:200]!r}: takes more than {SECONDS} s on a text of {len(text)} characters; "
                "write it without repetitions within repetitions"
            ) from None


compile_pattern = lru_cache(maxsize=100_000)(AnswerPattern)
