"""The pipeline with real processes: small scripts stand for the jobs."""

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from realm_jax.config import ClosedBook, Config, Data, Finetune, Ict, Pretrain, WarmUp
from realm_jax.errors import UserError
from realm_jax.jobs import run
from realm_jax.locks import sole_owner
from realm_jax.runtime import pipeline, processes
from realm_jax.runtime.pipeline import Pipeline, Step, steps_of, steps_of_builder
from realm_jax.workdir import Workdir, write_json
from tests.clock import Clock
from tests.waiting import until

PRELUDE = """
import os, pathlib, signal, sys, time
job, root = sys.argv[1], pathlib.Path(sys.argv[2])
def log(word):
    with open(root / "log", "a") as file:
        file.write(f"{job} {word}\\n")
def done(): (root / f"{job}.done").touch()
def touch(name): (root / name).touch()
def wait_for(name):
    while not (root / name).exists(): time.sleep(0.01)
def handle(number, frame):
    log(signal.Signals(number).name)
    if number not in ignored: sys.exit(130 if number == signal.SIGINT else 143)
ignored = set()
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, handle)
(root / f"{job}.pid").write_text(str(os.getpid()))
log("start")
"""
FOREVER = "touch(f'{job}.ready')\nwhile True: time.sleep(0.01)\n"


