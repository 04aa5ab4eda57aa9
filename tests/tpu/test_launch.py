"""The life of a launch, in a cloud of local folders behind a strict `gcloud` (`fake_gcloud.py`)."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tpu import launch, slices, source, upkeep
from tpu.record import Launch
from tpu.slices import Slice

ROOT = Path(__file__).parents[2]
SMALL = "from realm_jax.config import *\n\ndef get_config():\n    return Config()\n"
START = ["experiments/small.py", "--name", "mine", "--zone", "us-west4-a", "--bucket", "gs://b"]
JOB = """#!/usr/bin/env bash
# Stands for Python with the project: runs until the file `finish` of the test says with which code to end.
echo "$@" >>"$HOME/ran"
trap 'exit 143' TERM
until [ -e "$FAKE_CLOUD/finish" ]; do sleep 0.05; done
exit "$(cat "$FAKE_CLOUD/finish")"
"""


class Cloud:
    """What a test sees of it, and does to it."""

    def __init__(self, root: Path):
        self.root = root
        for folder in ("nodes", "queue", "buckets/b", "homes", "bin"):
            (root / folder).mkdir(parents=True)
        self.write("refusals.json", [])
        self.write("types.json", ["v5litepod-8", "v5litepod-16", "v4-16"])
        self.write("queue_states.json", ["WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"])
        (root / "account").write_text("me@example.org")
        (root / "project").write_text("p")
        (root / "buckets/b/.location").write_text("US-WEST4")
        fake = Path(__file__).with_name("fake_gcloud.py")
        self.executable("gcloud", f'#!/bin/sh\nexec {sys.executable} -S {fake} "$@"\n')
        self.executable("python", JOB)

    def executable(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def write(self, name: str, value) -> None:
        self.put(name, json.dumps(value))

    def put(self, name: str, text: str) -> None:
        """Whole or not at all: jobs and watchers read it at any moment."""
        part = self.root / f".{Path(name).name}"
        part.write_text(text)
        part.replace(self.root / name)

    def refuse(self, *refusals: tuple[str, str]) -> None:
        self.write("refusals.json", refusals)

    def finish(self, code: int) -> None:
        self.put("finish", str(code))

    def commands(self, words: str = "") -> list[str]:
        path = self.root / "commands"
        lines = [" ".join(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if words in line]

    def nodes(self) -> set[str]:
        return {path.stem for folder in ("nodes", "queue") for path in (self.root / folder).glob("*.json")}

    def object(self, name: str) -> Path:
        return self.root / "buckets/b" / name

    def ran(self, name: str, worker: int = 0) -> list[str]:
        """The command lines of the job on a worker."""
        path = self.root / "homes" / name / str(worker) / "ran"
        return path.read_text().splitlines() if path.exists() else []

    def preempt(self, name: str) -> None:
        node = json.loads((self.root / "nodes" / f"{name}.json").read_text())
        self.write(f"nodes/{name}.json", node | {"state": "PREEMPTED"})
        self.end_processes(name)

    def end_processes(self, name: str | None = None) -> None:
        found = True
        while found:  # one may start another while we look
            found = False
            for process in psutil.process_iter():
                try:
                    environment = process.environ()
                    if environment.get("FAKE_CLOUD") == str(self.root) and environment.get("FAKE_NODE") in (
                        {name} if name else set(os.listdir(self.root / "homes"))
                    ):
                        process.kill()
                        found = True
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    pass


def wait_until(true, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def tree(tmp_path, git, monkeypatch) -> Path:
    """A committed work tree that is launched in place of this one."""
    tree = tmp_path / "tree"
    (tree / "experiments").mkdir(parents=True)
    (tree / "experiments/small.py").write_text(SMALL)
    (tree / "tpu").mkdir()
    shutil.copy(ROOT / "tpu/requirements.txt", tree / "tpu")
    git(tree)
    monkeypatch.setattr(source, "ROOT", tree)
    monkeypatch.chdir(tree)
    return tree


@pytest.fixture
def cloud(tree, tmp_path, monkeypatch):
    cloud = Cloud(tmp_path / "cloud")
    monkeypatch.setenv("FAKE_CLOUD", str(cloud.root))
    monkeypatch.setenv("PATH", f"{cloud.root / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("REALM_PYTHON", str(cloud.root / "bin/python"))
    monkeypatch.setenv("RETRY_S", "0.1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(slices, "POLL_S", 0.01)
    monkeypatch.setattr(upkeep, "WATCH_S", 0.05)
    yield cloud
    cloud.end_processes()


@pytest.fixture
def run(capsys):
    """Runs the launcher; gives what it printed and what it complained of."""

    def run(*words: str, code: int = 0) -> tuple[str, str]:
        assert launch.main(list(words)) == code, capsys.readouterr()
        return capsys.readouterr()

    return run


class TestLife:
    def test_of_a_slice_of_several_workers(self, cloud, run, tree):
        out, _ = run(*START, "--type", "v5e-16", "--", "--seed", "1")
        for words in ("logs mine --follow", "stop mine", "delete mine", "workdir gs://b/mine", "in any case at"):
            assert words in out
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
        ).stdout.strip()
        assert cloud.object(f"mine/launch/{commit}.tar.gz").exists()
        wait_until(lambda: all(cloud.ran("mine-trainer", i) for i in range(4)))
        for i in range(4):
            (line,) = cloud.ran("mine-trainer", i)
            assert line == (
                "-m realm_jax run experiments/small.py --index.refresh inline --seed 1 --workdir gs://b/mine "
                f"--coordinator 127.0.0.1:8476 --process_count 4 --process_id {i}"
            )
            assert (cloud.root / f"homes/mine-trainer/{i}/realm/mine-trainer/source/experiments/small.py").exists()
        out, _ = run("status", "mine")
        assert "READY" in out and commit in out

        cloud.finish(0)  # the job ends; the slice deletes itself, and what it said stays
        wait_until(lambda: not cloud.nodes())
        assert "exit code 0" in next(cloud.object("mine/logs").glob("mine-trainer-0-*.log")).read_text()
        out, _ = run("status", "mine")
        assert "ended with exit code 0" in out
        _, err = run("logs", "mine", code=2)
        assert "gcloud storage cat 'gs://b/mine/logs/mine-trainer-*'" in err
        out, _ = run("delete", "mine")
        assert "gcloud storage rm --recursive gs://b/mine" in out
        run("status", "mine", code=2)

    def test_trainer_and_builder_in_the_queue(self, cloud, run):
        out, _ = run(*START, "--type", "v5litepod-8", "--builder-type", "v4-16", "--queued")
        assert re.findall(r"mine-trainer: ([A-Z_]+)", out) == ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
        wait_until(lambda: cloud.ran("mine-trainer") and cloud.ran("mine-builder", 1))
        assert cloud.ran("mine-trainer") == [
            "-m realm_jax run experiments/small.py --builder elsewhere --workdir gs://b/mine"
        ]
        assert "--builder only --workdir gs://b/mine --coordinator" in cloud.ran("mine-builder", 1)[0]
        (asked,) = cloud.commands("queued-resources create mine-trainer")
        assert "--valid-until-duration=86400s" in asked and "--node-id=mine-trainer" in asked
        run("ssh", "mine", "--builder", "--worker", "1", "--", "touch", "a b")  # words stay as they were given
        assert (cloud.root / "homes/mine-builder/1/a b").exists()
        run("delete", "mine")
        assert not cloud.nodes()
        assert cloud.commands("queued-resources delete mine-builder --zone=us-west4-a --force")

    def test_stop_and_resume(self, cloud, run):
        run(*START, "--type", "v5e-8")
        wait_until(lambda: cloud.ran("mine-trainer"))
        _, err = run("resume", "mine", code=2)
        assert "its job is running" in err and "stop mine" in err
        assert cloud.nodes() == {"mine-trainer"}  # it was there before, so it stays
        out, _ = run("stop", "mine")
        assert "ended with exit code 143" in out and "delete mine" in out and "cost" in out
        assert cloud.nodes() == {"mine-trainer"}
        run("resume", "mine", "--max-hours", "2")
        wait_until(lambda: len(cloud.ran("mine-trainer")) == 2)
        cloud.finish(0)
        wait_until(lambda: not cloud.nodes())

    def test_resume_makes_a_slice_that_is_gone_again(self, cloud, run):
        run(*START, "--type", "v5e-8")
        cloud.preempt("mine-trainer")
        run("resume", "mine")
        wait_until(lambda: len(cloud.ran("mine-trainer")) == 1)
        assert len(cloud.commands("tpu-vm create")) == 2

    def test_resume_beside_a_job_that_runs_changes_nothing(self, cloud, run):
        run(*START, "--type", "v5e-8", "--builder-type", "v5e-8")
        wait_until(lambda: cloud.ran("mine-builder"))
        record = cloud.object("mine/launch/launch.json").read_text()
        cloud.preempt("mine-trainer")
        _, err = run("resume", "mine", "--max-hours", "2", code=2)
        assert "mine-builder: its job is running" in err and "watch mine" in err
        assert cloud.object("mine/launch/launch.json").read_text() == record
        assert cloud.nodes() == {"mine-trainer", "mine-builder"} and len(cloud.commands("tpu-vm create")) == 2

    @pytest.mark.parametrize("hours", ["0", "-1", "1000000"])
    def test_resume_checks_its_hours(self, cloud, run, hours):
        run(*START, "--type", "v5e-8")
        run("stop", "mine")
        _, err = run("resume", "mine", "--max-hours", hours, code=2)
        assert f"--max-hours {float(hours):g}: must be above 0" in err and cloud.nodes() == {"mine-trainer"}

    @pytest.mark.parametrize("taken", ["mine-trainer", "mine-builder"])
    def test_spot_slices_come_back(self, cloud, run, taken):
        """The launcher goes on as the watcher; after a preemption the same job runs on a new slice."""
        words = [*START, "--type", "v5e-8", "--builder-type", "v5e-8", "--spot"]
        watcher = threading.Thread(target=launch.main, args=(words,))
        watcher.start()
        try:
            wait_until(lambda: cloud.ran("mine-trainer") and cloud.ran("mine-builder"))
            before = cloud.ran(taken)
            cloud.preempt(taken)
            wait_until(lambda: len(cloud.commands(f"tpu-vm create {taken}")) == 2 and cloud.ran(taken))
            assert cloud.ran(taken) == before
        finally:  # it must not outlive the fake
            cloud.finish(0)
            watcher.join(60)
        assert len(cloud.commands("tpu-vm create")) == 3 and all("--spot" in c for c in cloud.commands("create mine"))
        assert not watcher.is_alive() and not cloud.nodes()

    def test_what_is_deleted_is_not_made_again_by_a_watcher(self, cloud, run):
        watcher = threading.Thread(target=launch.main, args=([*START, "--type", "v5e-8", "--spot"],))
        watcher.start()
        try:
            wait_until(lambda: cloud.ran("mine-trainer"))
            run("delete", "mine")
            watcher.join(60)
            assert not watcher.is_alive() and not cloud.nodes() and len(cloud.commands("tpu-vm create")) == 1
        finally:  # it must not outlive the fake
            cloud.finish(0)
            watcher.join(60)

    def test_a_watcher_says_that_a_job_failed(self, cloud, run, capsys):
        cloud.finish(2)
        watcher = threading.Thread(target=launch.main, args=([*START, "--type", "v5e-8", "--spot"],))
        watcher.start()
        try:
            said = []
            wait_until(lambda: said.append(capsys.readouterr().out) or "exit code 2; the slice stays" in "".join(said))
        finally:
            run("delete", "mine")
            watcher.join(60)
        assert not watcher.is_alive()

    def test_a_failed_job_is_tried_again_unless_it_fails_at_once_by_mistake(self, cloud, run):
        cloud.finish(75)
        run(*START, "--type", "v5e-8")
        wait_until(lambda: len(cloud.ran("mine-trainer")) >= 3)
        run("stop", "mine")
        wait_until(lambda: list(cloud.object("mine/launch").glob("*.ended")))  # else `resume` ends what would write it
        cloud.finish(2)
        run("resume", "mine", "--max-hours", "3")
        wait_until(lambda: len(list(cloud.object("mine/launch").glob("*.ended"))) == 2)
        count = len(cloud.ran("mine-trainer"))
        time.sleep(0.5)
        assert len(cloud.ran("mine-trainer")) == count and cloud.nodes() == {"mine-trainer"}

    def test_the_time_ends_job_and_slice(self, cloud, run):
        run(*START, "--type", "v5e-8", "--max-hours", "0.001")
        wait_until(lambda: not cloud.nodes())

    def test_a_tpu_that_was_there_before_is_never_deleted(self, cloud, run):
        describe = {"state": "READY", "networkEndpoints": [{"ipAddress": "127.0.0.1"}]}
        cloud.write("nodes/other.json", describe)
        (cloud.root / "homes/other/0").mkdir(parents=True)
        run(*START, "--on-existing", "other")
        wait_until(lambda: cloud.ran("other"))
        cloud.finish(0)
        wait_until(lambda: list(cloud.object("mine/launch").glob("*.ended")))
        out, _ = run("delete", "mine")
        assert "not made by this launcher" in out and cloud.nodes() == {"other"}
        assert not cloud.commands("delete")

    def test_another_machine_looks_after_it(self, cloud, run, tmp_path, monkeypatch):
        run(*START, "--type", "v5e-8")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
        _, err = run("status", "mine", code=2)
        assert "status mine --bucket gs://BUCKET" in err
        out, _ = run("status", "mine", "--bucket", "gs://b")
        assert "READY" in out
        _, err = run("status", "mine", "--bucket", "b", code=2)
        assert "must be gs://BUCKET" in err
        _, err = run("status", "yours", "--bucket", "gs://b", code=2)
        assert "no launch yours there" in err

    def test_what_another_machine_resumed_counts_on_this_one(self, cloud, run, tmp_path, monkeypatch):
        run(*START, "--type", "v5e-8")
        wait_until(lambda: cloud.ran("mine-trainer"))
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
            run("stop", "mine", "--bucket", "gs://b")
            run("resume", "mine", "--bucket", "gs://b", "--max-hours", "48")
        out, _ = run("status", "mine")
        assert re.search(r"in 4[78]\.\d h", out)
        run("delete", "mine")  # the end of what runs now is told to those who watch it
        deadline = json.loads(cloud.object("mine/launch/launch.json").read_text())["deadline"]
        assert cloud.object(f"mine/launch/mine-trainer-{deadline}.ended").exists()

    def test_a_bucket_that_cannot_be_read_does_not_keep_a_slice(self, cloud, run):
        run(*START, "--type", "v5e-8")
        cloud.refuse(("storage", "PERMISSION_DENIED"))
        _, err = run("delete", "mine")
        assert "warning: mine: what this machine knows of it may be old" in err and not cloud.nodes()

    def test_a_launch_of_the_same_name_in_another_bucket_is_not_taken_for_it(self, cloud, run):
        run(*START, "--type", "v5e-8")
        _, err = run("delete", "mine", "--bucket", "gs://other", code=2)
        assert "is gs://b/mine, not gs://other/mine" in err and cloud.nodes() == {"mine-trainer"}
        run("delete", "mine", "--bucket", "gs://b/")
        assert not cloud.nodes()

    def test_a_dry_run_prints_every_command_and_runs_none(self, cloud, run):
        out, _ = run(*START, "--type", "v5e-16", "--builder-type", "v5e-8", "--dry-run")
        assert not cloud.commands()
        planned = [line for line in out.splitlines() if line.startswith("gcloud ")]
        run(*START, "--type", "v5e-16", "--builder-type", "v5e-8")

        def changing(lines):
            return [line.split(" mine")[0] for line in lines if re.search(r" (create|ssh) ", line)]

        assert changing(planned) == changing([f"gcloud {line}" for line in cloud.commands()])


class TestMistakes:
    """Each message says what to run next, and nothing is left that costs."""

    def refused(self, run, cloud, *words: str, options: tuple[str, ...] = ("--type", "v5e-8")) -> str:
        _, err = run(*START, *options, code=2)
        for word in words:
            assert word in err, err
        assert not cloud.nodes()
        return err

    def test_no_gcloud(self, cloud, run, monkeypatch):
        git = shutil.which("git")
        (cloud.root / "only").mkdir()
        (cloud.root / "only/git").symlink_to(git)
        monkeypatch.setenv("PATH", str(cloud.root / "only"))
        self.refused(run, cloud, "not found on the PATH", "gcloud init")

    def test_not_logged_in(self, cloud, run):
        (cloud.root / "account").write_text("")
        self.refused(run, cloud, "not logged in", "gcloud auth login")

    def test_no_project(self, cloud, run):
        (cloud.root / "project").write_text("(unset)")
        self.refused(run, cloud, "gcloud config set project")

    @pytest.mark.parametrize(
        "said, advice",
        [
            (
                "RESOURCE_EXHAUSTED: Quota limit 'TPUV5sLitepodPerProjectPerZone' has been exceeded.",
                "the quota is used up",
            ),
            ('RESOURCE_EXHAUSTED: There is no more capacity in the zone "us-west4-a"', "--queued"),
            ("PERMISSION_DENIED: Permission 'tpu.nodes.create' denied", "roles/tpu.admin"),
            (
                "PERMISSION_DENIED: Cloud TPU API has not been used in project p before (SERVICE_DISABLED)",
                "services enable",
            ),
            ("Reauthentication failed. Please run: $ gcloud auth login", "not logged in"),
        ],
    )
    def test_what_google_refuses(self, cloud, run, said, advice):
        cloud.refuse(("tpu-vm create", said))
        self.refused(run, cloud, said, advice)

    def test_name_taken(self, cloud, run):
        run(*START, "--type", "v5e-8")
        _, err = run(*START, "--type", "v5e-8", code=2)
        assert "launched before" in err and "resume mine" in err and cloud.nodes() == {"mine-trainer"}
        assert len(cloud.commands("tpu-vm create")) == 1

    def test_name_taken_by_somebody_else(self, cloud, run):
        cloud.write("nodes/mine-trainer.json", {"state": "READY", "networkEndpoints": []})
        _, err = run(*START, "--type", "v5e-8", code=2)
        assert "--on-existing mine-trainer" in err and cloud.nodes() == {"mine-trainer"}

    def test_a_zone_without_the_type(self, cloud, run):
        self.refused(run, cloud, "us-west4-a has none; it has v4-16, v5lite", options=("--type", "v6e-8"))

    def test_no_such_type(self, cloud, run):
        self.refused(run, cloud, "such as v5", "accelerator-types list", options=("--type", "v5x-8"))

    def test_no_such_bucket(self, cloud, run):
        shutil.rmtree(cloud.root / "buckets/b")
        self.refused(run, cloud, "gcloud storage buckets create gs://b --location=us-west4")

    def test_a_bucket_elsewhere_is_warned_of(self, cloud, run):
        cloud.object(".location").write_text("EUROPE-WEST4")
        _, err = run(*START, "--type", "v5e-8")
        assert "europe-west4" in err and "costs money" in err and cloud.nodes()

    def test_an_uncommitted_tree(self, cloud, run, tree):
        (tree / "experiments/small.py").write_text(SMALL.replace("Config()", "Config(seed=1)"))
        (tree / "new.py").write_text("")
        self.refused(run, cloud, "uncommitted", "experiments/small.py", "new.py", "git commit", "--allow-dirty")
        run(*START, "--type", "v5e-8", "--allow-dirty")
        sent = cloud.root / "homes/mine-trainer/0/realm/mine-trainer/source"
        assert "seed=1" in (sent / "experiments/small.py").read_text() and (sent / "new.py").exists()
        assert list(cloud.object("mine/launch").glob("*-dirty.tar.gz"))

    def test_a_link_is_sent_as_it_is(self, cloud, run, tree):
        """As that by which the package finds the experiments that are shipped with it."""
        (tree / "linked").symlink_to("experiments")
        run(*START, "--type", "v5e-8", "--allow-dirty")
        sent = cloud.root / "homes/mine-trainer/0/realm/mine-trainer/source"
        assert (sent / "linked").is_symlink() and (sent / "linked/small.py").exists()

    @pytest.mark.parametrize(
        "options, words",
        [
            (("--name", "Mine"), "lower-case"),
            (("--name", "größe"), "lower-case"),
            (("--zone", "us-west4"), "must be such as us-west4-a"),
            (("--bucket", "b"), "gs://BUCKET"),
            (("--max-hours", "0"), "--max-hours 0"),
            (("--on-existing", "x"), "give one of the two"),
            (("--", "--workdir", "x"), "the launcher sets it"),
        ],
    )
    def test_options_that_make_no_sense(self, cloud, run, options, words):
        self.refused(run, cloud, words, options=("--type", "v5e-8", *options))

    def test_an_experiment_that_is_not_sent(self, cloud, run, tmp_path):
        (tmp_path / "x.py").write_text(SMALL)
        for path, words in ((tmp_path / "x.py", "copy it"), (tmp_path / "y.py", "no such experiment")):
            _, err = run(str(path), *START[1:], "--type", "v5e-8", code=2)
            assert words in err

    def test_a_worker_that_cannot_be_set_up_takes_all_slices_with_it(self, cloud, run):
        """The builder's slice is the second one: the trainer's job was started already."""
        cloud.refuse(("ssh mine-builder", "disk is full"))
        words = ("disk is full", "mine-trainer: deleted again", "mine-builder: deleted again")
        self.refused(run, cloud, *words, options=("--type", "v5e-16", "--builder-type", "v5e-8"))

    def test_a_slice_that_cannot_be_deleted_is_named(self, cloud, run):
        cloud.refuse(("tpu-vm ssh", "no key"), ("tpu-vm delete", "no way"))
        _, err = run(*START, "--type", "v5e-8", code=2)
        assert "mine-trainer: COULD NOT BE DELETED" in err
        assert "run `gcloud compute tpus tpu-vm delete mine-trainer --zone=us-west4-a --quiet" in err

    @pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
    def test_a_launcher_that_is_ended_in_the_queue_leaves_nothing(self, cloud, project, number):
        """No worker runs yet that would delete the slice."""
        cloud.write("queue_states.json", ["WAITING_FOR_RESOURCES"])
        words = ["experiments/factbook.py", *START[1:], "--type", "v5e-8", "--queued"]
        # Else the launcher leaves alone what nohup ignores, if that is how the tests were started.
        heard = ["env", f"--default-signal={number.name.removeprefix('SIG')}"]
        launcher = subprocess.Popen([*heard, sys.executable, "-m", "tpu.launch", *words], cwd=project)
        try:
            wait_until(lambda: cloud.commands("queued-resources describe"))
            launcher.send_signal(number)
            assert launcher.wait(60) == 130 and not cloud.nodes()
        finally:
            launcher.kill()

    def test_a_request_that_fails_in_the_queue(self, cloud, run):
        cloud.write("queue_states.json", ["WAITING_FOR_RESOURCES", "FAILED"])
        self.refused(
            run,
            cloud,
            "FAILED before it was ready",
            "queued-resources describe",
            options=("--type", "v5e-8", "--queued"),
        )


class TestInputs:
    """An experiment that reads files is launched where the slices will have them."""

    OPTIONS = ("--type", "v5e-8", "--allow-dirty", "--dry-run")
    OWN = ("--on-existing", "mine", "--allow-dirty", "--dry-run")

    @pytest.fixture(autouse=True)
    def files(self, tree, cloud):
        for name in ("dumps/enwiki/a.bz2", "questions/train.jsonl"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).touch()
        (tree / ".gitignore").write_text("runs/\n")
        (tree / "runs").mkdir()
        (tree / "runs/dev.jsonl").touch()

    @pytest.mark.parametrize(
        "options",
        [
            ("--data.path", "dumps/enwiki", "--seed", "1"),
            ("--data.path=./dumps/enwiki/",),
            ("--data.path", "excerpt", "--model.weights", "random"),
            ("--questions.train", "questions/train.jsonl", "dumps/enwiki:train"),
        ],
    )
    def test_what_is_sent(self, run, options):
        run(*START, *self.OPTIONS, "--", *options)

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (("--data.path", "dumps/simplewiki"), "data.path: 'dumps/simplewiki'"),
            (("--model.weights=/weights/bert",), "model.weights: '/weights/bert'"),
            (("--data.text-path", "gs://b/text"), "data.text_path: 'gs://b/text'"),
            (("--questions.train", "questions/train.jsonl", "no:train", "--seed", "1"), "questions.train: 'no:train'"),
            (("--questions.dev", "runs/dev.jsonl"), "questions.dev: 'runs/dev.jsonl'"),  # git ignores it
        ],
    )
    def test_what_is_not_is_refused_before_anything_is_asked_of_google(self, cloud, run, options, named):
        _, err = run(*START, *self.OPTIONS[:3], "--", *options, code=2)
        assert f"{named} is not in the source" in err and "--on-existing" in err and not cloud.commands()

    def test_what_the_experiment_and_its_neighbours_name(self, tree, run):
        (tree / "experiments/base.py").write_text(SMALL.replace("Config()", "Config(model=Model(weights='w/bert'))"))
        (tree / "experiments/small.py").write_text("import base\nget_config = base.get_config\n")
        _, err = run(*START, *self.OPTIONS, code=2)
        assert "model.weights: 'w/bert' is not in the source" in err
        run(*START, *self.OPTIONS, "--", "--model.weights", "minilm")

    def test_a_tpu_of_ones_own_may_have_files(self, run):
        run(*START, *self.OWN, "--", "--data.path", "/data/enwiki")
        _, err = run(*START, *self.OWN, "--", "--data.path", "data/enwiki", code=2)
        assert "data.path: 'data/enwiki' is not in the source" in err
        _, err = run(*START, *self.OWN, "--builder-type", "v5e-8", "--", "--data.path", "/data/enwiki", code=2)
        assert "data.path: '/data/enwiki' is not in the source" in err  # the builder's slice is not one's own

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("def get_sweep(): ...\n", "small.py: no function get_config(), but get_sweep()"),
            ("def get_config(): ...\n", "get_config() gave a NoneType; it must return realm_jax.config.Config"),
            (SMALL.replace("Config()", "Config(seed=-1)"), "small.py:4: seed: -1 is out of range"),
            ("def get_config(:\n", "small.py:1: syntax error: "),
        ],
    )
    def test_an_experiment_that_does_not_run(self, cloud, tree, run, text, message):
        (tree / "experiments/small.py").write_text(text)
        _, err = run(*START, *self.OPTIONS[:3], code=2)
        assert message in err and not cloud.commands()

    def test_an_experiment_that_this_machine_cannot_load(self, tree, run):
        (tree / "experiments/small.py").write_text("import not_installed_here\n" + SMALL)
        _, err = run(*START, *self.OPTIONS, "--", "--data.path", "nowhere")
        assert "warning: experiments/small.py: whether its files are sent is not known (No module named" in err


def test_the_fake_is_strict(cloud):
    """Else it would prove nothing."""
    for words in (
        "compute tpus tpu-vm create x --zone=z --version=v2-alpha-tpuv5 --accelerator=v4-16",
        "compute tpus tpu-vm create x --zone=z --accelerator-type=v4-16",
        "compute tpus tpu-vm delete x --zone=z --force",
        "compute tpus queued-resources create x --zone=z --node-id=x --accelerator-type=v4-16",
        "compute tpus queue create x",
        "compute tpus tpu-vm delete x --zone=z --quiet=yes",
    ):
        assert subprocess.run(["gcloud", *words.split()], capture_output=True).returncode == 2, words


@pytest.mark.parametrize(
    ("options", "inline"),
    [
        (["--index.refresh_every", "30"], True),  # the ablation `stale_index`
        (["--index.refresh", "beside"], False),
        (["--index.refresh=beside"], False),
        (["--index.mesh.platform", "cpu"], False),
    ],
)
def test_a_trainer_alone_embeds_the_passages_unless_told_otherwise(options, inline):
    trainer = Slice("mine-trainer", "mine-trainer", "v5litepod-8", "us-west4-a")
    one = Launch("mine", "gs://b/mine", "c", "experiments/small.py", options, 24.0, 0, [trainer])
    assert one.arguments(trainer) == ["run", one.config, *(["--index.refresh", "inline"] if inline else []), *options]


def test_the_launcher_needs_the_standard_library_alone(project):
    words = ["experiments/factbook_no_pretraining.py", *START[1:], "--type", "v5e-8", "--dry-run"]
    code = (
        f"import sys; import tpu.launch, tpu.types; assert tpu.launch.main({words}) == 0; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    environment = {"PYTHONPATH": "", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert set(loaded) <= {*sys.stdlib_module_names, "__main__", "tpu", "realm_jax"}
    assert "warning" not in done.stderr  # the experiment was loaded, and its neighbour


def test_an_option_of_the_experiment_before_the_dashes_is_told_where_to_go(capsys):
    assert launch.main([*START, "--type", "v5e-8", "--seed", "1"]) == 2
    assert "--seed 1: no option of the launcher; those of the experiment go after `--`" in capsys.readouterr().err
