"""Every ablation changes what it claims, at every size, and nothing else; and what it changes runs."""

import dataclasses
import math
import shutil
from pathlib import Path

import jax
import pytest

from realm_jax.config import Config
from realm_jax.config.experiment_file import importable
from realm_jax.errors import UserError
from realm_jax.runtime import sharing
from realm_jax.settings import flatten, from_dict
from realm_jax.training import checkpoints, results
from realm_jax.training.metrics import read_metrics
from realm_jax.training.open_run import OpenRun
from realm_jax.training.train_stage import train_stage
from realm_jax.workdir import Workdir
from tests.devices import have
from tests.trees import same

FOLDER = Path(__file__).parents[1] / "experiments"
CLAIMS = {
    "no_pretraining": {"warm_up.steps", "pretrain.steps"},
    "no_pretraining_equal_steps": {"warm_up.steps", "pretrain.steps", "finetune.steps"},
    "warm_up_only": {"pretrain.steps"},
    "warm_up_only_equal_steps": {"pretrain.steps", "finetune.steps"},
    "realm_retriever_baseline_encoder": {"finetune.reader"},
    "realm_retriever_warmed_up_encoder": {"finetune.reader"},
    "baseline_retriever_realm_encoder": {"finetune.embedder"},
    "no_ict": {"ict.steps"},
    "no_warm_up": {"warm_up.steps"},
    "random_uniform_masks": {"masking.kind", "pretrain.oversample", "pretrain.probe_queries"},
    "random_span_masks": {"masking.kind", "pretrain.oversample", "pretrain.probe_queries"},
    "no_oversampling": {"pretrain.oversample"},
    "all_salient_masks": {"masking.types", "masking.min_holders", "masking.max_holders", "pretrain.oversample"},
    "learned_salience": {"masking.kind", "pretrain.oversample"},
    "last_checkpoint": {"pretrain.probe_queries"},
    "stale_index": {"index.refresh_every"},
    "fresh_index": {"index.refresh"},
    "scann": {"index.kind", "index.store"},
    "exact": {"index.kind"},
    "frozen_retriever": {"pretrain.embedder_rate", "pretrain.probe_queries"},
    "bm25": {
        *("ict.steps", "index.kind", "index.store", "pretrain.embedder_rate", "pretrain.probe_queries"),
        *("index.bm25.stopwords", "index.bm25.title_weight", "index.bm25.k1", "index.bm25.b"),
    },
    "no_null_passage": {"pretrain.null_passage"},
    "no_trivial_retrieval_ban": {"pretrain.ban_origin"},
    "candidates_2": {"pretrain.candidates"},
    "candidates_4": {"pretrain.candidates"},
    "candidates_8": {"pretrain.candidates"},
    "span_marginal": {"pretrain.marginalize"},
    "token_marginal": {"pretrain.marginalize"},
}
"""The options that an ablation may change; where the experiment has one already so, it does not."""


@pytest.fixture(scope="module", autouse=True)
def experiments():
    """The experiments, for these tests alone: the next file in this process must not find them imported."""
    with importable(FOLDER):
        yield


@pytest.fixture(scope="module")
def ablations(experiments):
    import ablations

    return ablations


def factbook() -> Config:
    import factbook_sweep

    return factbook_sweep.get_base()


def rich() -> Config:
    """An experiment that has what an ablation can take away and `factbook` lacks, and little of what it has."""
    return with_parts(
        factbook(),
        ict={"steps": 9},
        index={"kind": "exact", "store": "device"},
        pretrain={"candidates": 8, "marginalize": "span"},
    )


def with_parts(config: Config, **parts: dict) -> Config:
    changed = {name: dataclasses.replace(getattr(config, name), **values) for name, values in parts.items()}
    return dataclasses.replace(config, **changed)


def base() -> Config:
    import wikipedia

    return wikipedia.get_config()


def small() -> Config:
    import wikipedia_small

    return wikipedia_small.get_config()


SIZES = {"factbook": factbook, "small": small, "base": base, "rich": rich}