class Run:
    """A pipeline of scripts in one folder."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir()

    def step(self, job: str, beside: str = "", always: bool = False) -> Step:
        return Step(job, (self.root / f"{job}.done").exists, beside, always)

    def pipeline(self, scripts: dict[str, str], **settings) -> Pipeline:
        def command(job: str) -> list[str]:
            return [sys.executable, "-S", "-c", PRELUDE + scripts[job], job, str(self.root)]

        settings = {"restart_pause_s": 0.05, "patience_s": (5.0, 5.0), "sample_s": 0.1, **settings}
        return Pipeline(Workdir(self.root), command, **settings)

    def log(self) -> list[str]:
        path = self.root / "log"
        return path.read_text().splitlines() if path.exists() else []

    def pid(self, job: str) -> int:
        return int((self.root / f"{job}.pid").read_text())

    def usage(self) -> dict:
        return json.loads((self.root / "run.json").read_text())


@pytest.fixture
def made(tmp_path):
    made = Run(tmp_path / "run")
    yield made
    for path in made.root.glob("*.pid"):  # a failed test leaves nothing running
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(path.read_text()), signal.SIGKILL)


class TestSteps:
    def test_stages_of_no_steps_are_left_out(self, tmp_path):
        workdir = Workdir(tmp_path)
        always = ["prepare", "pretrain", "build_index", "evaluate", "report"]
        assert [step.job for step in steps_of(Config(), workdir)] == always
        config = Config(warm_up=WarmUp(steps=3), pretrain=Pretrain(steps=4), finetune=Finetune(steps=5))
        steps = steps_of(config, workdir)
        assert [step.job for step in steps] == [*always[:1], "warm_up", *always[1:3], "finetune", *always[3:]]
        assert {step.job: step.beside for step in steps if step.beside} == {"pretrain": "build_index"}

    def test_every_step_knows_when_it_is_complete(self, tmp_path):
        workdir, some = Workdir(tmp_path), {"steps": 1}
        config = Config(
            ict=Ict(**some), warm_up=WarmUp(**some), finetune=Finetune(**some), closed_book=ClosedBook(**some)
        )
        made = ["data/manifest.json", "ict/done.json", "warm_up/done.json", "pretrain/done.json"]
        made += ["pretrain/snapshots/40/manifest.json", "finetune/done.json", "closed_book/done.json"]
        made += ["evaluation/results.json", "report/index.html"]
        steps = steps_of(config, workdir)
        for step, name in zip(steps, made, strict=True):
            assert not step.is_complete()
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text('{"step": 40, "fingerprint": "passages"}')
            assert step.is_complete()
        (tmp_path / "data/manifest.json").write_text('{"fingerprint": "other passages"}')
        assert [step.job for step in steps if not step.is_complete()] == ["build_index"]

    def test_shared_data_are_looked_at_each_time(self, tmp_path):
        (shared, *_) = steps_of(Config(data=Data(directory=str(tmp_path / "shared"))), Workdir(tmp_path))
        assert (shared.job, shared.always, shared.is_complete()) == ("prepare", True, False)
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared/manifest.json").touch()
        assert shared.is_complete()
        assert not steps_of(Config(), Workdir(tmp_path))[0].always
        assert steps_of(Config(data=Data(source="folder", path="documents")), Workdir(tmp_path))[0].always


class TestOrder:
    def test_one_after_another(self, made):
        scripts = {"a": "time.sleep(0.1); log('end'); done()", "b": "log('end'); done()"}
        assert made.pipeline(scripts).run([made.step("a"), made.step("b")]) == 0
        assert made.log() == ["a start", "a end", "b start", "b end"]

    def test_what_is_complete_is_skipped(self, made):
        (made.root / "a.done").touch()
        scripts = {"a": "log('end')", "b": "done()"}
        assert made.pipeline(scripts).run([made.step("a"), made.step("b")]) == 0
        assert made.log() == ["b start"]
        assert made.pipeline(scripts).run([made.step("a", always=True), made.step("b")]) == 0
        assert made.log() == ["b start", "a start", "a end"]

    def test_failure_ends_the_run_with_its_code(self, made, capsys):
        steps = [made.step("a"), made.step("b")]
        assert made.pipeline({"a": "sys.exit(37)", "b": "done()"}).run(steps) == 37
        assert "run: a failed with exit code 37" in capsys.readouterr().err
        assert made.pipeline({"a": "done()", "b": "done()"}).run(steps) == 0
        assert made.log() == ["a start", "a start", "b start"]

    def test_death_by_signal_has_the_code_of_a_shell(self, made):
        assert made.pipeline({"a": "os.kill(os.getpid(), signal.SIGKILL)"}).run([made.step("a")]) == 137

    def test_end_without_its_marker_is_an_error(self, made, capsys):
        assert made.pipeline({"a": ""}).run([made.step("a")]) == 1
        assert "a ended without an error, but what it should have made is not there" in capsys.readouterr().err

    def test_a_second_run_is_refused(self, made):
        with (
            sole_owner(made.root, "run"),
            pytest.raises(UserError, match="run is already running there"),
        ):
            made.pipeline({"a": "done()"}).run([made.step("a")])
        assert made.log() == []

    def test_jobs_get_the_environment(self, made):
        pipeline = made.pipeline({"a": "log(os.environ['REALM_TEST']); done()"}, environment={"REALM_TEST": "x"})
        assert pipeline.run([made.step("a")]) == 0
        assert made.log() == ["a start", "a x"]


class TestBuilder:
    """`t` is the trainer, `b` the builder beside it."""

    @pytest.fixture
    def steps(self, made):
        return [made.step("t", beside="b")]

    def test_runs_beside_and_its_lines_are_told_apart(self, made, steps, capfd):
        scripts = {
            "t": "wait_for('built'); print('training'); touch('over'); done()",
            "b": "print('building'); touch('built'); wait_for('over'); time.sleep(0.2); log('end')",
        }
        assert made.pipeline(scripts).run(steps) == 0
        assert sorted(made.log()) == ["b end", "b start", "t start"]  # its own end was waited for
        assert sorted(capfd.readouterr().out.splitlines()) == ["b | building", "training"]

    def test_is_restarted_when_it_dies(self, made, steps, capsys):
        scripts = {
            "t": "wait_for('built'); done()",
            "b": "os.kill(os.getpid(), 9) if not (root / 'once').exists() and not touch('once') else touch('built')",
        }
        assert made.pipeline(scripts).run(steps) == 0
        assert made.log().count("b start") == 2
        assert "b died (exit code 137); starting it again" in capsys.readouterr().err

    def test_is_restarted_twice_and_no_more(self, made, steps, capsys, monkeypatch):
        def say(message: str) -> None:
            if "not started again" in message:
                (made.root / "told").touch()
            told(message)

        told = pipeline.say
        monkeypatch.setattr(pipeline, "say", say)
        scripts = {"t": "wait_for('told'); time.sleep(0.3); sys.exit(2)", "b": "sys.exit(1)"}
        assert made.pipeline(scripts).run(steps) == 2
        assert made.log().count("b start") == 3
        message = capsys.readouterr().err
        assert message.count("b died 3 times (exit code 1); it is not started again") == 1
        assert "t failed with exit code 2" in message

    def test_mistake_of_the_user_stops_the_trainer_at_once(self, made, steps, capsys):
        scripts = {"t": FOREVER, "b": "wait_for('t.ready'); sys.exit(2)"}
        assert made.pipeline(scripts).run(steps) == 2
        assert made.log()[-1] == "t SIGINT"
        assert made.log().count("b start") == 1
        assert "b failed with exit code 2" in capsys.readouterr().err

    def test_is_stopped_when_the_trainer_fails(self, made, steps):
        scripts = {"t": "wait_for('b.ready'); os.kill(os.getpid(), 9)", "b": FOREVER}
        assert made.pipeline(scripts).run(steps) == 137
        assert made.log()[-1] == "b SIGINT"
        assert not psutil.pid_exists(made.pid("b"))

    def test_that_dies_at_the_end_goes_on_alone(self, made, steps):
        scripts = {
            "t": "wait_for('b.ready'); done()",
            "b": "touch('b.ready'); wait_for('t.done')\n"
            "if not (root / 'once').exists(): touch('once'); sys.exit(1)\n"
            "done()",
        }
        assert made.pipeline(scripts).run([*steps, made.step("b")]) == 0
        assert made.log().count("b start") == 2


DRIVER = """
import sys
from pathlib import Path
from realm_jax.jobs import cli
from realm_jax.jobs.job import Job
sys.path.insert(0, {tests!r})
from test_pipeline import FOREVER, Run

