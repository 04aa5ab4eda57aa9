"""Sweeps with real processes whose jobs are small scripts: nothing is made twice, whatever is killed or fails."""

import collections
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from realm_jax.config.experiment_file import load_sweep
from realm_jax.errors import UserError, last_words
from realm_jax.jobs.sweep import plan
from realm_jax.locks import sole_owner
from realm_jax.runtime import grid
from realm_jax.workdir import SweepDir, Workdir, read_json, write_json
from tests.runtime import fake_runs


def made(folder: Path, word: str = "end") -> collections.Counter:
    """How often each job was begun or ended in each folder."""
    lines = [line.split(maxsplit=2) for line in (folder / "made").read_text().splitlines()]
    return collections.Counter((job, where) for kind, job, where in lines if kind == word)


TRAINED = {"prepare": 1, "warm_up": 2, "pretrain": 6, "build_index": 6, "finetune": 8, "evaluate": 8, "report": 8}
"""How often each job is done in the small sweep: 4 variants, 2 seeds."""


def is_complete(folder: Path, seeds: int = 2) -> None:
    """Every stage was made once, and every run is finished."""
    ends = made(folder)
    assert set(ends.values()) == {1}
    expected = {job: count if job == "prepare" else count * seeds // 2 for job, count in TRAINED.items()}
    assert collections.Counter(job for job, _ in ends) == expected
    assert len(list(folder.glob("runs/*/*/report/index.html"))) == 4 * seeds


class TestGrid:
    def test_nothing_is_made_twice_and_nothing_again(self, experiment, tmp_path, capfd):
        folder = tmp_path / "sweep"
        assert fake_runs.sweep_of(experiment, folder, 3) == 0
        is_complete(folder)
        assert made(folder, "start") == made(folder)
        assert "8 done, 0 failed, 0 running, 0 left" in capfd.readouterr().err.splitlines()[-1]
        stage = Workdir(folder / "runs" / "realm" / "0").stage("pretrain")
        assert [path.name for path in stage.checkpoints.iterdir()] == ["4"]  # the result, without the optimiser's state
        assert [path.name for path in (stage.checkpoints / "4").iterdir()] == ["reader"]
        (folder / "made").unlink()
        before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*/**/*")}
        assert fake_runs.sweep_of(experiment, folder) == 0
        assert not (folder / "made").exists()
        assert before == {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/*/**/*")}

    def test_kill_and_resume(self, experiment, tmp_path):
        """The sweep is killed as by the kernel, twice; its runs end with it, and go on where they were."""
        folder = tmp_path / "sweep"
        for wanted in (5, 20):
            command = [sys.executable, fake_runs.__file__, "sweep", str(experiment), str(folder), "2"]
            root = str(Path(__file__).parents[2])
            process = subprocess.Popen(command, env={"PYTHONPATH": root}, stderr=subprocess.DEVNULL)
            while not (folder / "made").exists() or sum(made(folder).values()) < wanted:
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            locks = [folder / "runs" / v / str(s) for v in ("realm", "slow", "stale", "none") for s in (0, 1)]
            end = time.monotonic() + 10
            while any(grid.owner(lock, "run") for lock in locks):
                assert time.monotonic() < end
                time.sleep(0.02)
            assert len(list(folder.glob("runs/*/*/report/index.html"))) < 8
        assert fake_runs.sweep_of(experiment, folder, 2) == 0
        is_complete(folder)

    @pytest.mark.usefixtures("one_seed")
    def test_a_failed_run_lets_the_others_go_on(self, experiment, tmp_path, capfd, monkeypatch):
        monkeypatch.setattr(grid, "SHOWN_S", 0.0)
        folder = tmp_path / "sweep"
        folder.mkdir()
        (folder / "fails").write_text("finetune slow\n")
        assert fake_runs.sweep_of(experiment, folder) == 1
        assert len(list(folder.glob("runs/*/*/report/index.html"))) == 3
        workdir = Workdir(folder / "runs" / "slow" / "0")
        assert read_json(workdir.usage)["failed"] == "finetune"
        assert last_words(workdir.log) == "the reason why"
        said = capfd.readouterr().err
        assert f"slow, seed 0: failed, see {workdir.log}: the reason why" in said
        assert "3 done, 1 failed" in said.splitlines()[-1]
        assert re.search(r"^sweep: \w+, seed 0: \w+ 1/2$", said, re.MULTILINE)
        (folder / "fails").unlink()
        assert fake_runs.sweep_of(experiment, folder) == 0
        assert "failed" not in read_json(workdir.usage)
        is_complete(folder, seeds=1)

    @pytest.mark.usefixtures("one_seed")
    def test_a_run_that_cannot_begin_has_failed(self, experiment, tmp_path):
        folder = tmp_path / "sweep"
        folder.mkdir()
        (folder / "fails").write_text("begin realm\n")
        assert fake_runs.sweep_of(experiment, folder) == 1
        # Nothing is wrong with the data, which it would have prepared for all.
        assert len(list(folder.glob("runs/*/*/report/index.html"))) == 3
        assert read_json(folder / "runs" / "realm" / "0" / "run.json")["failed"] == "prepare"

    def test_runs_that_need_what_failed_fail_with_it(self, experiment, tmp_path):
        """It is tried once, not by each of them."""
        folder = tmp_path / "sweep"
        folder.mkdir()
        (folder / "fails").write_text("\n".join(f"warm_up {variant}" for variant in ("realm", "slow", "stale")))
        assert fake_runs.sweep_of(experiment, folder, 3) == 6
        assert collections.Counter(job for job, _ in made(folder, "start"))["warm_up"] == 2
        assert set(made(folder, "start").values()) == {1}
        assert len(list(folder.glob("runs/none/*/report/index.html"))) == 2
        for seed in ("0", "1"):
            failed = [Workdir(folder / "runs" / variant / seed) for variant in ("realm", "slow", "stale")]
            assert {read_json(workdir.usage)["failed"] for workdir in failed} == {"warm_up"}
            # Which of the three has done it for all depends on which was free first.
            said = sorted(last_words(workdir.log).partition(": ")[0] for workdir in failed)
            assert said == ["the reason why"] + 2 * ["warm_up failed in the run that does it for this one too"]

    def test_what_failed_before_is_not_taken_for_the_reason(self, experiment, tmp_path):
        """A run that could not begin failed at its next step, whatever it had failed at the time before."""
        folder = tmp_path / "sweep"
        folder.mkdir()
        (folder / "fails").write_text("finetune slow\n")
        assert fake_runs.sweep_of(experiment, folder, variants=("slow",)) == 2
        (folder / "fails").write_text("begin slow\n")
        write_json((usage := Workdir(folder / "runs" / "slow" / "0").usage), {"failed": "warm_up"})
        assert fake_runs.sweep_of(experiment, folder, variants=("slow",)) == 2
        assert read_json(usage)["failed"] == "finetune"

    @pytest.mark.usefixtures("one_seed")
    def test_a_job_that_is_always_run_keeps_its_name_when_it_fails(self, experiment, tmp_path, capfd):
        """`prepare` is done again where a file is named, complete or not."""
        experiment.write_text(
            experiment.read_text().replace(
                "    variants =", "    base = replace(base, data=Data(path=__file__))\n    variants ="
            )
        )
        folder = tmp_path / "sweep"
        assert fake_runs.sweep_of(experiment, folder, variants=("realm",)) == 0
        assert "sweep: 1 run | 0 done" in capfd.readouterr().err
        (folder / "fails").write_text("prepare slow\n")
        assert fake_runs.sweep_of(experiment, folder) == 1
        assert read_json(Workdir(folder / "runs" / "slow" / "0").usage)["failed"] == "prepare"

    def test_a_run_that_is_at_work_already_is_waited_for(self, experiment, tmp_path, capfd):
        """As those of a sweep that was killed, while they stop."""
        folder = tmp_path / "sweep"
        plan(load_sweep(experiment), SweepDir(folder))
        with ThreadPoolExecutor() as threads, sole_owner(folder / "runs" / "none" / "0", "run"):
            sweep = threads.submit(fake_runs.sweep_of, experiment, folder, 2, False, ("none",))
            while not (folder / "runs" / "none" / "1" / "report" / "index.html").exists():
                assert not sweep.done()
                time.sleep(0.02)
            time.sleep(0.2)
            assert not (folder / "runs" / "none" / "0" / "run.json").exists()
        assert sweep.result() == 0
        assert (
            f"waiting for another `realm run`, which is at work in {folder / 'runs/none/0'}" in capfd.readouterr().err
        )

    def test_figures_alone_stay(self, experiment, tmp_path):
        folder = tmp_path / "sweep"
        assert fake_runs.sweep_of(experiment, folder, 2, figures=True, variants=("realm",)) == 0
        assert len(list(folder.glob("runs/*/*/report/index.html"))) == 2  # the others, which are not asked for, ...
        assert len(list(folder.glob("stages/pretrain/*/checkpoints"))) == 2  # ... need these
        assert fake_runs.sweep_of(experiment, folder, 2, figures=True) == 0
        is_complete(folder)
        assert not list(folder.glob("stages/**/checkpoints")) and not list(folder.glob("stages/**/snapshots"))
        assert len(list(folder.glob("stages/pretrain/*/metrics.jsonl"))) == 6
        workdir = Workdir(folder / "runs" / "none" / "0")
        with pytest.raises(UserError, match=f"--keep figures` has .*; `realm run {workdir.root}` trains them again"):
            workdir.result("finetune")
        assert fake_runs.run(workdir.root) == 0 and workdir.result("finetune")[1] == 4

    @pytest.mark.usefixtures("one_seed")
    def test_figures_alone_stay_of_what_was_finished_before(self, experiment, tmp_path):
        folder = tmp_path / "sweep"
        assert fake_runs.sweep_of(experiment, folder, 2) == 0
        assert list(folder.glob("stages/**/checkpoints"))
        killed_here = next(folder.glob("stages/finetune/*")) / ".checkpoints.forgotten"
        (killed_here / "4").mkdir(parents=True)
        assert fake_runs.sweep_of(experiment, folder, 2, figures=True) == 0
        assert not list(folder.glob("stages/**/*checkpoints*")) and not list(folder.glob("stages/**/snapshots"))
        is_complete(folder, seeds=1)

    def test_settings_that_changed_are_refused_and_nothing_is_touched(self, experiment, tmp_path):
        folder = SweepDir(tmp_path / "sweep")
        plan(load_sweep(experiment), folder)
        before = {path: path.read_bytes() for path in folder.root.glob("runs/*/*/config.json")}
        experiment.write_text(experiment.read_text().replace("1e-5", "1e-6").replace("(0, 1)", "(0, 1, 2)"))
        experiment.write_text(experiment.read_text().replace("refresh_every=2", "refresh_every=3"))
        with pytest.raises(UserError) as refused:
            plan(load_sweep(experiment), folder)
        slow, stale = ([str(folder.run(name, seed).root) for seed in (0, 1)] for name in ("slow", "stale"))
        assert (
            f"begun with other settings: {slow[0]}, {slow[1]}\n"
            "  finetune.learning_rate: 1e-05 there, 1e-06 now\n"
            f"begun with other settings: {stale[0]}, {stale[1]}\n  index.refresh_every: 2 there, 3 now\nA run is"
        ) in str(refused.value)
        assert before == {path: path.read_bytes() for path in folder.root.glob("runs/*/*/config.json")}


def test_the_last_words_of_an_error_are_all_of_it(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "run: prepare\nprepare: 8 passages\nrealm: error: 2 faulty lines:\n  a.jsonl:1: no answer\nMend them.\n\n"
        "run: prepare failed with exit code 2; see above.\n"
    )
    assert last_words(log) == "realm: error: 2 faulty lines: a.jsonl:1: no answer Mend them."
    with open(log, "a") as file:  # the other of two jobs is then stopped
        file.write("realm: error: no space\nrun: pretrain failed; see above.\nbuild_index | realm: stopped by Ctrl-C\n")
    assert last_words(log) == "realm: error: no space"
    with open(log, "a") as file:
        file.write("run: prepare\nprepare: 8 passages\nprepare: done\n")
    assert last_words(log) == "prepare: done"
    assert last_words(tmp_path / "none") == ""
