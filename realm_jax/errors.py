"""What a user can mend: one exception, a list of faulty records that ends in it, and how it is found in a log."""

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

SHOWN = 10
PREFIX = "realm: error: "
"""Stands before the message, on the command line and in logs."""
STOPPED = "realm: stopped by Ctrl-C"
"""What a job says that was stopped."""


class UserError(Exception):
    """A mistake outside the program: the message says what, where, and what would be right.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """


class Faults:
    """Faulty records. All are looked at before one error names the first ten."""

    def __init__(self, what: str, advice: str):
        self._what, self._advice, self._found = what, advice, []

    def add(self, fault: str) -> None:
        self._found.append(fault)

    def __len__(self) -> int:
        return len(self._found)

    def __str__(self) -> str:
        more = f"\n  and {len(self._found) - SHOWN} more" if len(self._found) > SHOWN else ""
        return f"{len(self._found)} faulty {self._what}:\n" + "\n".join(f"  {f}" for f in self._found[:SHOWN]) + more

    def settle(self, skip: Callable[[str], None] | None = None) -> None:
        """Raises UserError where there are any; if they may be skipped, `skip` is told of them instead."""
        if self._found and skip is None:
            raise UserError(f"{self}\n{self._advice}")
        if self._found:
            skip(f"left out {self}")


def near_miss(word: str, known: Sequence[str], they: str) -> str:
    """For the end of a message about a word that is none of those `known`: the nearest one, or where none is near,
    what `they` are, such as "there are a, b"."""
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"{they} {', '.join(known)}"


def last_words(log: Path) -> str:
    """The last line of a run's log that a job wrote, not `run` about it, or all of the error that it belongs to. That
    the job beside the one that failed was stopped is no such line.

    "" where there is none.
    """
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    said: list[str] = []
    for line in reversed(lines):
        if line.startswith("run: ") or line.endswith(f"| {STOPPED}") or not line.strip():
            if said:
                break
            continue
        said.insert(0, line.strip())
        if line.startswith(PREFIX):
            return " ".join(said)
    return said[-1] if said else ""
