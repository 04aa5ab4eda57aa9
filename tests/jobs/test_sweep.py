"""Sweeps with real processes whose jobs are small scripts: nothing is made twice, whatever is killed or fails."""

import collections
import dataclasses
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from realm_jax import config as schema
from realm_jax.config import Config, Data, Finetune, Index, Mesh, Model, Pretrain, Sweep, WarmUp
from realm_jax.errors import UserError, last_words
from realm_jax.evaluation import costs
from realm_jax.jobs import cli, grid, sharing, slurm
from realm_jax.jobs.experiment import load_experiment, load_sweep
from realm_jax.jobs.launches import FLAGS, LONGEST_NAME, VALUES, launches, option_words
from realm_jax.jobs.sweep import plan
from realm_jax.workdir import SweepDir, Workdir, read_json, sole_owner, write_json, write_text
from tests.jobs import fake_runs
from tpu import launch as launcher

BASE = Config(
    index=Index(refresh="inline"),
    warm_up=WarmUp(steps=2),
    pretrain=Pretrain(steps=4, checkpoint_every=2),
    finetune=Finetune(steps=4),
)
EXPERIMENT = """
from dataclasses import replace
from realm_jax.config import *

def get_sweep():
    base = Config(
        index=Index(refresh="inline"),
        warm_up=WarmUp(steps=2),
        pretrain=Pretrain(steps=4, checkpoint_every=2),
        finetune=Finetune(steps=4),
    )
    none = replace(base, warm_up=WarmUp(), pretrain=replace(base.pretrain, steps=0))
    variants = {
        "realm": base,
        "slow": replace(base, finetune=replace(base.finetune, learning_rate=1e-5)),
        "stale": replace(base, index=replace(base.index, refresh_every=2)),
        "none": none,
    }
    return Sweep(variants, SEEDS, "realm")
"""


def change(config: Config = BASE, **parts) -> Config:
    return dataclasses.replace(
        config, **{name: dataclasses.replace(getattr(config, name), **values) for name, values in parts.items()}
    )


def keys(config: Config) -> dict[str, str]:
    return {stage: sharing.key(made) for stage, made in sharing.made_from(config).items()}


def shared(one: Config, other: Config) -> set[str]:
    """Stages that two runs have in common."""
    ours, theirs = keys(one), keys(other)
    return {stage for stage in ours if ours[stage] == theirs.get(stage)}


class TestSettings:
    def test_a_run_is_named_by_its_variant_and_has_its_seed(self):
        sweep = Sweep({"a": BASE, "b": change(finetune={"steps": 5})}, (3, 4), "a")
        assert sweep.run("b", 4) == dataclasses.replace(change(finetune={"steps": 5}), name="b", seed=4)

    @pytest.mark.parametrize(
        "changed",
        [{}, {"name": "other"}, {"seed": 7}, {"mesh": Mesh(data=2)}, {"index": Index(refresh="inline", mesh=Mesh(1))}],
    )
    def test_equal_runs_are_refused(self, changed):
        with pytest.raises(UserError, match="'a' and 'b' are equal settings, so equal runs; take one out"):
            Sweep({"a": BASE, "b": dataclasses.replace(BASE, **changed)}, (0,), "a")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"seeds": (1, 2, 1)}, r"seeds: \(1, 2, 1\) must be"),
            ({"seeds": ()}, r"seeds: \(\) must be at least one"),
            ({"seeds": (-1,)}, r"seeds: \(-1,\) must be"),
            ({"reference": "c"}, "reference: 'c' is none of the variants a"),
            ({"variants": {"a/b": BASE}, "reference": "a/b"}, "'a/b' cannot name a folder"),
            ({"variants": {"..": BASE}, "reference": ".."}, "cannot name a folder"),
            ({"variants": {"-x": BASE}, "reference": "-x"}, r"'-x' .*; use letters, digits, _ and, inside, \. \+ -$"),
            ({"variants": {}}, "^variants: are none; they must be a dict of names to Config"),
        ],
    )
    def test_faults(self, changes, message):
        with pytest.raises(UserError, match=message):
            Sweep(**{"variants": {"a": BASE}, "seeds": (0,), "reference": "a", **changes})

    def test_a_field_that_is_not_there_is_named(self, tmp_path):
        path = tmp_path / "mine.py"
        path.write_text(EXPERIMENT.replace("SEEDS", "(0,)").replace("learning_rate=1e-5", "learning_rat=1e-5"))
        with pytest.raises(UserError, match=r"mine\.py:15: .*'learning_rat'"):
            load_sweep(path)

    def test_a_file_without_a_sweep(self, tmp_path):
        path = tmp_path / "mine.py"
        path.write_text("def get_config():\n  return 1\n")
        with pytest.raises(
            UserError, match=r"no function get_sweep\(\); define one that returns realm_jax.config.Sweep"
        ):
            load_sweep(path)


