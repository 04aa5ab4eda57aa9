"""Machines that do not let a job read or write: files of other users, folders that are closed, disks that are full."""

import contextlib
import ctypes
import math
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from realm_jax.jobs import cli
from tests.robustness import odd_texts
from tests.robustness.damaged_workdirs import jobs_of, names
from tests.robustness.driver import Case, run

QUESTION = "What is the capital of Boria?"
CLOSED, NO_NEWS = 0o000, 0o500
"""Permissions of a file or folder that is another's, and of a folder in which nothing can be made."""
SIZES = (0, 300, 1500, 5000, 20_000, 140_000)
"""Bytes that a file may have, as on a disk that is full soon."""
_VERSION, _OVERRIDES = 0x20080522, 1 << 1 | 1 << 2
"""Of Linux's call; CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""


@contextlib.contextmanager
def as_any_user() -> Iterator[None]:
    """Permissions hold for this thread, and for those that begin meanwhile, even if it is root's."""
    libc, head, before = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
    libc.capget(head, before)
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~_OVERRIDES  # of what is in effect; it stays permitted
    libc.capset(head, less)
    try:
        yield
    finally:
        libc.capset(head, before)


def permissions(template: Path, vocab: Path) -> Iterator[Case]:
    """Args: template: the workdir of a finished run; vocab: a small vocabulary."""
    for name in names(template):
        for job in jobs_of(name):
            yield _closed(f"{job}: {name}", template, name, _job(job))
    folders = sorted({str(Path(name).parent) for name in names(template)} - {"."})
    for name in folders:
        for job in jobs_of(f"{name}/"):
            yield _closed(f"{job}: {name}/", template, name, _job(job))
    for job, name, *gone in (
        ("report", ".", "report"),
        ("build_index", "pretrain/snapshots", "pretrain/snapshots/2"),
        ("build_index", "pretrain", "pretrain/snapshots"),
        ("finetune", "finetune", "finetune/done.json", "finetune/checkpoints"),
        ("finetune", ".", "finetune"),
        ("finetune", "finetune/checkpoints", "finetune/done.json", "finetune/checkpoints/0"),
        ("evaluate", "evaluation", "evaluation/results.json"),
        ("evaluate", ".", "evaluation"),
    ):
        yield _closed(f"{job}: nothing can be made in {name}", template, name, _job(job, *gone), NO_NEWS, refused=True)
    for job, name in (("build_index", "pretrain/.build_index.lock"), ("finetune", "finetune/.finetune.lock")):
        yield _closed(f"{job}: {name}", template, name, _job(job, "finetune/done.json"), says=name, refused=True)
    asked = odd_texts.asking(template, QUESTION.encode())
    yield _closed("ask: asked.txt", None, "asked.txt", asked, says="asked.txt", refused=True)
    said = odd_texts.predicting(template, '{"question": "Why?", "prediction": "a"}')
    yield _closed("evaluate: said.jsonl", None, "said.jsonl", said, says="said.jsonl", refused=True)
    for name, mode in (("docs/a.md", CLOSED), ("docs", CLOSED), ("mine.py", CLOSED), (".", NO_NEWS)):
        prepare = odd_texts.with_documents(vocab, {"a.md": odd_texts.DOCUMENT}, "folder")
        yield _closed(f"prepare: {name}", None, name, prepare, mode, refused=True)
    asked_of = odd_texts.with_questions(vocab, '{"question": "Q?", "answer": ["a"]}')
    yield _closed("prepare: set.jsonl", None, "set.jsonl", asked_of, says="set.jsonl", refused=True)


def full_disks(template: Path, vocab: Path) -> Iterator[Case]:
    for job, gone, sizes in (
        ("report", "report", SIZES),
        ("build_index", "pretrain/snapshots/2", SIZES),
        ("finetune", "finetune", SIZES[1::2]),  # compiles anew each time, as the cache has no room either
        ("evaluate", "evaluation", SIZES[1::2]),
        ("prepare", "data/manifest.json", SIZES),
    ):
        for size in sizes:
            yield Case("full disks", f"{job}: {size} bytes", _job(job, gone), template, main=_limited(size))
    for size in SIZES:
        prepare = odd_texts.with_documents(vocab, {"a.md": odd_texts.DOCUMENT * 50}, "folder")
        yield Case("full disks", f"prepare, new: {size} bytes", prepare, main=_limited(size))
        yield Case("full disks", f"prepare, changed: {size} bytes", _changed(prepare), main=_limited(size))


def _closed(
    name: str,
    template: Path | None,
    closed: str,
    lay: Callable[[Path], list[str]],
    mode: int = CLOSED,
    **settings,
) -> Case:
    place: list[Path] = []

    def laid(folder: Path) -> list[str]:
        place[:] = [folder / closed]
        argv = lay(folder)
        if not place[0].exists():  # a lock, which another user has left
            place[0].touch()
        return argv

    def main(argv: Sequence[str]) -> int:
        before = place[0].stat().st_mode
        place[0].chmod(mode)
        try:
            with as_any_user():
                return cli.main(argv)
        finally:
            place[0].chmod(before)

    return Case("permissions", name, laid, template, main=main, **settings)


def _job(job: str, *gone: str) -> Callable[[Path], list[str]]:
    """The command line, once something is gone that the job makes again."""

    def lay(place: Path) -> list[str]:
        for path in (place / name for name in gone):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return [job, str(place), *([QUESTION] if job == "ask" else [])]

    return lay


def _changed(prepare: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """The command line of a source that was prepared before it changed."""

    def lay(place: Path) -> list[str]:
        argv = prepare(place)
        code, said = run(cli.main, argv)
        if code:
            raise AssertionError(said)
        (place / "docs" / "a.md").write_bytes(b"# B\n\nThe river is in the city of Hamm. The lake is in the country.\n")
        return argv

    return lay


def _limited(size: int) -> Callable[[Sequence[str]], int]:
    def main(argv: Sequence[str]) -> int:
        import jax

        before, name = resource.getrlimit(resource.RLIMIT_FSIZE), "jax_persistent_cache_min_compile_time_secs"
        cached = getattr(jax.config, name)
        jax.config.update(name, math.inf)  # no half programs, of which JAX would warn in each later process
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            return cli.main(argv)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            jax.config.update(name, cached)

    return main
