"""The metrics of a stage of training: JSON lines always, TensorBoard where it is installed, and a line of progress.

`<stage>/metrics.jsonl` is a function of the run, through any number of kills: a line is on disk once `write` returns,
and a run resumed at step s begins by dropping every line that a dead run wrote past s. For that to hold, write the line
of step s before the checkpoint of step s is saved. Only keys that begin with `time` differ between two equal runs.
"""

import collections
import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from realm_jax import disk
from realm_jax.errors import BadJson, from_json
from realm_jax.remote import AnyPath, copy_up, is_remote, mirror
from realm_jax.workdir import StageDir, write_text

# What the line of progress shows beside step, rate and time left: {metric: (label, format)}, in this order.
PROGRESS = {
    "loss/total": ("loss", ".2f"),
    "retrieval/utility": ("utility", ".2f"),
    "retrieval/p_null": ("p(null)", ".2f"),
    "index/staleness_steps": ("stale", ".0f"),
    "probe/span_recall@5": ("recall", ".2f"),
}
WINDOW = 30  # the rate is that over so many last lines
SEND_S = 15.0
"""Seconds between two puts of the metrics into an object store, which takes one a second and bills each."""
ERASE_LINE = "\r\x1b[K"


@runtime_checkable
class Scalar(Protocol):
    """A Python number, or a NumPy or JAX array of one element."""

    def __float__(self) -> float: ...


@runtime_checkable
class Stream(Protocol):
    """A text file to print to."""

    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...


