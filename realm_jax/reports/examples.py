"""Questions with the passages retrieved for them, made ready for a page: ranks, hits, and the places of the answers."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from realm_jax.qa.answers import compile_pattern

Places = Iterator[tuple[int, int]]
"""(first, past the last) characters."""


def example(item: dict[str, Any]) -> dict[str, Any]:
    """One question as the template shows it: passages with their rank and answers marked."""
    answers = [str(answer) for answer in item.get("answers") or []]
    find = match_patterns if item.get("match") == "regex" else match_words

    def passages(key):
        return [
            {
                "rank": rank,
                "title": p.get("title", ""),
                "body": highlight(str(p.get("body", "")), answers, find),
                "hit": bool(p.get("holds_answer")),
            }
            for rank, p in enumerate(item.get(key) or [], 1)
        ]

    def first_hit(found):
        rank = next((p["rank"] for p in found if p["hit"]), None)
        return str(rank) if rank else ("none" if found else "not run")

    before, after = passages("before"), passages("after")
    return {
        "question": item.get("question", ""),
        "answers": answers,
        "prediction": item.get("prediction"),
        "correct": bool(item.get("correct")),
        "closed_book": item.get("closed_book"),
        "columns": (("Before training", before, first_hit(before)), ("After training", after, first_hit(after))),
    }


def match_words(text: str, answers: Sequence[str]) -> Places:
    """The place of an answer as an uncased tokenizer sees it: without case, accents and white space, on word ends."""
    folded, origin = [], []  # per folded character: the index of the one it comes from
    for index, character in enumerate(text):
        for part in fold(character):
            folded.append(part)
            origin.append(index)
    for answer in answers:
        if words := re.findall(r"\w+|[^\w\s]", fold(answer)):
            pattern = r"(?<!\w)" + r"\s*".join(map(re.escape, words)) + r"(?!\w)"
            for match in re.finditer(pattern, "".join(folded)):
                yield origin[match.start()], origin[match.end() - 1] + 1


def match_patterns(text: str, patterns: Sequence[str]) -> Places:
    """Where a regular expression matches."""
    for pattern in patterns:
        yield from compile_pattern(pattern).spans(text)


def highlight(
    text: str, answers: Sequence[str], find: Callable[[str, Sequence[str]], Places] = match_words
) -> list[tuple[str, bool]]:
    """Cuts a text into pieces (piece, whether it is an answer), which joined give the text back.

    Args:
      find: the places of answers; they may overlap.
    """
    found = [False] * len(text)
    for start, limit in find(text, answers):
        found[start:limit] = [True] * (limit - start)
    pieces: list[tuple[str, bool]] = []
    for character, marked in zip(text, found, strict=True):
        if pieces and pieces[-1][1] == marked:
            pieces[-1] = (pieces[-1][0] + character, marked)
        else:
            pieces.append((character, marked))
    return pieces


def fold(text: str) -> str:
    """Lower case, without accents."""
    return "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
