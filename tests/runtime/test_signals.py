import gc
import signal
import sys
import threading
import weakref

import pytest

from realm_jax.runtime.signals import Terminated, stoppable


class Destroyed:
    """Is told of a signal amid its destructor, in which Python ignores what is raised."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        signal.raise_signal(self.number)


def in_a_destructor(number):
    Destroyed(number)


def in_a_callback_of_a_weak_reference(number):
    thing = threading.Event()
    reference = weakref.ref(thing, lambda _: signal.raise_signal(number))
    del thing
    assert reference() is None


def in_the_garbage_collector(number):
    def collected(phase, _):
        if phase == "stop":
            signal.raise_signal(number)

    gc.callbacks.append(collected)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(collected)


@pytest.mark.parametrize("within", [in_a_destructor, in_a_callback_of_a_weak_reference, in_the_garbage_collector])
@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_where_python_ignores_exceptions_is_not_lost(within, number, error):
    """It comes again when that is over."""
    lived_through, hook = [], sys.unraisablehook
    with pytest.raises(error), stoppable():
        within(number)
        lived_through.append(True)
        signal.sigtimedwait([], 5.0)
        pytest.fail("lost")
    assert lived_through and sys.unraisablehook is hook


def test_other_exceptions_of_destructors_are_told_as_ever(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_type))

    class Faulty:
        def __del__(self):
            raise ValueError

    with stoppable():
        Faulty()
    assert told == [ValueError]
