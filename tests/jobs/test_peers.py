"""Supervisors of the processes of one job; small scripts stand for the workers."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from realm_jax.errors import UserError
from realm_jax.jobs.peers import PEER_FAILED, Processes, resolve, several

SUPERVISOR = """
import sys
from pathlib import Path
from realm_jax.errors import UserError
from realm_jax.jobs.peers import Processes, supervise
me, count, timeout, folder, port, script = sys.argv[1:]
processes = Processes(f"localhost:{port}", int(count), int(me), float(timeout))
try:
    sys.exit(supervise("pretrain", Path(folder), processes, [sys.executable, "-S", "-c", script]))
except UserError as error:
    print(f"realm: error: {error}", file=sys.stderr)
    sys.exit(2)
"""
FOREVER = "import time\nprint('at work', flush=True)\ntime.sleep(60)"
STUCK = "import signal\nsignal.signal(2, signal.SIG_IGN)\n" + FOREVER


class Job:
    """The processes of one job, started at once; each is (id, what its worker does)."""

    def __init__(
        self, folder: Path, *scripts: tuple[int, str], count: int = 2, timeout: float = 20.0, port: object = 1
    ):
        self.started = time.monotonic()
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
        _, error = self.processes[me].communicate(timeout=30)
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


def test_a_missing_process_is_named_within_the_set_time(job):
    made = job((0, FOREVER), (2, FOREVER), count=3, timeout=2.0)
    for me in (0, 2):
        code, error = made.end(me)
        assert code == 2 and "process 1 of 3 is missing" in error and "--process_id 1" in error
    assert time.monotonic() - made.started < 15


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
        code, error = job((0, FOREVER), port=taken.getsockname()[1], timeout=60.0).end(0)
    assert code == 2 and "the port is taken on this machine" in error


def test_the_process_that_dies_is_named_by_all_others(job):
    """Also by one whose worker cannot be interrupted, as one that waits for a device cannot."""
    made = job((0, FOREVER), (1, FOREVER), (2, STUCK), count=3)
    workers = {me: made.works(me) for me in (0, 1, 2)}
    killed = time.monotonic()
    os.kill(workers[1], signal.SIGKILL)
    code, error = made.end(1)
    assert code == 137 and "process 1: pretrain was killed (exit code 137)" in error
    for me in (0, 2):
        code, error = made.end(me)
        assert code == PEER_FAILED and "process 1 of 3" in error and "exit code 137" in error
        assert socket.gethostname() in error and "go on from the last checkpoint" in error
        assert not psutil.pid_exists(workers[me])
    assert time.monotonic() - killed < 15


def test_a_worker_that_dies_of_the_death_of_another_is_not_blamed(job, tmp_path):
    gone = tmp_path / "gone"
    first = f"import os, pathlib\npathlib.Path({str(gone)!r}).touch()\nos._exit(9)"
    second = (
        f"import os, time\nwhile not os.path.exists({str(gone)!r}): time.sleep(0.01)\ntime.sleep(0.5)\nos._exit(134)"
    )
    made = job((0, second), (1, first))
    assert made.end(1) == (9, "")
    code, error = made.end(0)
    assert code == PEER_FAILED and "process 1 of 2" in error and "exit code 9" in error


def test_a_process_that_vanishes_with_its_supervisor_is_named(job):
    made = job((0, FOREVER), (1, FOREVER), timeout=2.0)
    orphan = made.works(1)
    made.works(0)
    made.processes[1].kill()
    code, error = made.end(0)
    assert code == PEER_FAILED and "process 1 of 2" in error and "no sign of life for 2 s" in error
    psutil.Process(orphan).kill()


def test_a_process_that_was_frozen_for_a_moment_goes_on(job):
    """As a machine that its provider moves: it is back before the others have ended their workers."""
    made = job((0, FOREVER), (1, FOREVER), timeout=3.0)
    made.works(0), made.works(1)
    made.processes[1].send_signal(signal.SIGSTOP)
    time.sleep(4.0)
    made.processes[1].send_signal(signal.SIGCONT)
    time.sleep(3.0)
    assert all(process.poll() is None for process in made.processes.values())
    os.kill(psutil.Process(made.processes[0].pid).children()[0].pid, signal.SIGKILL)
    assert [made.end(me)[0] for me in (0, 1)] == [137, PEER_FAILED]


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
        (Processes("host:1", 2, 0, 0.0), r"--peer_timeout_s 0"),
    ],
)
def test_what_makes_no_sense_is_refused(processes, message):
    with pytest.raises(UserError, match=message):
        resolve(processes, {})


@pytest.mark.parametrize("options", [{"process_count": 2}, {"process_id": 0}])
def test_processes_without_a_coordinator_are_refused(options):
    with pytest.raises(UserError, match="--coordinator: is missing"):
        several(Processes(**options))
