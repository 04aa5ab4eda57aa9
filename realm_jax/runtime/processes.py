"""Child processes that are jobs, and the time and memory of all processes of a run together."""

import contextlib
import datetime
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import psutil

from realm_jax.remote import AnyPath
from realm_jax.runtime.signals import PARENT
from realm_jax.workdir import read_usage, write_json

PATIENCE_S = (60.0, 10.0)
"""Seconds that a job gets after SIGINT (a checkpoint may be under way), and then after SIGTERM, before it is killed."""


class Child:
    """A job in a session of its own, so that the terminal's Ctrl-C reaches it only by way of `stop`, once."""

    def __init__(
        self,
        job: str,
        command: Sequence[str],
        env: dict[str, str],
        *,
        prefix: str = "",
        log: Path | None = None,
        cores: Collection[int] = (),
    ):
        """With a `prefix`, each line of the job's output is passed on behind it; with a `log`, it is added to it;
        else it writes to our own output. It and its children run on `cores` alone, if any are named."""
        self.job = job
        with (
            open(log, "ab") if log else contextlib.nullcontext(subprocess.PIPE if prefix else None) as output,
            _on(cores),
        ):
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **env, "PYTHONUNBUFFERED": "1", PARENT: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if prefix or log else None,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._output = None
        if prefix:
            self._output = threading.Thread(target=_pass_on, args=(self._process.stdout, prefix), daemon=True)
            self._output.start()

    def exit_code(self) -> int | None:
        """None while it runs; 128 + n when signal n ended it, as a shell has it."""
        code = self._process.poll()
        if code is not None and self._output is not None:
            self._output.join(timeout=1.0)
        return 128 - code if code is not None and code < 0 else code

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kills the job and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def _on(cores: Collection[int]) -> Iterator[None]:
    """A process that is started meanwhile has these cores, if any are named, from its first moment on: before it has
    threads."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)  # of this thread
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _pass_on(stream: IO[bytes], prefix: str) -> None:
    with stream:
        for line in stream:
            # One write per line: other processes write to the same output.
            sys.stdout.write(prefix + line.decode(errors="replace"))
            sys.stdout.flush()


def stop(children: Iterable[Child], patience_s: Sequence[float] = PATIENCE_S) -> None:
    """Ends all `children`: SIGINT, after a while SIGTERM, at last SIGKILL. Ctrl-C meanwhile cuts the waiting short."""
    children = [child for child in children if child.exit_code() is None]
    for number, seconds in zip((signal.SIGINT, signal.SIGTERM), patience_s):
        try:
            for child in children:
                child.signal(number)
            end = time.monotonic() + seconds
            while time.monotonic() < end and any(child.exit_code() is None for child in children):
                time.sleep(0.05)
        except KeyboardInterrupt:
            continue
    for child in children:
        if child.exit_code() is None:
            print(f"realm: {child.job} did not stop; killing it", file=sys.stderr)
            child.kill()


class Usage:
    """Wall time and memory of a run, summed up over all the times it was started, and where and when it was last at
    work: <workdir>/run.json.

    Memory is that of this process and all its descendants at one moment: proportional set size (PSS, which counts
    shared pages once) where the kernel tells it, else resident set size. Without a path nothing is written.
    """

    def __init__(self, path: AnyPath | None, *, interval_s: float, save_every_s: float = 10.0):
        self._path, self._interval_s, self._save_every_s = path, interval_s, save_every_s
        before = read_usage(path) if path is not None else {}
        self._minutes_before = before.get("time/minutes", 0.0)
        self._peak = before.get("memory/peak_gib", 0.0)
        self._stages = before.get("stages", {})
        self._last_work = {name: before[name] for name in ("date", "machine") if name in before}
        self.failed = ""
        self.done: list[str] = []
        """Jobs found or made complete since this start, for those who wait for them on other machines."""
        self._running: dict[str, float] = {}  # job -> moment of its last entry in _stages
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def __enter__(self) -> "Usage":
        self._start = time.monotonic()
        self.save()  # what an earlier start had done counts no more
        self._thread = threading.Thread(target=self._watch, name="usage", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stopped.set()
        self._thread.join()
        self.save()

    @contextlib.contextmanager
    def stage(self, job: str) -> Iterator[None]:
        self._last_work = {"date": f"{datetime.date.today()}", "machine": describe_machine()}
        with self._lock:
            self._running[job] = time.monotonic()
        try:
            yield
        finally:
            self.save()
            with self._lock:
                del self._running[job]

    def save(self) -> None:
        with self._lock:
            now = time.monotonic()
            for job, since in self._running.items():
                self._stages[job] = round(self._stages.get(job, 0.0) + now - since, 3)
                self._running[job] = now
            values = {
                "time/minutes": round(self._minutes_before + (now - self._start) / 60, 4),
                "memory/peak_gib": round(self._peak, 4),
                "stages": self._stages,
                "done": self.done,
                **self._last_work,
            }
            if self.failed:
                values["failed"] = self.failed
            if self._path is not None:
                write_json(self._path, values)

    def _watch(self) -> None:
        saved = time.monotonic()
        while not self._stopped.is_set():
            self._peak = max(self._peak, memory_of_tree() / 2**30)
            if time.monotonic() - saved > self._save_every_s:
                with contextlib.suppress(Exception):  # whatever an object store raises: the next one may do
                    self.save()
                saved = time.monotonic()
            self._stopped.wait(self._interval_s)


def describe_machine() -> str:
    """`2 CPU cores, AMD EPYC, AVX2, 24 GiB of memory, Linux x86_64, Python 3.12.1`: no name of a host or a user."""
    parts = [f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} CPU cores"]
    parts += _processor()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB of memory")
    return ", ".join([*parts, f"{platform.system()} {platform.machine()}", f"Python {platform.python_version()}"])


def _processor() -> list[str]:
    """Its name and its widest vectors, by which the last digits of a sum differ from machine to machine."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    model = re.findall(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)[:1]
    flags = set(told.split())
    return model + [name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags][:1]


def memory_of_tree() -> int:
    """Bytes in use by this process and all its descendants."""
    this = psutil.Process()
    total = 0
    for process in [this, *this.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            try:
                total += process.memory_full_info().pss
            except (psutil.AccessDenied, AttributeError):
                total += process.memory_info().rss
    return total