class TestKeys:
    """What runs share."""

    def test_a_run_has_the_stages_that_it_trains(self):
        assert list(keys(BASE)) == ["data", "warm_up", "pretrain", "finetune"]
        assert list(keys(Config())) == ["data", "pretrain"]

    @pytest.mark.parametrize(
        ("part", "values", "common"),
        [
            ("evaluation", {"read": 7}, {"data", "warm_up", "pretrain", "finetune"}),
            ("closed_book", {"steps": 7}, {"data", "warm_up", "pretrain", "finetune"}),
            ("finetune", {"steps": 7}, {"data", "warm_up", "pretrain"}),
            ("finetune", {"labels": "tokens"}, {"data", "warm_up"}),  # the probe of pre-training goes by them
            ("pretrain", {"learning_rate": 7.0}, {"data", "warm_up"}),
            ("index", {"kind": "exact"}, {"data", "warm_up"}),
            ("masking", {"kind": "tokens"}, {"data", "warm_up"}),  # which hides salient spans always
            ("masking", {"min_holders": 3}, {"data"}),
            ("warm_up", {"steps": 7}, {"data"}),
            ("ict", {"steps": 7}, {"data", "warm_up"}),
            ("model", {"vector_size": 7}, {"data"}),
            ("data", {"passage_length": 32}, set()),
            ("questions", {"match": "squad"}, {"data", "warm_up"}),  # dev questions are probed
            ("questions", {"train": ("a.jsonl",)}, set()),
            ("mesh", {"data": 2}, {"data", "warm_up", "pretrain", "finetune"}),
            ("warm_up", {"accumulate": 2}, {"data", "warm_up", "pretrain", "finetune"}),
            ("index", {"stop_after_s": 7.0, "keep": 7}, {"data", "warm_up", "pretrain", "finetune"}),
        ],
    )
    def test_variants_share_what_does_not_read_their_difference(self, part, values, common):
        assert shared(BASE, change(**{part: values})) == common

    def test_sets_of_questions_share_a_pretraining_that_does_not_probe_them(self):
        base = change(pretrain={"probe_queries": 0}, questions={"train": ("a.jsonl",)})
        other = change(base, questions={"train": ("b.jsonl",)}, finetune={"labels": "normalized"})
        assert shared(base, other) == {"data", "warm_up", "pretrain"}

    def test_without_pretraining_only_the_data_are_shared(self):
        assert shared(BASE, change(warm_up={"steps": 0}, pretrain={"steps": 0})) == {"data"}

    def test_seeds_share_the_data(self):
        assert shared(BASE, dataclasses.replace(BASE, seed=1)) == {"data"}

    def test_the_name_and_the_place_of_data_do_not_count(self):
        assert keys(dataclasses.replace(BASE, name="x")) == keys(BASE) == keys(change(data={"processes": 3}))
        assert keys(change(data={"directory": "there"})) == keys(BASE)

    def test_every_option_is_read_by_some_stage_or_known_not_to_be(self):
        """An option of a new part of the schema cannot be forgotten."""
        unread = {"name", "mesh", "evaluation", "tagger"}
        parts = {part.partition(".")[0] for reads in sharing.READS.values() for part in reads} | unread
        assert parts == {field.name for field in dataclasses.fields(Config)}

    def test_a_file_that_is_named_counts_by_size_and_time(self, tmp_path):
        weights = tmp_path / "weights"
        (weights / "deep").mkdir(parents=True)
        (weights / "deep" / "model").write_text("1")
        config = dataclasses.replace(BASE, model=Model(weights=str(weights)))
        before = keys(config)
        (weights / "deep" / "model").write_text("12")
        assert not set(before.values()) & set(keys(config).values())
        documents = tmp_path / "documents.jsonl"
        corpus = dataclasses.replace(BASE, data=Data(source="jsonl", path=str(documents)))
        before = keys(corpus)
        documents.write_text("{}")
        assert not set(before.values()) & set(keys(corpus).values())
        asked = change(corpus, questions={"train": (f"{documents}:train",)})
        assert sharing.made_from(asked)["finetune"]["files"]["questions.train"]