def differences(one: Config, other: Config) -> set[str]:
    one, other = flatten(one), flatten(other)
    return {option for option in one if one[option] != other[option]}


@pytest.mark.parametrize("size", SIZES)
def test_each_changes_nothing_but_what_it_claims(ablations, size):
    base = SIZES[size]()
    assert ablations.ABLATIONS.keys() == CLAIMS.keys()
    for name, function in ablations.ABLATIONS.items():
        assert differences(base, function(base)) <= CLAIMS[name], name
        assert from_dict(dataclasses.asdict(function(base)), Config) == function(base)


def test_each_changes_all_that_it_claims_where_it_stands_otherwise(ablations):
    bases = [make() for make in SIZES.values()]
    for name, function in ablations.ABLATIONS.items():
        assert set.union(*(differences(base, function(base)) for base in bases)) == CLAIMS[name], name


def test_a_sweep_has_the_reference_and_no_run_twice(ablations):
    import factbook_sweep

    sweep = factbook_sweep.get_sweep()
    base, rest = sweep.variants[sweep.reference], set(ablations.ABLATIONS) - set(sweep.variants)
    assert base == factbook() and sweep.seeds == (0, 1, 2)
    # What is left out is what the Factbook has already.
    assert rest == {"no_ict", "scann", "candidates_4", "token_marginal"}
    assert all(ablations.ABLATIONS[name](base) == base for name in rest)


def test_equal_steps_are_equal(ablations):
    base = factbook()

    def steps(config: Config) -> int:
        return config.ict.steps + config.warm_up.steps + config.pretrain.steps + config.finetune.steps

    for name in ("no_pretraining_equal_steps", "warm_up_only_equal_steps"):
        assert steps(ablations.ABLATIONS[name](base)) == steps(base)


# Runs


@pytest.fixture(scope="module")
def one_device():
    with pytest.MonkeyPatch.context() as patch:
        have(patch, 1)
        yield


@pytest.fixture(scope="module")
def steps(world, one_device) -> Config:
    """One to two steps of everything; the trainer embeds, so that no builder is needed."""
    return world.settings(
        index={"refresh": "inline"},
        ict={"steps": 1, "batch_size": 3, "score_scale": 0.1},
        warm_up={"steps": 1},
        pretrain={
            **{"steps": 2, "checkpoint_every": 1, "score_scale": 0.1, "oversample": 2, "candidates": 3},
            "probe_queries": 0,
        },
        finetune={"steps": 1},
    )


@pytest.fixture(scope="module")
def done(steps, tmp_path_factory) -> Workdir:
    """The experiment itself, up to pre-training."""
    folder = Workdir(tmp_path_factory.mktemp("ablations"))
    for stage in ("ict", "warm_up", "pretrain"):
        train_stage(stage, steps, folder)
    return folder


def run(steps: Config, done: Workdir, function, folder: Path) -> tuple[Config, Workdir]:
    """What is not as in the run that is done; of fine-tuning, only where the ablation is about it."""
    config, workdir = function(steps), Workdir(folder)
    ours, theirs = sharing.made_from(config), sharing.made_from(steps)
    for stage in ("ict", "warm_up", "pretrain"):
        if stage in ours and sharing.key(ours[stage]) == sharing.key(theirs[stage]):
            shutil.copytree(done.stage(stage).root, workdir.stage(stage).root)
        elif stage in ours:
            train_stage(stage, config, workdir)
    parts = {option.partition(".")[0] for option in differences(steps, config)}
    if "finetune" in parts or config.index.kind == "bm25":
        train_stage("finetune", config, workdir)
    return config, workdir


ALONE = ("no_pretraining", "learned_salience", "bm25")
"""Those that take a way of their own through the code; the rest run together, or start fine-tuning elsewhere."""
STARTS = ("realm_retriever_baseline_encoder", "realm_retriever_warmed_up_encoder", "baseline_retriever_realm_encoder")
TOGETHER = (
    *("no_ict", "no_warm_up", "no_oversampling", "random_uniform_masks", "stale_index", "frozen_retriever"),
    *("no_null_passage", "no_trivial_retrieval_ban", "candidates_2", "span_marginal"),
)
SAME = (
    *("last_checkpoint", "fresh_index", "exact", "scann", "token_marginal", "random_span_masks", "all_salient_masks"),
    *("candidates_4", "candidates_8", "warm_up_only", "no_pretraining_equal_steps", "warm_up_only_equal_steps"),
)
"""What `steps` or the test of the whole run has, or what runs under another name."""


