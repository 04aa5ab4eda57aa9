"""Texts that a model is asked, checked before anything is computed."""

from collections.abc import Callable
from typing import Any, TypeVar

from realm_jax.errors import UserError

MASK = "[MASK]"
T = TypeVar("T")


def each(asked: Any, compute: Callable[[list[str]], list[T]]) -> Any:
    """One result of one text, a list of a list's."""
    if isinstance(asked, str):
        return compute([asked])[0]
    texts = [checked(text) for text in asked]
    return compute(texts) if texts else []


def checked(text: Any, what: str = "text", empty: bool = False) -> str:
    """Raises UserError for anything that is no text to ask."""
    if not isinstance(text, str):
        raise UserError(f"{what}: {text!r} is no string")
    if not text.strip() and not empty:
        raise UserError(f"{what}: {text!r} is empty; ask a question, or write a sentence with [MASK]")
    if MASK not in text and "[mask]" in text.lower():
        raise UserError(f"{what}: {short(text)}: the words to find are written [MASK], in capitals")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{what}: {short(text)} has half of a surrogate pair, which is no character")
    return text


def short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
