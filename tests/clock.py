"""A clock of a test's own, in place of the module `time` of what it tests, which then knows no slow machine."""

from collections.abc import Callable


class Clock:
    """Seconds that pass only where they are slept through; `show` is called at each new moment."""

    def __init__(self, show: Callable[[float], None] = lambda now: None):
        self.now, self.show = 0.0, show

    def monotonic(self) -> float:
        return self.now

    time = monotonic

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.show(self.now)