def check_metrics(config: Config, workdir: Workdir) -> None:
    for stage in ("pretrain", "finetune"):
        lines = [line for line in read_metrics(workdir.stage(stage).metrics) if "loss/total" in line]
        wanted = getattr(config, stage).steps if workdir.stage(stage).root.exists() else 0
        assert len(lines) == wanted and all(math.isfinite(line["loss/total"]) for line in lines)


@pytest.mark.parametrize("name", ALONE)
def test_each_runs(ablations, steps, done, tmp_path, name):
    config, workdir = run(steps, done, ablations.ABLATIONS[name], tmp_path)
    assert config != steps
    check_metrics(config, workdir)


def test_the_others_run_together(ablations, steps, done, tmp_path):
    assert {*ALONE, *STARTS, *SAME, *TOGETHER} == set(CLAIMS)

    def all_of_them(config: Config) -> Config:
        for name in TOGETHER:
            config = ablations.ABLATIONS[name](config)
        return config

    check_metrics(*run(steps, done, all_of_them, tmp_path))


def test_fine_tuning_starts_from_what_it_says(ablations, steps, done, tmp_path):
    """Of checkpoint 0: bit for bit what ICT, warm-up and pre-training left."""
    experiment = OpenRun(steps, done)

    def result(stage: str, part: str):
        return results.restore_result(done, stage, part, experiment.models)

    fresh = results.fresh_reader(experiment, jax.random.key(steps.seed))
    expected = {
        "realm_retriever_baseline_encoder": (result("pretrain", "embedder"), fresh),
        "realm_retriever_warmed_up_encoder": (result("pretrain", "embedder"), result("warm_up", "reader")),
        "baseline_retriever_realm_encoder": (result("ict", "embedder"), result("pretrain", "reader")),
    }
    for name, (embedder, reader) in expected.items():
        # What is looked at is there before the first step; that steps can follow, one of the three shows.
        count = {"steps": int(name == "baseline_retriever_realm_encoder")}
        config, workdir = run(with_parts(steps, finetune=count), done, ablations.ABLATIONS[name], tmp_path / name)
        check_metrics(config, workdir)
        folder, shapes = workdir.stage("finetune").checkpoints, experiment.models.shapes
        assert same(checkpoints.restore_part(folder, 0, "embedder", shapes("embedder")), embedder)
        found = checkpoints.restore_part(folder, 0, "reader", shapes("span_reader"))
        assert same(found["trunk"], reader["trunk"])
    assert not same(result("ict", "embedder"), result("pretrain", "embedder"))


@pytest.mark.parametrize(
    "parts, message",
    [
        ({"masking": {"kind": "tokens"}}, "pretrain.oversample: 4 needs to know .* masking.kind tokens it must be 1"),
        ({"masking": {"kind": "learned"}, "pretrain": {"oversample": 1}}, "pretrain.oversample: 1 leaves .* least 2"),
        ({"pretrain": {"answer_within": 2}}, "pretrain.answer_within: 2 is less than the 3 passages"),
        ({"pretrain": {"embedder_rate": 0.0}}, "pretrain.probe_queries: 200 probe an embedder .* set it to 0"),
        ({"index": {"kind": "bm25"}}, "pretrain.embedder_rate: 1.0, but index.kind bm25 .* set it to 0"),
        ({"pretrain": {"steps": 0}, "finetune": {"reader": "start"}}, "finetune.reader: start is what .* use pretrain"),
        ({"index": {"kind": "bm25", "store": "device"}}, "index.store: device needs index.kind exact, not bm25"),
    ],
)
def test_combinations_that_make_no_sense_are_refused(parts, message):
    with pytest.raises(UserError, match=message):
        with_parts(factbook(), **parts)