class TestLinks:
    def test_equal_stages_are_one_folder(self, tmp_path):
        sweep = SweepDir(tmp_path)
        one, two = sweep.run("a", 0), sweep.run("b", 0)
        for workdir, config in ((one, BASE), (two, change(finetune={"steps": 7}))):
            workdir.root.mkdir(parents=True)
            sharing.link(config, workdir, sweep)
            sharing.link(config, workdir, sweep)  # again
        for place in ("data", "jax_cache", "warm_up", "pretrain"):
            ours, theirs = one.root / place, two.root / place
            assert ours.is_symlink() and not Path(ours.readlink()).is_absolute()
            assert ours.samefile(theirs)
        assert not one.stage("finetune").root.samefile(two.stage("finetune").root)
        made = read_json(one.stage("finetune").root / "made_from.json")
        assert made["options"]["finetune.steps"] == 4
        assert made["stages"] == {"pretrain": one.stage("pretrain").root.resolve().name}
        moved = tmp_path.rename(tmp_path.with_name("moved"))
        assert (SweepDir(moved).run("a", 0).stage("pretrain").root / "made_from.json").exists()

    def test_what_was_measured_of_a_stage_goes_with_it(self, tmp_path):
        """A named file changed before the run was finished: the stages are made again, so they are measured again."""
        weights, sweep = tmp_path / "weights", SweepDir(tmp_path / "sweep")
        weights.write_text("1")
        config, workdir = dataclasses.replace(BASE, model=Model(weights=str(weights))), sweep.run("a", 0)
        workdir.root.mkdir(parents=True)
        sharing.link(config, workdir, sweep)
        results = workdir.evaluation / "results.json"
        write_json(results, {})
        sharing.link(config, workdir, sweep)
        before = workdir.stage("finetune").root.resolve()
        assert results.exists()
        weights.write_text("12")
        sharing.link(config, workdir, sweep)
        assert workdir.stage("finetune").root.resolve() != before and before.exists() and not results.exists()

    def test_data_elsewhere_stay_there(self, tmp_path):
        sweep = SweepDir(tmp_path)
        workdir = sweep.run("a", 0)
        workdir.root.mkdir(parents=True)
        sharing.link(change(data={"directory": str(tmp_path / "mine")}), workdir, sweep)
        assert not workdir.data("").root.is_symlink() and not (tmp_path / "stages" / "data").exists()


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "POLL_S", 0.02)
    path = tmp_path / "small.py"
    path.write_text(EXPERIMENT.replace("SEEDS", "(0, 1)"))
    return path


@pytest.fixture
def one_seed(experiment):
    """For what two seeds would only do twice."""
    experiment.write_text(EXPERIMENT.replace("SEEDS", "(0,)"))


def finish(workdir: Workdir) -> None:
    """Leaves what tells that a run is finished."""
    write_json(workdir.results, {})
    write_text(workdir.report / "index.html", "")


def made(folder: Path, word: str = "end") -> collections.Counter:
    """How often each job was begun or ended in each folder."""
    lines = [line.split(maxsplit=2) for line in (folder / "made").read_text().splitlines()]
    return collections.Counter((job, where) for kind, job, where in lines if kind == word)


SHARED = ("prepare", "warm_up", "pretrain", "build_index", "finetune")
TRAINED = {"prepare": 1, "warm_up": 2, "pretrain": 6, "build_index": 6, "finetune": 8, "evaluate": 8, "report": 8}
"""How often each job is done in the sweep above: 4 variants, 2 seeds."""


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
    with open(log, "a") as file:
        file.write("run: prepare\nprepare: 8 passages\nprepare: done\n")
    assert last_words(log) == "prepare: done"
    assert last_words(tmp_path / "none") == ""


class TestCosts:
    def test_a_shared_stage_counts_once(self, tmp_path):
        sweep, runs = SweepDir(tmp_path), []
        times = {
            "a": {"prepare": 9.0, "warm_up": 5.0, "pretrain": 30.0, "build_index": 32.0, "finetune": 7.0},
            "b": {"prepare": 1.0, "finetune": 11.0},  # `prepare` only looked whether all is there
        }
        for name, config in (("a", BASE), ("b", change(finetune={"steps": 7}))):
            workdir = sweep.run(name, 0)
            workdir.root.mkdir(parents=True)
            sharing.link(config, workdir, sweep)
            write_json(workdir.usage, {"stages": times[name]})
            runs.append((config, workdir))
        found = costs.seconds(runs)
        assert sum(map(sum, found.values())) == 9 + 1 + 5 + 32 + 7 + 11
        assert costs.of_run(runs[0], found) == {"prepare": 9, "warm_up": 5, "pretrain": 32, "finetune": 7}
        assert costs.of_run(runs[1], found) == {"prepare": 9, "warm_up": 5, "pretrain": 32, "finetune": 11}