def main(config, workdir, arguments):
    made = Run.__new__(Run)
    made.root = Path({root!r})
    pipeline = made.pipeline({scripts!r}, patience_s={patience!r})
    return pipeline.run([made.step("t", beside="b"), made.step("never")])

sys.exit(cli.main(["run", {experiment!r}, "--workdir", {root!r}], {{"run": Job("run", "", main)}}))
"""


class TestStopping:
    """`run` as a process of its own, stopped while trainer and builder work."""

    def start(self, made, tmp_path, scripts, patience=(5.0, 5.0)):
        experiment = tmp_path / "e.py"
        experiment.write_text("from realm_jax.config import Config\ndef get_config():\n  return Config()\n")
        driver = DRIVER.format(
            tests=str(Path(__file__).parent),
            root=str(made.root),
            experiment=str(experiment),
            scripts=scripts,
            patience=patience,
        )
        process = subprocess.Popen([sys.executable, "-c", driver], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        until(lambda: all((made.root / f"{job}.ready").exists() for job in scripts))
        return process

    def gone(self, made, *jobs: str) -> bool:
        return not any(psutil.pid_exists(made.pid(job)) for job in jobs)

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_both_are_stopped_cleanly(self, made, tmp_path, number, code):
        process = self.start(made, tmp_path, {"t": FOREVER, "b": FOREVER})
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == code, output
        assert b"Traceback" not in output
        assert sorted(made.log()) == ["b SIGINT", "b start", "t SIGINT", "t start"]
        assert self.gone(made, "t", "b")
        assert set(made.usage()["stages"]) == {"t", "b"}

    def test_deaf_ones_are_killed(self, made, tmp_path):
        deaf = "ignored |= {signal.SIGINT}\n"
        deafer = "ignored |= {signal.SIGINT, signal.SIGTERM}\n"
        process = self.start(made, tmp_path, {"t": deafer + FOREVER, "b": deaf + FOREVER}, patience=(0.2, 0.3))
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"realm: t did not stop; killing it" in output
        assert sorted(made.log()[2:]) == ["b SIGINT", "b SIGTERM", "t SIGINT", "t SIGTERM"]
        assert self.gone(made, "t", "b")

    def test_a_second_ctrl_c_does_not_wait(self, made, tmp_path):
        deaf = "ignored |= {signal.SIGINT}\n" + FOREVER
        process = self.start(made, tmp_path, {"t": deaf, "b": deaf}, patience=(60.0, 60.0))
        process.send_signal(signal.SIGINT)
        until(lambda: "t SIGINT" in made.log() and "b SIGINT" in made.log())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130
        assert self.gone(made, "t", "b")

    def test_jobs_do_not_outlive_a_killed_run(self, made, tmp_path):
        watching = (
            "sys.path[:0] = {!r}\nfrom realm_jax.runtime.signals import stop_with_parent\nstop_with_parent(0.05)\n"
        )
        script = watching.format([str(Path(run.__file__).parents[2])]) + FOREVER
        process = self.start(made, tmp_path, {"t": script, "b": script})
        process.kill()
        process.communicate(timeout=60)  # the trainer, which writes to the same output, is gone too
        until(lambda: sorted(made.log()[2:]) == ["b SIGTERM", "t SIGTERM"])


class TestUsage:
    def test_is_summed_up_over_resumed_runs(self, made):
        script = "wait_for('go'); time.sleep(0.3); sys.exit(5)"
        (made.root / "go").touch()
        steps = [made.step("a")]
        made.pipeline({"a": script}).run(steps)
        first = made.usage()
        made.pipeline({"a": script}).run(steps)
        second = made.usage()
        assert first["stages"]["a"] >= 0.3
        assert second["stages"]["a"] >= first["stages"]["a"] + 0.3
        assert second["time/minutes"] >= first["time/minutes"] + 0.3 / 60
        assert second["memory/peak_gib"] >= first["memory/peak_gib"] > 0
        assert second["date"] == f"{datetime.date.today()}" and " GiB of memory, " in second["machine"]
        told = Path("/proc/cpuinfo").read_text().splitlines()
        models = [line.partition(": ")[2] for line in told if line.startswith("model name")]
        assert all(f", {model}, " in second["machine"] for model in models)
        write_json(made.root / "run.json", second | {"date": "2026-01-31"})
        made.pipeline({}).run([])  # nothing is left to do
        assert made.usage()["date"] == "2026-01-31"

    def test_memory_of_descendants_counts(self, made, monkeypatch):
        whole = processes.memory_of_tree
        # That of the tests' own process comes and goes by gigabytes.
        monkeypatch.setattr(processes, "memory_of_tree", lambda: whole() - psutil.Process().memory_full_info().pss)
        script = "import subprocess; subprocess.run([sys.executable, '-S', '-c', {!r}]); done()".format(
            "import time; x = bytearray(300 << 20); x[::4096] = b'1' * len(x[::4096]); time.sleep(1.2)"
        )
        made.pipeline({"b": script}).run([made.step("b")])
        assert made.usage()["memory/peak_gib"] > 0.25

    def test_trainer_and_builder_have_their_own_times(self, made):
        scripts = {"t": "wait_for('b.done'); time.sleep(0.3); done()", "b": "done()"}
        made.pipeline(scripts).run([made.step("t", beside="b")])
        assert set(made.usage()["stages"]) == {"t", "b"}


class TestRunJob:
    def test_environment_leaves_what_the_user_set(self, tmp_path, monkeypatch):
        monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
        assert run.environment(Workdir(tmp_path)) == {"GLIBC_TUNABLES": run.KEEP_MEMORY}

    def test_jobs_are_given_the_workdir(self, tmp_path, monkeypatch):
        """Prepare fails at once: its data folder is a file."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(Path(run.__file__).parents[2]))
        (tmp_path / "run").mkdir()
        assert run.main(Config(), Workdir(tmp_path / "run")) == 2  # it holds no config.json


