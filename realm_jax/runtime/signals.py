"""How a job is stopped: Ctrl-C and SIGTERM alike raise an exception, so that `finally` runs and nothing is torn."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PARENT = "REALM_PARENT_PROCESS"
"""Environment variable that names the process of `run` to the jobs it starts."""
LAST_S = 70.0
"""Seconds that a job gets to end after `run` is gone; a checkpoint may be under way."""
AGAIN_S = 0.05
"""Seconds until a signal comes again whose exception Python ignored, as it does in destructors."""

UNHEARD = "Event loop is closed"
"""Of each array of a checkpoint that is still being written, where another one could not be: that one is told of."""


class Terminated(KeyboardInterrupt):
    """SIGTERM; whoever handles Ctrl-C handles it too."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Makes SIGTERM raise `Terminated` and SIGINT raise KeyboardInterrupt, in the main thread.

    SIGINT is set too because a shell that starts a job in the background has it ignored.
    """

    def stop(signum, frame):
        raise Terminated if signum == signal.SIGTERM else KeyboardInterrupt

    def ignored(unraisable):
        if str(unraisable.exc_value) == UNHEARD:
            return
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)
            return
        number = signal.SIGTERM if issubclass(unraisable.exc_type, Terminated) else signal.SIGINT
        again = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    hook, sys.unraisablehook = sys.unraisablehook, ignored
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


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
