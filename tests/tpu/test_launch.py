"""The life of a launch, in a cloud of local folders."""

import json
import os
import re
import subprocess
import sys
import threading
import time

import pytest

from tests.tpu.cloud import START
from tests.waiting import until
from tpu import launch
from tpu.record import Launch
from tpu.slices import Slice


class TestLife:
    def test_of_a_slice_of_several_workers(self, cloud, run, tree):
        out, _ = run(*START, "--type", "v5e-16", "--", "--seed", "1")
        for words in ("logs mine --follow", "stop mine", "delete mine", "workdir gs://mine-b/mine", "in any case at"):
            assert words in out
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
        ).stdout.strip()
        assert cloud.object(f"mine/launch/{commit}.tar.gz").exists()
        until(lambda: all(cloud.ran("mine-trainer", i) for i in range(4)))
        for i in range(4):
            (line,) = cloud.ran("mine-trainer", i)
            assert line == (
                "-m realm_jax run experiments/small.py --index.refresh inline --seed 1 --workdir gs://mine-b/mine "
                f"--coordinator 127.0.0.1:8476 --process_count 4 --process_id {i}"
            )
            assert (cloud.root / f"homes/mine-trainer/{i}/realm/mine-trainer/source/experiments/small.py").exists()
        out, _ = run("status", "mine")
        assert "READY" in out and commit in out

        cloud.finish(0)  # the job ends; the slice deletes itself, and what it said stays
        until(lambda: not cloud.nodes())
        assert "exit code 0" in next(cloud.object("mine/logs").glob("mine-trainer-0-*.log")).read_text()
        out, _ = run("status", "mine")
        assert "ended with exit code 0" in out
        _, err = run("logs", "mine", code=2)
        assert "gcloud storage cat 'gs://mine-b/mine/logs/mine-trainer-*'" in err
        out, _ = run("delete", "mine")
        assert "gcloud storage rm --recursive gs://mine-b/mine" in out
        run("status", "mine", code=2)

    def test_trainer_and_builder_in_the_queue(self, cloud, run):
        out, _ = run(*START, "--type", "v5litepod-8", "--builder-type", "v4-16", "--queued")
        assert re.findall(r"mine-trainer: ([A-Z_]+)", out) == ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
        until(lambda: cloud.ran("mine-trainer") and cloud.ran("mine-builder", 1))
        assert cloud.ran("mine-trainer") == [
            "-m realm_jax run experiments/small.py --builder elsewhere --workdir gs://mine-b/mine"
        ]
        assert "--builder only --workdir gs://mine-b/mine --coordinator" in cloud.ran("mine-builder", 1)[0]
        (asked,) = cloud.commands("queued-resources create mine-trainer")
        assert "--valid-until-duration=86400s" in asked and "--node-id=mine-trainer" in asked
        run("ssh", "mine", "--builder", "--worker", "1", "--", "touch", "a b")  # words stay as they were given
        assert (cloud.root / "homes/mine-builder/1/a b").exists()
        run("delete", "mine")
        assert not cloud.nodes()
        assert cloud.commands("queued-resources delete mine-builder --zone=us-west4-a --force")

    def test_stop_and_resume(self, cloud, run):
        run(*START, "--type", "v5e-8")
        until(lambda: cloud.ran("mine-trainer"))
        _, err = run("resume", "mine", code=2)
        assert "its job is running" in err and "stop mine" in err
        assert cloud.nodes() == {"mine-trainer"}  # it was there before, so it stays
        out, _ = run("stop", "mine")
        assert "ended with exit code 143" in out and "delete mine" in out and "cost" in out
        assert cloud.nodes() == {"mine-trainer"}
        run("resume", "mine", "--max-hours", "2")
        until(lambda: len(cloud.ran("mine-trainer")) == 2)
        cloud.finish(0)
        until(lambda: not cloud.nodes())

    def test_resume_makes_a_slice_that_is_gone_again(self, cloud, run):
        run(*START, "--type", "v5e-8")
        cloud.preempt("mine-trainer")
        run("resume", "mine")
        until(lambda: len(cloud.ran("mine-trainer")) == 1)
        assert len(cloud.commands("tpu-vm create")) == 2

    def test_resume_beside_a_job_that_runs_changes_nothing(self, cloud, run):
        run(*START, "--type", "v5e-8", "--builder-type", "v5e-8")
        until(lambda: cloud.ran("mine-builder"))
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
            until(lambda: cloud.ran("mine-trainer") and cloud.ran("mine-builder"))
            before = cloud.ran(taken)
            cloud.preempt(taken)
            until(lambda: len(cloud.commands(f"tpu-vm create {taken}")) == 2 and cloud.ran(taken))
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
            until(lambda: cloud.ran("mine-trainer"))
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
            until(lambda: said.append(capsys.readouterr().out) or "exit code 2; the slice stays" in "".join(said))
        finally:
            run("delete", "mine")
            watcher.join(60)
        assert not watcher.is_alive()

    def test_a_failed_job_is_tried_again_unless_it_fails_at_once_by_mistake(self, cloud, run):
        cloud.finish(75)
        run(*START, "--type", "v5e-8")
        until(lambda: len(cloud.ran("mine-trainer")) >= 3)
        run("stop", "mine")
        until(lambda: list(cloud.object("mine/launch").glob("*.ended")))  # else `resume` ends what would write it
        cloud.finish(2)
        run("resume", "mine", "--max-hours", "3")
        until(lambda: len(list(cloud.object("mine/launch").glob("*.ended"))) == 2)
        count = len(cloud.ran("mine-trainer"))
        time.sleep(0.5)
        assert len(cloud.ran("mine-trainer")) == count and cloud.nodes() == {"mine-trainer"}

    def test_the_time_ends_job_and_slice(self, cloud, run):
        run(*START, "--type", "v5e-8", "--max-hours", "0.001")
        until(lambda: not cloud.nodes())

    def test_a_tpu_that_was_there_before_is_never_deleted(self, cloud, run):
        describe = {"state": "READY", "networkEndpoints": [{"ipAddress": "127.0.0.1"}]}
        cloud.write("nodes/other.json", describe)
        (cloud.root / "homes/other/0").mkdir(parents=True)
        run(*START, "--on-existing", "other")
        until(lambda: cloud.ran("other"))
        cloud.finish(0)
        until(lambda: list(cloud.object("mine/launch").glob("*.ended")))
        out, _ = run("delete", "mine")
        assert "not made by this launcher" in out and cloud.nodes() == {"other"}
        assert not cloud.commands("delete")

    def test_another_machine_looks_after_it(self, cloud, run, tmp_path, monkeypatch):
        run(*START, "--type", "v5e-8")
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
        _, err = run("status", "mine", code=2)
        assert "status mine --bucket gs://BUCKET" in err
        out, _ = run("status", "mine", "--bucket", "gs://mine-b")
        assert "READY" in out
        _, err = run("status", "mine", "--bucket", "b", code=2)
        assert "must be gs://BUCKET" in err
        _, err = run("status", "yours", "--bucket", "gs://mine-b", code=2)
        assert "no launch yours there" in err

    def test_what_another_machine_resumed_counts_on_this_one(self, cloud, run, tmp_path, monkeypatch):
        run(*START, "--type", "v5e-8")
        until(lambda: cloud.ran("mine-trainer"))
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
            run("stop", "mine", "--bucket", "gs://mine-b")
            run("resume", "mine", "--bucket", "gs://mine-b", "--max-hours", "48")
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
        assert "is gs://mine-b/mine, not gs://other/mine" in err and cloud.nodes() == {"mine-trainer"}
        run("delete", "mine", "--bucket", "gs://mine-b/")
        assert not cloud.nodes()

    def test_a_dry_run_prints_every_command_and_runs_none(self, cloud, run):
        out, _ = run(*START, "--type", "v5e-16", "--builder-type", "v5e-8", "--dry-run")
        assert not cloud.commands()
        planned = [line for line in out.splitlines() if line.startswith("gcloud ")]
        run(*START, "--type", "v5e-16", "--builder-type", "v5e-8")

        def changing(lines):
            return [line.split(" mine")[0] for line in lines if re.search(r" (create|ssh) ", line)]

        assert changing(planned) == changing([f"gcloud {line}" for line in cloud.commands()])


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
    one = Launch("mine", "gs://mine-b/mine", "c", "experiments/small.py", options, 24.0, 0, [trainer])
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