class TestCommand:
    def test_prints_one_command_for_each_run(self, experiment, tmp_path, capsys):
        folder = tmp_path / "sweep"
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print", "--keep", "all"]) == 0
        lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
        assert len(lines) == 8
        assert lines[0][1:7] == ["-m", "realm_jax", "run", str(folder / "runs" / "realm" / "0"), "--keep", "all"]
        assert lines[0][7:] == [">>", str(folder / "runs" / "realm" / "0" / "log.txt"), "2>&1"]
        assert json.loads((folder / "sweep.json").read_text())["variants"] == ["realm", "slow", "stale", "none"]
        finish(Workdir(folder / "runs" / "realm" / "0"))
        assert cli.main(["sweep", str(folder), "--print"]) == 0  # from its folder, what is left of it
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 7 and err == "sweep: runs asked for: 8, finished already: 1, commands: 7\n"
        assert cli.main(["sweep", str(folder), "--print", "--variants", "realm", "--seeds", "0"]) == 0
        assert capsys.readouterr() == ("", "sweep: runs asked for: 1, finished already: 1, commands: 0\n")
        assert cli.main(["sweep", str(folder), "--print", "--variants", "slow", "realm", "--seeds", "0"]) == 0
        assert [Path(line.split()[4]).parts[-2:] for line in capsys.readouterr().out.splitlines()] == [("slow", "0")]
        assert json.loads((folder / "sweep.json").read_text())["seeds"] == [0, 1]  # it is still all of it
        experiment.write_text(experiment.read_text().replace("(0, 1)", "(1,)"))
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print"]) == 0
        assert "kept: none/0, realm/0, slow/0, stale/0\n" in capsys.readouterr().err

    def test_a_file_that_is_not_there_stops_the_runs_that_need_it(self, experiment, tmp_path, capsys):
        folder, documents = tmp_path / "sweep", tmp_path / "documents.jsonl"
        text = experiment.read_text()
        documents.touch()

        def sweep(name: str, *options: str) -> int:
            part = f'        "broken": replace(base, data=Data(source="jsonl", path={str(tmp_path / name)!r})),\n    }}'
            experiment.write_text(text.replace("    }", part))
            return cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print", *options])

        assert sweep("nothing.jsonl") == 2
        said = (
            f"variants name files that are not there:\n  broken: data.path: '{tmp_path}/nothing.jsonl' is not there\n"
        )
        assert said in capsys.readouterr().err and not folder.exists()
        assert sweep("nothing.jsonl", "--variants", "slow") == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
        assert sweep("nothing.jsonl", "--variants", "broken") == 2
        assert said in capsys.readouterr().err
        assert sweep(documents.name) == 0  # mended; the name that was mistyped is not held against it
        assert len(capsys.readouterr().out.splitlines()) == 10
        (folder / "runs" / "broken" / "0" / "run.json").write_text("{}")
        documents.rename(tmp_path / "moved.jsonl")
        assert sweep("moved.jsonl") == 2
        assert f"begun with other settings: {folder}/runs/broken/0\n  data.path: " in capsys.readouterr().err

    def test_commands_may_be_given_anywhere(self, experiment, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert cli.main(["sweep", str(experiment), "--sweep_dir", "here", "--print"]) == 0
        words = shlex.split(capsys.readouterr().out.splitlines()[0])
        assert Path(words[4]) == tmp_path / "here/runs/realm/0" and Path(words[-2]).is_absolute()

    def test_a_sweep_and_a_run_have_folders_of_their_own(self, experiment, tmp_path, capsys):
        """By default both would have runs/<name of the file>, and the report of one would replace the other's."""
        folder = SweepDir(tmp_path / "both")
        write_json(Workdir(folder.root).config, {})
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder.root), "--print"]) == 2
        assert f"--sweep_dir: {folder.root} is the workdir of a run; name another" in capsys.readouterr().err
        Workdir(folder.root).config.rename(folder.manifest)
        experiment.write_text("from realm_jax.config import Config as get_config")
        assert cli.main(["run", str(experiment), "--workdir", str(folder.root)]) == 2
        assert f"{folder.root}: is the folder of a sweep; --workdir must name another" in capsys.readouterr().err
        assert cli.main(["report", str(folder.root)]) == 2
        assert f"`realm report --sweep {folder.root}` writes its tables" in capsys.readouterr().err

    def test_a_running_sweep_is_left_alone(self, experiment, tmp_path, capsys):
        folder = tmp_path / "sweep"
        with sole_owner(folder, "sweep"):
            assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print"]) == 2
        assert "sweep is already running there" in capsys.readouterr().err
        assert not (folder / "sweep.json").exists() and not (folder / "runs").exists()

    def test_what_a_run_records_is_what_it_runs(self, experiment, tmp_path, capsys):
        folder = tmp_path / "sweep"
        cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print"])
        sweep = load_sweep(experiment)
        for variant in sweep.variants:
            for seed in sweep.seeds:
                recorded = read_json(SweepDir(folder).run(variant, seed).config)["config"]
                assert schema.from_dict(recorded) == sweep.run(variant, seed)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--jobs", "0"], "--jobs: 0 is out of range; it must be at least 1"),
            (["--cluster_options", "mem_gb=3"], "--cluster_options: goes with --cluster slurm or tpu"),
            (["--print", "--keep", "figures"], "--keep: figures is for runs on this machine"),
            (
                ["--print", "--cluster", "slurm"],
                "--print: does not go with --cluster slurm; leave out --print to submit",
            ),
            (
                ["--variants", "realm", "slw"],
                "--variants: slw not in this sweep (did you mean slow?); it has realm, slow, stale, none",
            ),
            (["--seeds", "0", "7"], "--seeds: 7 not in this sweep; it has 0, 1"),
        ],
    )
    def test_faults(self, experiment, tmp_path, capsys, options, message):
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(tmp_path / "sweep"), *options]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "sweep").exists()

    @pytest.mark.parametrize(
        ("right", "wrong", "message"),
        [
            ("(0, 1)", "3", "seeds: 3 must be whole numbers in brackets, such as (0, 1, 2)"),
            ("Sweep(variants", "Sweep([base, none]", "variants: are a list; they must be a dict of names to Config"),
        ],
    )
    def test_what_is_of_another_type(self, experiment, tmp_path, right, wrong, message):
        """In a process of its own: type checking, on in this one, words such errors in its own way."""
        experiment.write_text(experiment.read_text().replace(right, wrong))
        command = [sys.executable, "-m", "realm_jax", "sweep", str(experiment), "--sweep_dir", str(tmp_path / "sweep")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and message in done.stderr

    def test_a_folder_that_is_no_sweep(self, tmp_path, capsys):
        assert cli.main(["sweep", str(tmp_path)]) == 2
        assert "a folder without sweep.json is no sweep" in capsys.readouterr().err
        for job in (["report", "--sweep"], ["sweep"]):
            assert cli.main([*job, "gs://bucket/x"]) == 2
            assert "gs://bucket/x: a sweep, its file and its folder must be on a file system" in capsys.readouterr().err
        assert cli.main(["report", "--sweep", str(tmp_path / "nowhere")]) == 2
        assert f"{tmp_path}/nowhere: no such folder; name that of `realm sweep`" in capsys.readouterr().err

    def test_what_is_not_a_sweeps_is_left_alone(self, experiment, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "mine"
        command = ["sweep", str(experiment), "--print", "--sweep_dir"]

        def refused(name: str = "mine") -> str:
            before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
            assert cli.main([*command, name]) == 2
            assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
            return capsys.readouterr().err

        assert "--sweep_dir: small.py is a file; name another folder" in refused("small.py")
        assert "gs://bucket/x: a sweep, its file" in refused("gs://bucket/x")
        folder.mkdir()
        for name in ("notes.md", "runs", ".git"):
            (folder / name).touch()
            assert f"--sweep_dir: mine is no sweep's and holds {name}; name another folder" in refused()
            (folder / name).unlink()
        for name in (".sweep.lock", ".sweep.json.host.1.tmp"):  # of one that was stopped early
            (folder / name).touch()
        (folder / "stages").mkdir()
        assert cli.main([*command, "mine"]) == 0
        capsys.readouterr()
        manifest = folder / "sweep.json"
        written = json.loads(manifest.read_text())
        foreign = [{}, [], 3, written | {"seeds": 0}, written | {"variants": [0]}, written | {"reference": "other"}]
        for text in ("", '{"seeds": [0', "\udcff", *map(json.dumps, foreign)):
            manifest.write_text(text, errors="surrogateescape")
            assert "mine/sweep.json: not the file of a sweep, with its reference, variants and seeds" in refused()
            for job in (["report", "--sweep"], ["sweep"]):
                assert cli.main([*job, "mine"]) == 2
                assert "mine/sweep.json: not the file of a sweep" in capsys.readouterr().err
        manifest.unlink()
        assert cli.main([*command, "mine"]) == 0

    def test_slurm_without_submitit(self, experiment, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "submitit", None)
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(tmp_path / "s"), "--cluster", "slurm"]) == 2
        assert "run `pip install 'realm_jax[slurm]'`" in capsys.readouterr().err


