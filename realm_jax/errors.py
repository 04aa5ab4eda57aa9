"""A mistake that the user can mend: one exception, a list of faulty records that ends in it, and how it is found in a
log."""

import contextlib
import difflib
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SHOWN = 10
PREFIX = "realm: error: "
"""Stands before the message, on the command line and in logs."""
STOPPED = "realm: stopped by Ctrl-C"
"""The message of a job that was stopped."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a full disk, of a quota of it that is used up, and of a file above the limit of `ulimit -f`."""
_REFUSALS = (*FULL, errno.EACCES, errno.EROFS, errno.EIO)


class UserError(Exception):
    """A mistake outside the program: the message names the place, the bad value and a right one.

    The command line prints the message alone, without a traceback, and exits with code 2.
    """


class BadJson(UserError):
    """The fault of a text that should be JSON; whoever knows the place of the text names it before."""

    def __init__(self, problem: str, line: int = 1):
        super().__init__(problem)
        self.line = line


def from_json(text: str | bytes) -> Any:
    """The value of a text in JSON, however deep it nests and however long its numbers are.

    Raises:
      BadJson: it is none, or no UTF-8.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError as error:
        byte, line = error.object[error.start], error.object.count(b"\n", 0, error.start) + 1
        raise BadJson(f"not UTF-8 (byte {error.start + 1} is 0x{byte:02x}); save it as UTF-8", line) from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise BadJson(f"not valid JSON ({error.msg}, {place}character {error.colno})", error.lineno) from None
    except RecursionError:
        raise BadJson("not valid JSON (nested too deeply)") from None
    except ValueError:
        raise BadJson("not valid JSON (a number of thousands of digits)") from None


def of_system(error: OSError) -> str:
    """What the system refuses, for a user: which file, why, and of a full disk how much is free."""
    named = error.filename if error.filename is not None else ""
    name = f"{shown_path(os.fsdecode(named))}: " if isinstance(named, str | bytes) and named else ""
    reason = error.strerror or str(error) or type(error).__name__
    if len(name) > 500:
        name = f"{name[:100]}... ({len(name)} characters): "
    if error.errno in FULL:
        place = os.path.dirname(os.path.abspath(named)) if name else os.getcwd()
        with contextlib.suppress(OSError):
            reason += f"; {shutil.disk_usage(place).free / 1e6:,.0f} MB are free in {shown_path(place)}"
        return f"{name}{reason}. What was there is as it was: make room, and give the same command again"
    return f"{name}{reason}"


def refusal(error: BaseException) -> OSError | None:
    """The system's refusal to write or read of which a library tells by an error of its own kind; None where the error
    tells of something else."""
    text = str(error)
    found = next((code for code in _REFUSALS if os.strerror(code) in text), None)
    if found is None:
        return None
    path = re.search(r"(?<![\w./])/[^\s\"';:,)\]]+", text)
    return OSError(found, os.strerror(found), path[0] if path else None)


def shown_path(path: str | Path) -> str:
    """A path in UTF-8: bytes of a name that are none are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


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
    """For the end of a message about a word that is none of those `known`: the nearest one, or if none is near, the
    list that `they` opens, such as "there are a, b"."""
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"{they} {', '.join(known)}"


def last_words(log: Path) -> str:
    """The last line of a run's log that a job wrote, not `run` about it, or all of the error that it belongs to. That
    the job beside the one that failed was stopped is no such line.

    "" where there is none.
    """
    lines = log.read_text(errors="replace", encoding="utf-8").splitlines() if log.exists() else []
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
