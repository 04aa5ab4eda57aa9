import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from realm_jax.runtime.signals import PARENT, Terminated, stop_with_parent, stoppable


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_signals_are_raised_and_finally_runs(number, error):
    before = signal.getsignal(number)
    tidied = []
    with pytest.raises(error), stoppable():
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            tidied.append(True)
    assert tidied and signal.getsignal(number) is before


def test_ignored_ctrl_c_is_heard():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), stoppable():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("start", [("-m", "realm_jax"), ("-c", "from realm_jax.__main__ import main; main()")])
def test_a_job_that_is_stopped_while_it_is_loaded_says_nothing(tmp_path, number, start):
    """As by a sweep or a `run` that ends. It is stopped by what it imports."""
    (tmp_path / "tyro.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    done = subprocess.run(
        [sys.executable, *start, "--help"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")


def test_lives_on_without_a_parent(monkeypatch):
    monkeypatch.delenv(PARENT, raising=False)
    monkeypatch.setattr(threading, "Thread", lambda **_: pytest.fail("somebody's end is watched for"))
    stop_with_parent(0.0)


ORPHAN = """
import os, signal
from realm_jax.runtime import signals
signals.LAST_S = {last}
with signals.stoppable():
    {hears}
    signals.stop_with_parent(0.0)
    assert signals.PARENT not in os.environ  # its own children have another parent
    while True:
        signal.pause()
"""


@pytest.mark.parametrize(
    ("hears", "last", "error"),
    [("pass", 60.0, "Terminated"), ("signal.signal(signal.SIGTERM, lambda *_: None)", 0.2, "")],
)
def test_stops_when_the_parent_is_another_now(hears, last, error):
    """At once; and though it hears no signal, as where it waits for a device. A process of its own: it is ended."""
    environment = os.environ | {PARENT: str(os.getppid())}
    command = [sys.executable, "-c", ORPHAN.format(hears=hears, last=last)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert error in done.stderr and "AssertionError" not in done.stderr
    assert done.returncode == (1 if error else 128 + signal.SIGTERM)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_amid_the_garbage_collectors_callback_is_not_lost(number, error):
    """There Python ignores what is raised; the signal comes again when the callback is over."""
    lived_through = []

    def _xla_gc_callback():
        signal.raise_signal(number)
        lived_through.append(True)

    with pytest.raises(error), stoppable():
        _xla_gc_callback()
        signal.sigtimedwait([], 5.0)
    assert lived_through
