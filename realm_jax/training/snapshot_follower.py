"""The trainer's side of the two jobs' protocol: which snapshot is in use at which step."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from jax.sharding import Mesh

from realm_jax import locks
from realm_jax.config import Config
from realm_jax.config import Index as IndexConfig
from realm_jax.errors import UserError
from realm_jax.index import snapshots
from realm_jax.index.base import Retriever
from realm_jax.locks import wait_for
from realm_jax.remote import is_remote
from realm_jax.training import checkpoints
from realm_jax.workdir import StageDir

REMOTE_LOOK_S = 5.0
GONE_S = 20.0
"""Seconds for which a snapshot may have neither its checkpoint nor a builder at work on it."""


class InUse(NamedTuple):
    """The snapshot that queries are searched in."""

    step: int
    index: Retriever


def snapshot_every(config: Config) -> int:
    """Steps from one snapshot to the next; an embedder that stays as it is needs none after the first."""
    if not config.pretrain.embedder_rate:
        return max(config.pretrain.steps, 1)
    return config.pretrain.checkpoint_every * config.index.refresh_every


def scheduled(step: int, snapshot_every: int, delay: int) -> int:
    """The checkpoint whose snapshot training searches at `step`, when swaps happen at fixed steps."""
    return max(0, (step - delay) // snapshot_every * snapshot_every)


class SnapshotFollower:
    """Gives the index for each step, loading the next one in the background.

    With `swap_after` the snapshot of checkpoint c is in use from step c + swap_after on, in every run; without, the
    newest one is. A snapshot that stays away is warned of after `warn_after_s` and is an error after `stop_after_s`.
    An exact index is divided over the devices of `mesh`.
    """

    def __init__(self, stage: StageDir, config: IndexConfig, every: int, fingerprint: str, mesh: Mesh | None = None):
        self._stage, self._config, self._mesh = stage, config, mesh
        self._every, self._fingerprint = every, fingerprint
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._loading: tuple[int, Future] | None = None
        self._in_use: InUse | None = None
        self._current_since = time.monotonic()
        self._warned, self._looked = False, -REMOTE_LOOK_S
        self._signs: list[tuple[str, int]] = []
        self._seen: set[int] = set()
        """Checkpoints that have been there."""
        self._closed = threading.Event()
        self.waited_s = 0.0
        """Seconds spent waiting for snapshots after the first one."""

    def at(self, step: int) -> InUse:
        """The index for `step`.

        Raises:
          UserError: the builder stays away; the message says so.
        """
        if self._config.delay is not None:
            due = scheduled(step, self._every, self._config.delay)
            if self._in_use is None or self._in_use.step != due:
                self._swap(due)
            if self._may_look():
                self._look_at_checkpoints()
                self._start_loading(due + self._every)
        else:
            self._take_newest()
        return self._in_use

    def lacks(self, step: int) -> str:
        """Which snapshot, of those that training searches from `step` on, is not there and has no whole checkpoint."""
        if self._config.delay is None:
            return ""
        published, saved = self._published(), checkpoints.steps(self._stage.checkpoints)
        for due in range(scheduled(step, self._every, self._config.delay), step + 1, self._every):
            if due not in published:
                if due not in saved:
                    return f"checkpoint {due} was deleted before its snapshot was made"
                if problem := checkpoints.damage(self._stage.checkpoints, due, ["embedder"]):
                    return problem
        return ""

    def _swap(self, due: int) -> None:
        start = time.monotonic()
        self._await(lambda: self._is_there(due, start), f"the snapshot of checkpoint {due}")
        self._start_loading(due)
        index = self._loading[1].result()
        if self._in_use is not None:
            self.waited_s += time.monotonic() - start
        self._in_use, self._loading = InUse(due, index), None

    def _is_there(self, due: int, since: float) -> bool | None:
        """Raises UserError where nobody can make it any more."""
        if due in self._published():
            return True
        gone = due in self._seen and due not in self._look_at_checkpoints() and self._config.refresh != "inline"
        if not gone or time.monotonic() - since < GONE_S or snapshots.signs_of_work(self._stage.snapshots):
            return None
        raise UserError(
            f"{self._stage.checkpoints}: checkpoint {due} was deleted before its snapshot was made. Give the same "
            "command again: training goes back to where both are made again"
        )

    def _look_at_checkpoints(self) -> list[int]:
        saved = checkpoints.steps(self._stage.checkpoints)
        self._seen.update(saved)
        return saved

    def _take_newest(self) -> None:
        if self._in_use is None:
            self._swap(self._await(lambda: max(self._published(), default=None), "the first snapshot"))
            self._current_since = time.monotonic()
        looks = self._may_look()
        if self._loading is None and looks:
            self._start_loading(max(self._published(), default=0))
        if self._loading is not None and self._loading[1].done():
            (step, future), self._loading = self._loading, None
            if future.exception() is None:
                self._in_use = InUse(step, future.result())
                self._current_since, self._warned = time.monotonic(), False
            elif step in self._published():  # else it was removed while it was read: a newer one is coming
                future.result()
        if looks:
            self._check_age()

    def _check_age(self) -> None:
        """Without a schedule nothing is waited for, so the time since there is a newer checkpoint is the wait."""
        saved = [step for step in checkpoints.steps(self._stage.checkpoints) if step % self._every == 0]
        if max(saved, default=0) <= self._in_use.step:
            self._current_since = time.monotonic()
        age = time.monotonic() - self._current_since
        what = f"no snapshot newer than that of step {self._in_use.step} since {age:.0f} s"
        if age > self._config.stop_after_s and self._builder_got_on():
            self._current_since = time.monotonic()
        elif age > self._config.stop_after_s:
            raise UserError(f"{what} (--index.stop-after-s {self._config.stop_after_s:g}). {self._who()}")
        if age > self._config.warn_after_s and not self._warned:
            self._warned = True
            print(f"warning: {what}. {self._who()}", flush=True)

    def _start_loading(self, step: int) -> None:
        if self._loading is not None and self._loading[0] == step:
            return
        if (self._in_use is None or step > self._in_use.step) and step in self._published():
            settings = (self._fingerprint, self._config, self._mesh)
            future = self._loader.submit(snapshots.load_index, self._stage.snapshots, step, *settings)
            self._loading = (step, future)

    def _may_look(self) -> bool:
        """Whether to look for a newer one: at every step, but now and then in a bucket, whose listing may take as long
        as a step."""
        now = time.monotonic()
        if is_remote(self._stage.snapshots) and now - self._looked < REMOTE_LOOK_S:
            return False
        self._looked = now
        return True

    def _published(self) -> list[int]:
        return snapshots.list_steps(self._stage.snapshots)

    def _await(self, poll, what: str):
        def unless_closed():
            if self._closed.is_set():
                raise UserError(f"stopped while waiting for {what}")
            return poll()

        self._signs = snapshots.signs_of_work(self._stage.snapshots)
        return wait_for(
            unless_closed,
            what,
            stop_after_s=0.0 if self._config.refresh == "inline" else self._config.stop_after_s,
            warn_after_s=self._config.warn_after_s,
            warn=lambda text: print(text, flush=True),
            hint=self._who,
            got_on=self._builder_got_on,
        )

    def _builder_got_on(self) -> bool:
        """Whether passages have been embedded since this was last asked: a large corpus, or a slow machine, may take
        longer than any limit."""
        before, self._signs = self._signs, snapshots.signs_of_work(self._stage.snapshots)
        return bool(self._signs) and self._signs != before

    def _who(self) -> str:
        if self._config.refresh == "inline":
            return (
                "With --index.refresh inline the trainer makes it of that checkpoint, and both were deleted: put one "
                "back, or begin the run in another --workdir"
            )
        pid = locks.owner(self._stage.root, "build_index")
        if pid is None:
            where = self._stage.root
            return f"build_index is not running in {where}: start it with `realm build_index EXPERIMENT --workdir ...`"
        return f"build_index is running as process {pid}: see its output"

    def close(self) -> None:
        """Ends a wait that is under way, too: a trainer that is stopped must not sit it out."""
        self._closed.set()
        self._loader.shutdown(cancel_futures=True)
