"""Supervisors of the processes of one job; small scripts stand for the workers."""

import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from realm_jax import locks
from realm_jax.errors import UserError
from realm_jax.runtime import peers
from realm_jax.runtime.peers import PEER_FAILED, Processes, resolve, several
from realm_jax.runtime.processes import Child
from realm_jax.settings import check
from realm_jax.workdir import write_json
from tests.clock import Clock

SUPERVISOR = """
import sys
from pathlib import Path
from realm_jax.errors import UserError
from realm_jax.runtime.peers import Processes, supervise
me, count, timeout, folder, port, script = sys.argv[1:]
processes = Processes(f"localhost:{port}", int(count), int(me), float(timeout))
try:
    sys.exit(supervise("pretrain", Path(folder), processes, [sys.executable, "-S", "-c", script]))
except UserError as error:
    print(f"realm: error: {error}", file=sys.stderr)
    sys.exit(2)
"""
FOREVER = "import time\nprint('at work', flush=True)\ntime.sleep(600)"
STUCK = "import signal\nsignal.signal(2, signal.SIG_IGN)\n" + FOREVER


class Job:
    """The processes of one job, started at once; each is (id, what its worker does)."""

    def __init__(
        self, folder: Path, *scripts: tuple[int, str], count: int = 2, timeout: float = 60.0, port: object = 1
    ):
        command = [sys.executable, "-c", SUPERVISOR]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.processes = {
            me: subprocess.Popen([*command, str(me), str(count), str(timeout), str(folder), str(port), script], **pipes)
            for me, script in scripts
        }

    def works(self, me: int) -> int:
        """Waits until the worker is at work; its process."""
        assert self.processes[me].stdout.readline() == "at work\n"
        return psutil.Process(self.processes[me].pid).children()[0].pid

    def end(self, me: int) -> tuple[int, str]:
        _, error = self.processes[me].communicate(timeout=120)
        return self.processes[me].returncode, error


@pytest.fixture
def job(tmp_path):
    jobs = []

    def start(*scripts, **settings):
        jobs.append(Job(tmp_path / "stage", *scripts, **settings))
        return jobs[-1]

    yield start
    for process in [process for made in jobs for process in made.processes.values()]:
        if process.poll() is None:  # its worker holds the pipes as well
            for running in [*psutil.Process(process.pid).children(), process]:
                running.kill()
        process.communicate()


def test_processes_that_all_end_well(job):
    made = job((0, "import time; time.sleep(1.5)"), (1, "import os; assert os.environ['REALM_WORKER'] == '1'"))
    assert [made.end(me) for me in (0, 1)] == [(0, ""), (0, "")]


@pytest.mark.parametrize(
    "other, message",
    [
        ({"count": 3}, "--process_count: 2 here, but 3 for process 1"),
        ({"port": 2}, "--coordinator: localhost:1 here, but localhost:2 for process 1"),
    ],
)
def test_processes_that_were_started_differently_say_so(job, other, message):
    first, second = job((0, FOREVER)), job((1, FOREVER), **other)
    code, error = first.end(0)
    assert code == 2 and message in error and "must be given the same" in error
    assert second.end(1)[0] == 2


def test_a_port_that_is_taken_is_told_at_once(job):
    with socket.create_server(("localhost", 0)) as taken:
        code, error = job((0, FOREVER), port=taken.getsockname()[1]).end(0)
    assert code == 2 and "the port is taken on this machine" in error


def test_the_process_that_dies_is_named_by_all_others(job):
    """Also by one whose worker cannot be interrupted, as one that waits for a device cannot."""
    made = job((0, FOREVER), (1, FOREVER), (2, STUCK), count=3)
    workers = {me: made.works(me) for me in (0, 1, 2)}
    os.kill(workers[1], signal.SIGKILL)
    code, error = made.end(1)
    assert code == 137 and "process 1: pretrain was killed (exit code 137)" in error
    for me in (0, 2):
        code, error = made.end(me)
        assert code == PEER_FAILED and "process 1 of 3" in error and "exit code 137" in error
        assert socket.gethostname() in error and "go on from the last checkpoint" in error
        assert not psutil.pid_exists(workers[me])


