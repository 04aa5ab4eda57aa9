"""One job as several processes. Each has a supervisor, which holds no device: it knows who is missing and who has died.

A supervisor starts the job itself, its worker, and keeps a file in the stage's folder, `.<job>.peers/<id>.json`, that
changes every second. Devices wait for each other without a limit and cannot be interrupted; so it is the supervisor
that ends a worker whose peer is gone, and says which one that was.
"""

import contextlib
import dataclasses
import math
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated

from realm_jax.errors import PREFIX, BadJson, UserError, from_json
from realm_jax.locks import sole_owner, wait_for
from realm_jax.remote import AnyPath, is_remote
from realm_jax.runtime.processes import Child, stop
from realm_jax.settings import MANY, Range
from realm_jax.workdir import write_json

WORKER = "REALM_WORKER"
"""Environment variable of a process that a supervisor started."""
PEER_FAILED = 75
"""Exit code where another process failed: "try again", in sysexits.h."""
BEAT_S, LOOK_S, GRACE_S = 1.0, 0.1, 2.0
REMOTE_S = 2.0
"""The same in an object store, which takes one put a second and bills each."""
STOP_S = (2.0, 3.0)
"""Patience with a worker that most likely waits for a device of a process that is gone."""
LAUNCHERS = {"SLURM": ("SLURM_NTASKS", "SLURM_PROCID"), "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")}
MOST = 1 << 16
"""Processes of a job."""
WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"


@dataclasses.dataclass(frozen=True)
class Processes:
    """How the processes of a job find each other; not part of an experiment."""

    coordinator: str = ""
    """HOST:PORT of process 0's machine, and a port that is free there; the same for all processes of the job. Without
    it the job is one process."""
    process_count: Annotated[int, Range(0, MOST)] = 0
    """Processes of the job. 0: as SLURM, Open MPI or the Cloud TPU say."""
    process_id: Annotated[int, Range(-1, MOST - 1)] = -1
    """Which of them this is, from 0 on. -1: as SLURM, Open MPI or the Cloud TPU say."""
    peer_timeout_s: Annotated[float, Range(0.01, MANY)] = 120.0
    """Seconds after which a process that has not come, or shows no sign of life any more, is missing: an error in all
    others."""


