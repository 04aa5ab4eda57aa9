"""What only a process of its own shows: pipes that are closed or full, terminals of other encodings."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.robustness.driver import Case

REALM = (sys.executable, "-m", "realm_jax")
ROOT = Path(__file__).parents[2]


def start(words: Sequence[str], **settings) -> subprocess.CompletedProcess:
    """The command line with text alone on standard error."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | settings.pop("env", {})
    settings = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL} | settings
    return subprocess.run([*REALM, *words], env=environment, stderr=subprocess.PIPE, timeout=300, **settings)


def _closed_pipe(words: Sequence[str]) -> int:
    """As `realm ... | head -0`: nothing is said, and the shell sees the signal."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        done = start(words, stdout=pipe)
    sys.stderr.write(done.stderr.decode(errors="replace"))
    return 0 if done.returncode == 128 + signal.SIGPIPE and not done.stderr else done.returncode or 99


def _run(words: Sequence[str | bytes], **settings) -> int:
    done = start(words, **settings)
    sys.stderr.write(done.stderr.decode(errors="replace"))
    return done.returncode


def _full(words: Sequence[str]) -> int:
    with open("/dev/full", "wb") as full:
        return _run(words, stdout=full)


def cases(template: Path) -> Iterator[Case]:
    """Args: template: the workdir of a finished run."""

    def case(name: str, words: Sequence[str | bytes], main=_run, refused: bool = False, **settings) -> Case:
        def call(argv):
            return main(argv, **settings)

        return Case("processes", name, lambda place: list(words), refused=refused, main=call)

    question = ["ask", str(template), "What is the capital of Boria?"]
    for words in (["--help"], ["--version"], ["experiments"], ["ask", "--help"], ["run", "--help"], question):
        yield case(f"{words}: closed pipe", words, _closed_pipe)
        yield case(f"{words}: full", words, _full, refused=True)
    for locale in ("C", "POSIX", "de_DE.ISO-8859-1", "nothing.like"):
        yield case(f"ask: {locale}", question, env={"LC_ALL": locale})
    yield case("ask: latin", question, env={"PYTHONIOENCODING": "latin-1"})
    for word in (b"caf\xe9", b"\xff\xfe", b"a\xc3"):
        yield case(f"ask: {word!r}", [*question[:2], word], refused=True)
