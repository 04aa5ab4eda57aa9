"""When a predicted answer is right: the normalisation of the SQuAD, DrQA and NQ-open scorers."""

import collections
import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

from realm_jax.errors import UserError

_PUNCTUATION = frozenset(string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Lower case, no punctuation, no a/an/the, single spaces.

    As in the NQ-open scorer (google-research/language, orqa/utils/eval_utils.py), accents are taken apart from their
    letters (Unicode NFD) and stay: "Jose" is not "José". A set whose readers cannot write accents lists both spellings.
    """
    text = "".join(char for char in unicodedata.normalize("NFD", text).lower() if char not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def strip_accents(text: str) -> str:
    """`José` becomes `Jose`."""
    if text.isascii():
        return text
    marks_apart = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(char for char in marks_apart if unicodedata.category(char) != "Mn"))


def exact_match(prediction: str, answers: Iterable[str]) -> bool:
    """Whether the prediction equals some answer, both normalised."""
    return normalise(prediction) in set(map(normalise, answers))


def f1(prediction: str, answers: Iterable[str]) -> float:
    """The best F1 of the prediction's words against an answer's, both normalised."""
    return max((_f1(normalise(prediction).split(), normalise(answer).split()) for answer in answers), default=0.0)


def _f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    if not prediction or not answer:
        return float(prediction == answer)
    common = sum((collections.Counter(prediction) & collections.Counter(answer)).values())
    return 2 * common / (len(prediction) + len(answer))


def regex_match(prediction: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern (CuratedTREC's answers) matches from the prediction's first character on, whatever the case.

    Raises:
      UserError: a pattern is no regular expression.
    """
    return any(compile_pattern(pattern).match(prediction) for pattern in patterns)


@lru_cache(maxsize=100_000)
def compile_pattern(pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern, re.IGNORECASE | re.UNICODE | re.MULTILINE)
    except re.error as error:
        raise UserError(
            f"answer {pattern!r}: not a regular expression ({error}); mend it or leave the question out"
        ) from None