def resolve(processes: Processes, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """(id, count) of this process, from the options or from the program that started it.

    Raises:
      UserError: nobody says so, or it makes no sense.
    """
    host, _, port = processes.coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UserError(f"--coordinator {processes.coordinator}: must be HOST:PORT, such as 10.0.0.1:8476")
    count, me = processes.process_count or None, None if processes.process_id < 0 else processes.process_id
    for count_name, id_name in LAUNCHERS.values():
        if count_name in environment and id_name in environment:
            count = int(environment[count_name]) if count is None else count
            me = int(environment[id_name]) if me is None else me
    if count is None or me is None:
        from jax._src.clusters import ClusterEnv  # JAX's own detection; public only as a part of what `join` does

        _, count, me, _ = ClusterEnv.auto_detect_unset_distributed_params(
            processes.coordinator, count, me, [0], None, int(processes.peer_timeout_s)
        )
    if count is None or me is None:
        raise UserError(
            "--process_count, --process_id: give both beside --coordinator; no SLURM, Open MPI or Cloud TPU says them"
        )
    if not 0 <= me < count:
        raise UserError(f"--process_id {me}: of {count} processes it must be one of 0 to {count - 1}")
    return me, count


def several(processes: Processes) -> bool:
    """Whether the job is one of several processes.

    Raises:
      UserError: options say so, but not where the others are.
    """
    if not processes.coordinator and (processes.process_count > 1 or processes.process_id >= 0):
        raise UserError(
            "--coordinator: is missing beside --process_count and --process_id; give HOST:PORT of process 0"
        )
    return bool(processes.coordinator)


def is_worker() -> bool:
    return WORKER in os.environ


def join(processes: Processes) -> None:
    """Makes this worker one of its job's processes, for JAX."""
    from realm_jax.training import distributed

    me, count = resolve(processes)
    distributed.join(processes.coordinator, count, me, processes.peer_timeout_s)


def supervise(job: str, folder: AnyPath, processes: Processes, command: Sequence[str]) -> int:
    """Runs the command of the worker once all peers are there; returns its exit code, or `PEER_FAILED`.

    Raises:
      UserError: a peer does not come, or this process is already running there.
    """
    me, count = resolve(processes)
    _check_address(processes.coordinator, first=me == 0)
    with sole_owner(folder, f"{job}.{me}"):
        asked = {"--coordinator": processes.coordinator, "--process_count": count}
        peers = Peers(folder / f".{job}.peers", me, count, processes.peer_timeout_s, asked)
        peers.gather(job)
        # Open MPI's newer launchers are unknown to JAX, which would give all devices of a machine to each process.
        local = os.environ.get("JAX_LOCAL_DEVICE_IDS", os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK"))
        environment = {WORKER: str(me)} | ({"JAX_LOCAL_DEVICE_IDS": local} if local is not None else {})
        child, state = Child(job, command, environment), FAILED
        code = 1
        try:
            lost = None
            while (code := child.exit_code()) is None:
                if peers.lost() is not None:
                    time.sleep(GRACE_S)  # which one was the first to fail shows within a moment; or it is back
                    if (lost := peers.lost()) is not None:
                        break
                peers.show(RUNNING)
                time.sleep(LOOK_S)
            state = DONE if code == 0 else FAILED
            if state == DONE:
                return 0
            if code is None:
                state = STOPPED
            else:
                peers.show(FAILED, code)
            first = peers.first_to_fail(lost)
            if first is None:
                if code and code > 128:  # of all else the worker has told itself
                    print(f"{PREFIX}process {me}: {job} was killed (exit code {code})", file=sys.stderr)
                return code
            state = STOPPED
            print(
                f"{PREFIX}{first}; {job} stops here, since no process can go on without it. What was published "
                "stays: start all processes again, and they go on from the last checkpoint",
                file=sys.stderr,
                flush=True,
            )
            return PEER_FAILED
        finally:
            stop([child], STOP_S if state == STOPPED else (60.0, 10.0))
            peers.show(state, 130 if code is None else code, now=True)


def _check_address(coordinator: str, first: bool) -> None:
    """Raises UserError where the coordinator's name is unknown, or its port is taken on its own machine."""
    host, _, port = coordinator.rpartition(":")
    try:
        socket.getaddrinfo(host.strip("[]"), int(port))
    except OSError as error:
        raise UserError(f"--coordinator {coordinator}: {host}: {error.strerror}; name process 0's machine") from None
    if first:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", int(port)), timeout=1.0):
            raise UserError(
                f"--coordinator {coordinator}: the port is taken on this machine; choose a free one for all"
            )


class Peers:
    """The files by which supervisors see each other."""

    def __init__(self, folder: AnyPath, me: int, count: int, timeout_s: float, asked: dict[str, str | int]):
        """`asked`: options that must be the same for all."""
        folder.mkdir(parents=True, exist_ok=True)
        self._asked = asked
        self._look_s, self._beat_s = (REMOTE_S, REMOTE_S) if is_remote(folder) else (LOOK_S, BEAT_S)
        self._folder, self._me, self._timeout_s = folder, me, timeout_s
        self._others = [i for i in range(count) if i != me]
        # What an earlier run left counts for nothing: a peer is there once its file changes.
        self._seen = {i: self._read(i) for i in self._others}
        self._changed: dict[int, float] = {}
        self._looked = -math.inf
        self._beat, self._shown, self._state = 0, -self._beat_s, ""
        self._failed_at: float | None = None
        self._code: int | None = None

    def show(self, state: str, code: int | None = None, now: bool = False) -> None:
        """Tells the others; at most once a second unless something changed."""
        if state == FAILED and self._failed_at is None:
            self._failed_at = time.time()
        self._code = self._code if code is None else code
        if now or state != self._state or time.monotonic() - self._shown >= self._beat_s:
            self._beat, self._shown, self._state = self._beat + 1, time.monotonic(), state
            record = {
                "state": state,
                "code": self._code,
                "failed_at": self._failed_at,
                "beat": [os.getpid(), self._beat],
                "asked": self._asked,
            }
            with contextlib.suppress(Exception):  # whatever an object store raises: the next beat may come through
                write_json(self._folder / f"{self._me}.json", record | {"host": socket.gethostname()})

    def gather(self, job: str) -> None:
        """Waits until every peer has shown itself."""

        def missing():
            return [i for i in self._others if i not in self._changed]

        def there():
            self.show(WAITING)
            self._look()
            return self._disagreement() or (None if missing() else "")

        def hint():
            names = ", ".join(map(str, missing()))
            return f"Start {job} with --process_id {names} too, in the same workdir and with the same --coordinator"

        try:
            # The names are those that are missing at the end of the wait, not at its start.
            different = wait_for(there, f"the other processes of {job}", stop_after_s=self._timeout_s, hint=hint)
        except UserError as error:
            names = ", ".join(map(str, missing()))
            self.show(STOPPED, now=True)
            raise UserError(f"process {names} of {len(self._others) + 1} is missing: {error}") from None
        if different:
            self.show(STOPPED, now=True)
            raise UserError(f"{different}; all processes of {job} must be given the same")

    def _disagreement(self) -> str:
        """The options that a peer which has shown itself was started with, and this process was not."""
        for i in self._changed:
            for option, value in self._seen[i].get("asked", {}).items():
                if value != self._asked[option]:
                    return f"{option}: {self._asked[option]} here, but {value} for process {i}"
        return ""

    def lost(self) -> int | None:
        """A peer that failed, or gives no sign of life."""
        self._look()
        for i in self._others:
            if self._seen[i].get("state") == FAILED or self._is_silent(i):
                return i
        return None

    def first_to_fail(self, lost: int | None) -> str | None:
        """The peer, in words, that failed before this process did, or is `lost`; None where this one was the first.

        A worker often dies of the death of another, and a peer that died with its supervisor shows it only by silence.
        """
        while True:
            self.show(self._state)
            self._look()
            failed = [(record["failed_at"], i) for i, record in self._seen.items() if record.get("state") == FAILED]
            earlier = [(at, i) for at, i in failed if self._failed_at is None or at < self._failed_at]
            if earlier:
                i = min(earlier)[1]
                return f"{self._name(i)} failed with exit code {self._seen[i]['code']}, see its own messages"
            for i in self._others:
                if i == lost or self._is_silent(i):
                    return f"{self._name(i)} has given no sign of life for {self._timeout_s:g} s"
            if all(record.get("state") in (DONE, FAILED, STOPPED) for record in self._seen.values()):
                return None
            time.sleep(LOOK_S)

    def _look(self) -> None:
        if time.monotonic() - self._looked < self._look_s / 2:
            return
        self._looked = time.monotonic()
        for i in self._others:
            record = self._read(i)
            if record != self._seen[i]:
                self._seen[i], self._changed[i] = record, time.monotonic()

    def _is_silent(self, i: int) -> bool:
        if self._seen[i].get("state") in (DONE, FAILED, STOPPED):
            return False
        return time.monotonic() - self._changed.get(i, time.monotonic()) > self._timeout_s

    def _name(self, i: int) -> str:
        record = self._seen[i]
        return f"process {i} of {len(self._others) + 1} (on {record['host']}, process {record['beat'][0]})"

    def _read(self, i: int) -> dict:
        with contextlib.suppress(OSError, BadJson):
            return from_json((self._folder / f"{i}.json").read_bytes())
        return {}