class TestSeveralMachines:
    """Each runs the same steps; the first does alone what cannot be done by several."""

    def steps(self, made):
        return [made.step("prepare"), made.step("pretrain", beside="build_index"), made.step("report")]

    def test_the_others_wait_for_the_first(self, made):
        scripts = dict.fromkeys(("prepare", "report"), "done()") | {
            "pretrain": "log(' '.join(sys.argv[3:])); wait_for('go'); done()",
            "build_index": "log(f'builder {sys.argv[3:]}'); touch('go')",
        }
        together = lambda me: ("--process_id", str(me))  # noqa: E731
        first = made.pipeline(scripts, together=together(0), poll_s=0.02)
        second = made.pipeline(scripts, together=together(1), first=False, poll_s=0.02)
        with ThreadPoolExecutor(2) as pool:
            codes = [pool.submit(pipeline.run, self.steps(made)) for pipeline in (second, first)]
            assert [code.result(30) for code in codes] == [0, 0]
        log = made.log()
        assert log.count("prepare start") == 1 and log.count("report start") == 1
        assert sorted(line for line in log if "--process_id" in line) == [
            "pretrain --process_id 0",
            "pretrain --process_id 1",
        ]
        assert log.count("build_index builder []") == 1  # beside the first, a process of its own
        assert made.usage()["stages"]["pretrain"] > 0  # written by the first

    def start_both(self, made, scripts, steps):
        pipelines = [made.pipeline(scripts, together=("--x",), first=first, poll_s=0.02) for first in (True, False)]
        first, second = pipelines
        with ThreadPoolExecutor(2) as pool:
            waits = pool.submit(second.run, steps)
            time.sleep(0.3)
            assert not waits.done() and made.log() == []  # the first has not begun
            works = pool.submit(first.run, steps)
            until(lambda: made.log())
            time.sleep(0.3)
            assert not waits.done() and made.log() == ["prepare start"]
            (made.root / "go").touch()
            return works.result(30), waits.result(30)

    def test_the_others_wait_for_what_is_looked_at_in_each_start(self, made, monkeypatch):
        """What stands from an earlier start is complete, and may be changed."""
        monkeypatch.setattr(pipeline, "SHOWN_S", 0.1)
        scripts = {"prepare": "wait_for('go'); done()", "pretrain": "done()"}
        steps = [made.step("prepare", always=True), made.step("pretrain")]
        (made.root / "prepare.done").touch()
        (made.root / "run.json").write_text('{"done": ["prepare"], "failed": "pretrain"}')
        assert self.start_both(made, scripts, steps) == (0, 0)
        assert made.log() == ["prepare start", "pretrain start", "pretrain start"]
        assert made.usage()["done"] == ["prepare", "pretrain"]

    def test_the_others_end_where_it_fails(self, made):
        (made.root / "prepare.done").touch()
        scripts = {"prepare": "wait_for('go'); sys.exit(2)", "pretrain": "done()"}
        steps = [made.step("prepare", always=True), made.step("pretrain")]
        assert self.start_both(made, scripts, steps) == (2, 75)
        assert made.log() == ["prepare start"]

    def test_one_that_comes_late_sees_that_it_is_done(self, made, monkeypatch):
        monkeypatch.setattr(pipeline, "SHOWN_S", 0.1)
        scripts = {"prepare": "done()", "pretrain": "wait_for('late'); done()"}
        steps = [made.step("prepare", always=True), made.step("pretrain")]
        with ThreadPoolExecutor(1) as pool:
            works = pool.submit(made.pipeline(scripts, together=("--x",)).run, steps)
            until(lambda: "pretrain start" in made.log())
            late = made.pipeline(scripts | {"pretrain": "touch('late')"}, together=("--x",), first=False, poll_s=0.02)
            assert late.run(steps) == 0 and works.result(30) == 0

    @pytest.mark.parametrize("always", [False, True])
    def test_one_whose_first_is_gone_ends(self, made, capsys, monkeypatch, always):
        """As where it was killed: its record says nothing more. By a clock of the test's own."""

        def show(now: float) -> None:
            if now <= 900:  # in all longer than the limit
                write_json(made.root / "run.json", {"done": [], "time/minutes": now // 60})

        clock = Clock(show)
        monkeypatch.setattr(pipeline, "time", clock)
        waiting = made.pipeline({}, together=("--x",), first=False, poll_s=10.0, peer_timeout_s=100.0)
        assert waiting.run([made.step("prepare", always=always)]) == 75
        assert clock.now == 1010
        message = f"waiting for prepare: process 0 has given no sign of life in {made.root}/run.json for 100 s; start"
        assert message in capsys.readouterr().err

    def test_a_builder_elsewhere_is_waited_for(self, tmp_path):
        config, workdir = Config(), Workdir(tmp_path)
        trainer = {step.job: step for step in steps_of(config, workdir, builder_is_here=False)}
        assert not trainer["pretrain"].beside and trainer["build_index"].elsewhere
        builder = steps_of_builder(config, workdir)
        assert [(step.job, step.elsewhere) for step in builder] == [
            ("prepare", True),
            ("pretrain", True),
            ("build_index", False),
        ]
        assert not any(step.is_complete() for step in builder)
        workdir.stage("pretrain").checkpoints.mkdir(parents=True)
        assert [step.is_complete() for step in builder] == [False, True, False]

    def test_no_room_beside_a_trainer_of_several_processes(self, tmp_path, monkeypatch):
        monkeypatch.delenv("JAX_PLATFORMS")
        arguments = run.Arguments(coordinator="host:1", process_count=2, process_id=0)
        with pytest.raises(UserError, match="--index.refresh inline"):
            run.main(Config(), Workdir(tmp_path), arguments)
