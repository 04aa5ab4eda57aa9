"""How a job is stopped: Ctrl-C and SIGTERM alike raise an exception, so that `finally` runs and nothing is torn."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PARENT = "REALM_PARENT_PROCESS"
"""Environment variable that names the process of `run` to the jobs it starts."""
LAST_S = 70.0
"""Seconds that a job gets to end after `run` is gone; a checkpoint may be under way."""
SWALLOWS, AGAIN_S = "_xla_gc_callback", 0.05
"""JAX's callback of the garbage collector, in which Python ignores exceptions; seconds until the signal comes again."""


class Terminated(KeyboardInterrupt):
    """SIGTERM; whoever handles Ctrl-C handles it too."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Makes SIGTERM raise `Terminated` and SIGINT raise KeyboardInterrupt, in the main thread.

    SIGINT is set too because a shell that starts a job in the background has it ignored.
    """

    def stop(signum, frame):
        if _within(frame, SWALLOWS):
            threading.Timer(AGAIN_S, os.kill, (os.getpid(), signum)).start()
            return
        raise Terminated if signum == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _within(frame: FrameType | None, name: str) -> bool:
    """Whether a function of this name is being called."""
    while frame is not None and frame.f_code.co_name != name:
        frame = frame.f_back
    return frame is not None


def stop_with_parent(interval_s: float = 1.0) -> None:
    """Stops this process when the `run` that started it is gone, even by kill -9; does nothing without one."""
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return

    def watch():
        while os.getppid() == int(parent):
            time.sleep(interval_s)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST_S)
        os._exit(128 + signal.SIGTERM)  # it waits for a device, which no signal interrupts

    threading.Thread(target=watch, name="stop-with-parent", daemon=True).start()
