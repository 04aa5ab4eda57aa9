"""Entities by labels of words: "B-PER" begins one, "I-PER" goes on with it, "O" is outside."""

from collections.abc import Iterator, Sequence


def entities(labels: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(first, past-the-last word, type) of each entity.

    An "I-" that continues nothing begins an entity too, as CoNLL's own scorer has it: so labels are read alike whether
    "B-" is at the beginning of every entity (IOB2) or only of one that follows its like (IOB1, CoNLL-2003's files).
    """
    first, type_ = 0, ""
    for i, label in enumerate([*labels, "O"]):
        begins, _, kind = label.partition("-")
        if type_ and (begins == "B" or kind != type_):
            yield first, i, type_
            type_ = ""
        if kind and not type_:
            first, type_ = i, kind


def iob2(labels: Sequence[str]) -> tuple[str, ...]:
    """The same entities, each of which begins with "B-"."""
    result = ["O"] * len(labels)
    for first, limit, kind in entities(labels):
        result[first:limit] = [f"B-{kind}"] + [f"I-{kind}"] * (limit - first - 1)
    return tuple(result)