def read_metrics(path: AnyPath) -> list[dict[str, Any]]:
    """The lines of a metrics file in order, each with `step`; none where there is no file.

    The last line may have been torn by a kill; it, and any other line that is no JSON object with a step, is passed
    over.
    """
    if not path.exists():
        return []
    lines = []
    for text in path.read_bytes().decode("utf-8", errors="replace").splitlines():
        try:
            line = from_json(text)
        except BadJson:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def duration(seconds: float) -> str:
    """`1:07`, or `2:03:09` from an hour on."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class MetricsWriter:
    """Writes the metrics of one stage. Use it as a context manager, or call `close`.

    Args:
      stage: the stage's folder.
      name: opens the line of progress.
      steps: the stage's last step.
      log_every: steps between two lines of progress; the last step always gets one.
      resume_at: the step of the checkpoint that the run goes on from; 0 when there is none.
      tensorboard: whether to write TensorBoard files too.
      stream: where progress goes (None: standard output); a terminal gets one line, overwritten in place.
      clock: seconds, for tests.
    """

    def __init__(
        self,
        stage: StageDir,
        name: str,
        steps: int,
        log_every: int,
        *,
        resume_at: int = 0,
        tensorboard: bool = True,
        stream: Stream | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name, self.steps, self.log_every = name, steps, log_every
        self._stream, self._clock = stream or sys.stdout, clock
        self._in_place, self._line = self._stream.isatty(), ""
        self._remote = stage if is_remote(stage.root) else None
        if self._remote:  # an object cannot be appended to: the files are here, and are put there whole
            stage = StageDir(mirror(stage.root))
            self._sent = clock()
        stage.root.mkdir(parents=True, exist_ok=True)
        self._stage = stage
        if self._remote:
            stage.metrics.write_bytes(self._remote.metrics.read_bytes() if self._remote.metrics.exists() else b"")
        kept = [line for line in read_metrics(stage.metrics) if line["step"] <= resume_at]
        if resume_at and not kept:
            self.say(f"warning: {stage.metrics}: tells nothing up to step {resume_at}; what it told is lost")
        write_text(stage.metrics, "".join(json.dumps(line) + "\n" for line in kept))
        self._standing = {(line["step"], _names(line)) for line in kept}
        # Held open until `close`; line buffering gives every line to the kernel at once.
        self._file = open(stage.metrics, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        # A resumed stage goes on counting where the dead run stopped.
        self._start = clock() - max((line.get("time") or 0.0 for line in kept), default=0.0)
        self._at = resume_at or -1  # the last step that was seen; step 0 exists only in a run that starts
        self._window: collections.deque[tuple[int, float]] = collections.deque(maxlen=WINDOW)
        self._last: dict[str, float] = {}
        self._board = self._open_board(stage.tensorboard, resume_at) if tensorboard else None

    def write(self, step: int, values: Mapping[str, Scalar]) -> None:
        """Appends one line: `step`, `time` (seconds since the stage began), `values` ({namespaced name: number}), and,
        on the first line of a step, its rate (`time/steps_per_s`); shows progress when it is due.

        A number that is not finite is written as null. A line that is already there, because the run goes on from the
        checkpoint that followed it, is not written twice.
        """
        now = self._clock()
        numbers = {name: _number(value) for name, value in values.items()}
        self._last |= {name: value for name, value in numbers.items() if value is not None}
        advances, self._at = step > self._at, max(step, self._at)
        if advances and step > 0:
            self._window.append((step, now))
        if advances and (rate := self._rate()):
            numbers["time/steps_per_s"] = round(rate, 4)
        if (step, _names(numbers)) not in self._standing:
            line = {"step": step, "time": round(now - self._start, 3), **numbers}
            with disk.writing(self._stage.metrics):
                self._file.write(json.dumps(line, allow_nan=False) + "\n")
            if self._board is not None:
                for name, value in numbers.items():
                    if value is not None:
                        self._board.add_scalar(name, value, step)
            if self._remote and now - self._sent > SEND_S:
                self.flush()
        if advances and (step % self.log_every == 0 or step == self.steps):
            self._line = self._progress(step)
            self._show()

    def say(self, message: str) -> None:
        """Prints a message of its own line, without harm to the line of progress."""
        self._stream.write(f"{ERASE_LINE if self._in_place else ''}{message}\n")
        if self._in_place and self._line:
            self._show()
        self._stream.flush()

    def flush(self) -> None:
        """Everything written is then where the run is kept; before a checkpoint, so that none is ahead of its line."""
        if not self._remote:
            return
        self._remote.metrics.write_bytes(self._stage.metrics.read_bytes())
        if self._board is not None:
            self._board.flush()
            copy_up(self._stage.tensorboard, self._remote.tensorboard)
        self._sent = self._clock()

    def close(self) -> None:
        if self._file.closed:
            return
        self._file.close()
        self.flush()
        if self._board is not None:
            self._board.close()
        if self._in_place and self._line:
            self._stream.write("\n")
            self._stream.flush()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _rate(self) -> float:
        """Steps per second over the window, which begins after the first step: compilation is no guide to the rest."""
        if len(self._window) < 2:
            return 0.0
        (first, then), (last, now) = self._window[0], self._window[-1]
        return (last - first) / (now - then) if now > then else 0.0

    def _progress(self, step: int) -> str:
        parts = [f"{self.name}  {step:>{len(str(self.steps))}}/{self.steps}"]
        if rate := self._rate():
            parts += [f"{rate:.3g} step/s", f"left {duration(max(self.steps - step, 0) / rate)}"]
        parts += [f"{label} {self._last[key]:{form}}" for key, (label, form) in PROGRESS.items() if key in self._last]
        return "  ".join(parts)

    def _show(self) -> None:
        if self._in_place:  # a line that wraps could not be overwritten
            width = shutil.get_terminal_size().columns
            self._stream.write(ERASE_LINE + self._line[: width - 1])
        else:
            self._stream.write(self._line + "\n")
        self._stream.flush()

    def _open_board(self, directory: AnyPath, resume_at: int):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            self.say("tensorboardX is not installed: metrics are written as JSON lines only")
            return None
        if not resume_at:
            shutil.rmtree(directory, ignore_errors=True)
        # purge_step makes TensorBoard forget what the dead run wrote from that step on.
        return SummaryWriter(str(directory), purge_step=resume_at + 1 if resume_at else None)


class NoMetrics:
    """Of a process that is not the first, which writes for all."""

    def write(self, step: int, values: Mapping[str, Scalar]) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _names(line: Mapping[str, Any]) -> frozenset[str]:
    """The names in a line, except the times."""
    return frozenset(name for name in line if name != "step" and not name.startswith("time"))


def _number(value: Scalar) -> int | float | None:
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
