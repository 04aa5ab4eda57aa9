"""Runs the command line on bad inputs, in this process, and judges how each ends.

What is promised: an exit code of 0 or 2; with 2 one message that begins `realm: error:`; no traceback; an end within
`LIMIT_S`; and nothing that was there before is changed or gone.
"""

import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from realm_jax.errors import PREFIX
from realm_jax.jobs import cli

LIMIT_S = 30.0
"""Of computing; of waiting, on a machine that others use, ten times as much."""
VERDICTS = ("traceback", "hang", "harm", "accepted nonsense", "no message", "wrong exit code")


class HangError(BaseException):
    """Longer than the limit; not an Exception, which the program may catch."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One bad input."""

    category: str
    name: str
    argv: Callable[[Path], list[str]]
    """The command line, given an empty folder, or a copy of `template`, in which it also lays the input."""
    template: Path | None = None
    refused: bool = False
    """Whether it must end with exit code 2; else 0 is right, too."""
    says: str = ""
    """What the message must hold."""
    main: Callable[[list[str]], int] = cli.main
    prefix: str = PREFIX


@dataclasses.dataclass(frozen=True)
class Verdict:
    case: Case
    seconds: float
    fault: str = ""
    """One of `VERDICTS`, or "" where all is as promised."""
    said: str = ""


def judge(case: Case, folder: Path) -> Verdict:
    """Runs a case in a folder of its own, which is removed."""
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    if case.template is None:
        place.mkdir(parents=True)
    else:
        shutil.copytree(case.template, place, symlinks=True)
    argv = case.argv(place)
    before, start = digests(place), time.process_time()
    with contextlib.chdir(place if case.main is cli.main else "."):
        code, said = run(case.main, argv)
    seconds = time.process_time() - start
    fault = "hang" if seconds > LIMIT_S else _fault(case, code, said)
    if not fault and code == 2:
        after = digests(place)
        if lost := [name for name, digest in before.items() if after.get(name) != digest]:
            fault, said = "harm", f"{said}\nchanged or gone: {', '.join(lost[:5])}"
    shutil.rmtree(place, ignore_errors=True)
    return Verdict(case, seconds, fault, said)


def _fault(case: Case, code: object, said: str) -> str:
    if isinstance(code, str):
        return code
    if "Traceback (most recent call last)" in said:
        return "traceback"
    if code == 0:
        return "accepted nonsense" if case.refused else ""
    if code != 2:
        return "wrong exit code"
    is_told = case.prefix in said or "For full helptext" in said or "usage:" in said
    return "" if is_told and case.says in said else "no message"


def run(main: Callable[[list[str]], int], argv: list[str]) -> tuple[object, str]:
    """(exit code, or "traceback" or "hang", all that was printed)."""

    def late(*_):
        raise HangError

    out, before = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace"), dict(os.environ)
    old = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 10 * LIMIT_S)
    code: object
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = main(argv)
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
            except HangError:
                code = "hang"
                traceback.print_exc()
            except BaseException:
                code = "traceback"
                traceback.print_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        os.environ.clear()
        os.environ.update(before)
    out.flush()
    return code, out.buffer.getvalue().decode(errors="replace")


def digests(folder: Path) -> dict[str, str]:
    """Of what a job may not change where it refuses; locks, caches and its own records aside."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not path.is_symlink() and "/." not in f"/{name}" and not name.startswith("jax_cache"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def judged(cases: Iterable[Case], folder: Path) -> Iterator[Verdict]:
    for case in cases:
        yield judge(case, folder)


def table(verdicts: list[Verdict]) -> str:
    """Rows of categories: inputs, and how many ended otherwise than promised."""
    lines = [f"{'category':<22}{'inputs':>8}{'as promised':>13}{'slowest':>9}  otherwise"]
    categories = list(dict.fromkeys(verdict.case.category for verdict in verdicts))
    for category in (*categories, ""):
        of = [verdict for verdict in verdicts if category in ("", verdict.case.category)]
        good = sum(not verdict.fault for verdict in of)
        kinds = {kind: sum(verdict.fault == kind for verdict in of) for kind in VERDICTS}
        otherwise = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "-"
        slowest = max(verdict.seconds for verdict in of)
        lines.append(f"{category or 'all':<22}{len(of):>8}{good:>13}{slowest:>8.1f}s  {otherwise}")
    return "\n".join(lines)


def report(verdicts: list[Verdict]) -> None:
    """The table, and of each fault what was said."""
    for verdict in verdicts:
        if verdict.fault:
            last = "\n    ".join(verdict.said.strip().splitlines()[-6:])
            print(f"{verdict.case.category}: {verdict.case.name}: {verdict.fault}\n    {last}", file=sys.stderr)
    print(table(verdicts))