def without_seed(options: list[str], default: int, seed: int) -> list[str]:
    """The options but for `--seed`, which must be this one."""
    at = options.index("--seed") if "--seed" in options else len(options)
    assert (options[at + 1 : at + 2] or [str(default)]) == [str(seed)]
    return options[:at] + options[at + 2 :]


class TestLaunches:
    """On Cloud TPU VMs."""

    OPTIONS = ("type=v5e-1", "zone=us-west4-a", "bucket=gs://b")

    def printed(self, capsys, source: Path, *options: str, more: tuple[str, ...] = ()) -> list[list[str]]:
        command = ["sweep", str(source), "--cluster", "tpu", *more, "--cluster_options", *self.OPTIONS, *options]
        assert cli.main(command) == 0
        return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]

    def refused(self, capsys, source: Path, *options: str) -> str:
        assert cli.main(["sweep", str(source), "--cluster", "tpu", "--cluster_options", *options]) == 2
        out, err = capsys.readouterr()
        assert not out
        return err

    def test_give_each_variant_as_options(self, experiment, capsys):
        experiment.write_text(experiment.read_text() + "def get_config():\n    return get_sweep().variants['realm']\n")
        lines = self.printed(capsys, experiment)
        fixed = ["--type", "v5e-1", "--zone", "us-west4-a", "--bucket", "gs://b", "--"]
        assert all(line[:5] == ["python", "-m", "tpu.launch", str(experiment), "--name"] for line in lines)
        assert all(line[6:13] == fixed for line in lines)
        assert lines[1][5] == f"{experiment.stem}-slow-0" and len({line[5] for line in lines}) == len(lines) == 8
        assert lines[5][13:] == ["--name", "slow", "--seed", "1", "--finetune.learning_rate", "1e-05"]
        lines = self.printed(capsys, experiment, more=("--variants", "slow", "--sweep_dir", "runs/other"))
        assert [line[5] for line in lines] == ["other-slow-0", "other-slow-1"]

    @pytest.mark.parametrize(
        ("name", "base"),
        [
            ("factbook_sweep", "factbook"),
            ("factbook_gain_sweep", "factbook"),
            ("factbook_unfiltered_sweep", "factbook"),
            ("wikipedia_sweep", "wikipedia"),
            ("wikipedia_small_sweep", "wikipedia_small"),
        ],
    )
    def test_every_sweep_that_is_shipped_can_be_launched(self, name, base, tmp_path):
        """The launcher takes each command, and its options make the variant of the base."""
        folder = Path(__file__).parents[2] / "experiments"
        sweep, start = load_sweep(folder / f"{name}.py"), load_experiment(folder / f"{base}.py")
        given = dict(option.split("=") for option in self.OPTIONS) | {"config": str(folder / f"{base}.py")}
        commands = launches(sweep, name, folder / f"{name}.py", given)
        names, fixed = set(), {}
        for (variant, seed), command in commands.items():
            words = shlex.split(command)
            cut = words.index("--")
            arguments, options = words[3:cut], words[cut + 1 :]
            assert arguments[1] == "--name" and re.fullmatch("[a-z][a-z0-9-]{0,39}", arguments[2])
            names.add(arguments[2])
            rest = arguments[:1] + arguments[3:] + without_seed(options, start.seed, seed)
            assert fixed.setdefault(variant, rest) == rest
            if seed == sweep.seeds[-1]:  # the commands of the others are the same: parsing takes long
                assert launcher._parser().parse_args(["start", *arguments]).name == arguments[2]
                assert cli._parse("run", cli.load_job("run"), options, start, tmp_path)[0] == sweep.run(variant, seed)
        assert len(names) == len(sweep.variants) * len(sweep.seeds)

    def test_from_the_folder_of_a_sweep(self, experiment, tmp_path, capsys):
        base = tmp_path / "base.py"
        base.write_text("from realm_jax.config import Config\n\ndef get_config():\n    return Config()\n")
        folder = tmp_path / "Sweep"
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print"]) == 0
        capsys.readouterr()
        finish(SweepDir(folder).run("slow", 0))
        lines = self.printed(capsys, folder, f"config={base}")
        assert lines[0][3:6] == [str(base), "--name", "sweep-realm-0"]
        assert len(lines) == 7 and "sweep-slow-0" not in {line[5] for line in lines}
        assert "config is missing" in self.refused(capsys, folder, *self.OPTIONS)

    def test_flags(self, experiment, tmp_path, capsys):
        experiment.write_text(experiment.read_text() + "def get_config():\n    return get_sweep().variants['realm']\n")
        (line, *_) = self.printed(capsys, experiment, "spot=true", "queued=false", "allow_dirty=true", "max_hours=3")
        assert line[12:17] == ["--spot", "--allow-dirty", "--max-hours", "3", "--"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("zone=us-west4-a",), "tpu.launch also needs type or on-existing, bucket; such as type=v5e-8"),
            (("type=v5e-8", "bucket=gs://b", "zone="), "tpu.launch also needs zone; such as"),
            (("type=v5e-8", "zone=z", "bucket=mine"), "--cluster_options: bucket=mine must be bucket=gs://BUCKET"),
            ((*OPTIONS, "spot=1"), "--cluster_options: spot=1 must be spot=true or spot=false"),
            ((*OPTIONS, "spot"), "'spot' is not NAME=VALUE, such as timeout_min=600 or spot=true"),
            ((*OPTIONS, "name=mine"), "a launch of a sweep has no option name; there are config, type, "),
            (OPTIONS, "config is missing (EXPERIMENT: no function get_config(), but get_sweep()"),
            ((*OPTIONS, "config=nowhere.py"), "nowhere.py: no such experiment file"),
        ],
    )
    def test_faults(self, experiment, capsys, options, message):
        assert message.replace("EXPERIMENT", str(experiment)) in self.refused(capsys, experiment, *options)

    def test_options_are_the_launchers(self):
        start = next(iter(launcher._parser()._subparsers._group_actions)).choices["start"]
        known = {option.removeprefix("--") for option in start._option_string_actions if option.startswith("--")}
        assert known == {*VALUES, *FLAGS, "name", "help"}

    def test_names_differ_where_the_launchers_letters_do_not(self, tmp_path):
        variants = {name: change(finetune={"steps": 5 + i}) for i, name in enumerate(("a_b", "a.b", "Ö", "x" * 50))}
        found = launches(Sweep(variants, (0, 1), "a_b"), "7", *self.of_base(tmp_path))
        names = [shlex.split(command)[5] for command in found.values()]
        assert len(set(names)) == 8 and all(re.fullmatch("[a-z][a-z0-9-]*", name) for name in names)
        assert max(map(len, names)) <= LONGEST_NAME and names[2] == "sweep-7-0"
        again = launches(Sweep(variants, (1, 0), "a_b"), "7", *self.of_base(tmp_path))
        assert again == found  # the same names whatever else is asked for

    def of_base(self, folder: Path) -> tuple[Path, dict[str, str]]:
        base = folder / "base.py"
        base.write_text("from realm_jax.config import Config\n\ndef get_config():\n    return Config()\n")
        return base, dict(option.split("=") for option in self.OPTIONS)

    def test_options_make_one_experiment_of_another(self, tmp_path):
        other = change(
            data={"holders": False, "taggers": ("dates", "links")},
            masking={"types": ("name",), "subject": False},
            pretrain={"learning_rate": 1e-7, "probe_queries": 0},
            warm_up={"steps": 0},
            finetune={"bias_correction": True},
        )
        for base, config in ((BASE, other), (other, BASE)):
            words = option_words(base, config)
            assert cli._parse("run", cli.load_job("run"), words, base, tmp_path)[0] == config


