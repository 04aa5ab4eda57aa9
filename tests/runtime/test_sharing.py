"""What runs of a sweep share: keys that are equal where what they name is, links, and costs that count once."""

import dataclasses
from pathlib import Path

import pytest

from realm_jax.config import Config, Data, Model
from realm_jax.runtime import costs, sharing
from realm_jax.stages import STAGES
from realm_jax.workdir import SweepDir, read_json, write_json
from tests.runtime.small_sweep import BASE, change


def keys(config: Config) -> dict[str, str]:
    return {stage: sharing.key(made) for stage, made in sharing.made_from(config).items()}


def shared(one: Config, other: Config) -> set[str]:
    """Stages that two runs have in common."""
    ours, theirs = keys(one), keys(other)
    return {stage for stage in ours if ours[stage] == theirs.get(stage)}


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
        config = change(**{name: {"steps": 1} for name in STAGES})
        unread = {"name", "mesh", "evaluation", "tagger"}
        read = {part.partition(".")[0] for name in sharing.made_from(config) for part in sharing.reads(name, config)}
        assert read | unread == {field.name for field in dataclasses.fields(Config)}

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
        asked = change(corpus, questions={"train": (f"{weights}:train",)})  # as FOLDER:SPLIT
        assert sharing.made_from(asked)["finetune"]["files"]["questions.train"]

    @pytest.mark.parametrize("name", ["2026-11-01T10:00", "plain"])
    def test_a_name_may_have_a_colon(self, tmp_path, name):
        documents = tmp_path / name
        documents.write_text("{}")
        config = change(questions={"train": (str(documents),)})
        before = keys(config)
        documents.write_text("{}{}")
        assert keys(config)["finetune"] != before["finetune"]


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