class Worker(Child):
    """One that ends by itself at a moment, or when it is stopped."""

    def __init__(self, clock: Clock, ends: float, code: int):
        self.job, self._clock, self._ends, self._code = "pretrain", clock, ends, code

    def exit_code(self) -> int | None:
        return self._code if self._clock.now >= self._ends else None

    def signal(self, number: int) -> None:
        self._ends = 0.0


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    """Supervises process 0, by a clock of the test's own; of the others there is what they show at each moment."""

    def supervise(*others, ends: float = math.inf, code: int = 1, count: int = 2) -> int:
        def show(now: float) -> None:
            for i, other in others:
                write_json(tmp_path / "stage/.pretrain.peers" / f"{i}.json", {"state": "running", **other(now)})

        clock = Clock(show)
        monkeypatch.setattr(peers, "time", clock)
        monkeypatch.setattr(locks, "time", clock)
        monkeypatch.setattr(peers, "Child", lambda *_: Worker(clock, ends, code))
        return peers.supervise("pretrain", tmp_path / "stage", Processes("localhost:1", count, 0, 3.0), [])

    return supervise


def beat(number: float) -> dict:
    return {"beat": [7, int(number)], "host": "there"}


def test_a_missing_process_is_named(supervised):
    with pytest.raises(UserError, match="^process 1 of 3 is missing: waited 3 s .*--process_id 1 too"):
        supervised((2, beat), count=3)


def test_a_process_that_vanishes_with_its_supervisor_is_named(supervised, capsys):
    assert supervised((1, lambda now: beat(min(now, 5.0)))) == PEER_FAILED
    said = capsys.readouterr().err
    assert "process 1 of 2 (on there, process 7) has given no sign of life for 3 s; pretrain stops here" in said


def test_a_process_that_was_frozen_for_a_moment_goes_on(supervised):
    """As a machine that its provider moves: it is back before the others have ended their workers."""
    assert supervised((1, lambda now: beat(5.0 if 5.0 < now < 9.0 else now)), ends=20.0, code=0) == 0


def test_a_worker_that_dies_of_the_death_of_another_is_not_blamed(supervised, capsys):
    """Though the other shows later that it has failed."""
    failed = {"state": "failed", "code": 9, "failed_at": 10.0}
    assert supervised((1, lambda now: beat(now) | (failed if now > 12.0 else {})), ends=10.5) == PEER_FAILED
    assert "process 1 of 2 (on there, process 7) failed with exit code 9" in capsys.readouterr().err


def test_stopping_one_stops_all(job):
    made = job((0, FOREVER), (1, FOREVER))
    made.works(0), made.works(1)
    made.processes[0].send_signal(signal.SIGINT)
    assert made.end(0)[0] != 0
    code, error = made.end(1)
    assert code == PEER_FAILED and "process 0 of 2" in error


def test_a_second_job_in_the_folder_is_refused(job):
    first = job((0, FOREVER), (1, FOREVER))
    first.works(0), first.works(1)
    second = job((0, FOREVER), (1, FOREVER))
    for me in (0, 1):
        code, error = second.end(me)
        assert code == 2 and f"pretrain.{me} is already running there (process {first.processes[me].pid})" in error
    assert all(process.poll() is None for process in first.processes.values())


@pytest.mark.parametrize(
    "options, environment, expected",
    [
        ({"process_count": 3, "process_id": 2}, {}, (2, 3)),
        ({}, {"SLURM_NTASKS": "4", "SLURM_PROCID": "1"}, (1, 4)),
        ({}, {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, (0, 2)),
        ({"process_count": 2, "process_id": 1}, {"SLURM_NTASKS": "4", "SLURM_PROCID": "3"}, (1, 2)),
    ],
)
def test_who_this_process_is(options, environment, expected):
    assert resolve(Processes("host:1234", **options), environment) == expected


@pytest.mark.parametrize(
    "processes, message",
    [
        (Processes("host"), r"--coordinator host: must be HOST:PORT"),
        (Processes("host:99999"), r"must be HOST:PORT"),
        (Processes("host:1", 2, 2), r"--process_id 2: of 2 processes it must be one of 0 to 1"),
        (Processes("host:1", 2), r"--process_count, --process_id: give both"),
    ],
)
def test_what_makes_no_sense_is_refused(processes, message):
    with pytest.raises(UserError, match=message):
        resolve(processes, {})


def test_a_wait_without_an_end_is_refused():
    for seconds in (0.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="--peer_timeout_s: .* is out of range"):
            check(Processes("host:1", 2, 0, seconds), "--")


@pytest.mark.parametrize("options", [{"process_count": 2}, {"process_id": 0}])
def test_processes_without_a_coordinator_are_refused(options):
    with pytest.raises(UserError, match="--coordinator: is missing"):
        several(Processes(**options))