class TestSlurm:
    @pytest.fixture(autouse=True)
    def slurm(self, tmp_path, monkeypatch):
        """Commands that take jobs as SLURM's do, 101 the first; a job whose number stands in `refused` is refused."""
        pytest.importorskip("submitit")
        self.folder, self.submitted = tmp_path / "s", tmp_path / "submitted"
        self.queue, self.refused = tmp_path / "queue", tmp_path / "refused"
        for file in (self.submitted, self.queue, self.refused):
            file.touch()
        self.executable(
            tmp_path / "bin" / "sbatch",
            f"""
            job=$((101 + $(grep -c ^#!/bin/bash {self.submitted})))
            if grep -q $job {self.refused}; then
                echo "sbatch: error: invalid partition specified: shrt" >&2
                exit 1
            fi
            cat "$1" >> {self.submitted}
            echo $job >> {self.queue}
            echo Submitted batch job $job
            """,
        )
        self.executable(tmp_path / "bin" / "srun", "")
        self.squeue = self.executable(tmp_path / "bin" / "squeue", f"cat {self.queue}")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")

    def executable(self, path: Path, text: str) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def submit(self, experiment, *options: str) -> int:
        return cli.main(["sweep", str(experiment), "--sweep_dir", str(self.folder), "--cluster", "slurm", *options])

    def jobs(self) -> int:
        return self.submitted.read_text().count("#!/bin/bash")

    def test_each_run_is_a_job(self, experiment, capsys):
        assert self.submit(experiment, "--cluster_options", "timeout_min=600", "slurm_partition=short") == 0
        submitted = self.submitted.read_text()
        assert submitted.count("#SBATCH --partition=short") == submitted.count("#SBATCH --time=600") == 8
        assert capsys.readouterr().out.startswith("realm, seed 0: job 101, log in ")
        from submitit.core.utils import DelayedSubmission

        pickled = DelayedSubmission.load(self.folder / "slurm" / "101_submitted.pkl")
        assert str(self.folder / "runs" / "realm" / "0") in pickled.function.command[-1]

    def test_a_refusal_keeps_what_was_submitted_and_the_same_command_submits_the_rest(self, experiment, capsys):
        self.refused.write_text("104\n")
        assert self.submit(experiment) == 2
        out, err = capsys.readouterr()
        assert [line.partition(",")[0] for line in out.splitlines()] == ["realm", "slow", "stale"]
        assert "--cluster slurm: no job for none, seed 0: sbatch: error: invalid partition specified: shrt" in err
        assert "\n3 submitted before it stay. Mend " in err and "Traceback" not in err
        self.refused.write_text("")
        assert self.submit(experiment) == 0
        out = capsys.readouterr().out
        assert self.jobs() == 8 and out.count(": left out, job 10") == 3 and "none, seed 0: job 104" in out

    def test_what_waits_or_runs_is_not_submitted_again(self, experiment, capsys):
        self.submit(experiment)
        self.queue.write_text("101\n1020\n")  # 102 to 108 have ended; 1020 is somebody else's
        running = SweepDir(self.folder).run("none", 1).root
        with sole_owner(running, "run"):
            capsys.readouterr()
            assert self.submit(experiment) == 0
        out = capsys.readouterr().out
        record = self.folder / "runs" / "realm" / "0" / "slurm_job.json"
        assert f"realm, seed 0: left out, job 101 waits or runs; if it does not, delete {record}\n" in out
        assert f"none, seed 1: left out, it is running, log in {running / 'log.txt'}\n" in out
        assert self.jobs() == 14 and read_json(self.folder / "runs" / "slow" / "0" / "slurm_job.json") == {"job": "109"}

    @pytest.mark.parametrize(
        ("squeue", "why"),
        [
            ("echo slurm_load_jobs error: down >&2; exit 1", "slurm_load_jobs error: down"),
            ("exec sleep 60", "timed out"),
            (None, "No such file"),
        ],
    )
    def test_a_queue_that_does_not_tell(self, experiment, capsys, monkeypatch, squeue, why):
        monkeypatch.setattr(slurm, "SQUEUE_S", 1.0)
        self.submit(experiment, "--seeds", "0")
        if squeue:
            self.executable(self.squeue, squeue)
        else:
            self.squeue.unlink()
        (self.folder / "runs" / "slow" / "0" / "slurm_job.json").unlink()
        assert self.submit(experiment, "--seeds", "0") == 0
        out, err = capsys.readouterr()
        assert "squeue does not tell which jobs wait or run (" in err and why in err
        assert self.jobs() == 5 and out.count("left out") == 3 and "slow, seed 0: job 105" in out

    def test_no_sbatch(self, experiment, capsys, tmp_path):
        (tmp_path / "bin" / "sbatch").unlink()
        assert self.submit(experiment) == 2
        assert "--cluster slurm: no job for realm, seed 0: [Errno 2]" in capsys.readouterr().err

    @pytest.mark.parametrize("parameter", ["timeout_min", "slurm_partitio=x", "timeout_min=x"])
    def test_a_parameter_that_is_none(self, experiment, capsys, parameter):
        assert self.submit(experiment, "--cluster_options", parameter) == 2
        assert "--cluster_options: " in capsys.readouterr().err
        assert not self.jobs()
