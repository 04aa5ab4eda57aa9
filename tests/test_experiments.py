"""Every experiment file that is shipped gives a valid configuration, and a variant differs only where it says so."""

import dataclasses
from pathlib import Path

import pytest

from realm_jax.config import Config
from realm_jax.config.experiment_file import load_experiment, load_sweep
from realm_jax.runtime.sharing import made_from
from realm_jax.settings import flatten, from_dict

FOLDER = Path(__file__).parents[1] / "experiments"
CLOSED_BOOK = {f"closed_book.{name}" for name in ("steps", "batch_size", "bias_correction")}
SENTENCE_ENCODER = {
    *("model.pooling", "model.vector_size", "model.normalize", "model.query_prefix", "model.passage_prefix"),
    *("index.kind", "pretrain.score_scale", "finetune.score_scale"),
}
SHIPPED = {
    # name: what it is a variant of, and the options that differ from that
    "factbook": ("factbook", set()),
    "factbook_no_pretraining": ("factbook", {"name", "pretrain.steps", "warm_up.steps"}),
    "factbook_warm_up_only": ("factbook", {"name", "pretrain.steps"}),
    "factbook_paper": (
        "factbook",
        {
            *("name", "model.layers", "ict.steps", "ict.batch_size", "ict.learning_rate", "ict.warmup_steps"),
            *("ict.bias_correction", "ict.score_scale", "ict.checkpoint_every"),
        },
    ),
    "qed": (
        "factbook",
        {
            *("name", "data.source", "data.path", "data.passage_length", "data.joint_length", "questions.by_kind"),
            *("questions.train", "questions.dev", "questions.test", "finetune.joint_length", "finetune.beam"),
            "finetune.probe_questions",
            *CLOSED_BOOK,
            *SENTENCE_ENCODER,
        },
    ),
    "own_documents": (
        "factbook",
        {
            *("name", "data.source", "data.passage_length", "data.joint_length", "finetune.joint_length"),
            *("finetune.beam", "masking.min_holders", "masking.max_holders", "questions.by_kind"),
            *("finetune.embedder_rate", "finetune.probe_questions", "pretrain.patience", "warm_up.steps"),
            *("pretrain.steps", "finetune.steps", "finetune.made_steps", "finetune.checkpoint_every"),
            *CLOSED_BOOK,
            *SENTENCE_ENCODER,
        },
    ),
    "tagger": (
        "factbook",
        {
            *("name", "tagger.steps", "tagger.batch_size", "tagger.warmup_steps", "tagger.checkpoint_every"),
            *("tagger.log_every", "tagger.length", "model.bert.dropout"),
        },
    ),
    "wikipedia_excerpt": (
        "factbook",
        {
            *("name", "data.source", "data.path", "data.taggers", "data.passage_length", "data.query_length"),
            *("data.joint_length", "questions.by_kind", "masking.max_holders", "masking.max_masks", "masking.subject"),
            *("finetune.steps", "finetune.bias_correction", "finetune.score_scale", "finetune.read"),
            *("finetune.labels", "finetune.beam", "finetune.joint_length"),
            *CLOSED_BOOK,
        },
    ),
    "wikipedia": ("wikipedia", set()),
    "wikipedia_small": (
        "wikipedia",
        {
            *("name", "data.path", "data.passage_length", "data.query_length", "data.joint_length", "index.refresh"),
            *("ict.steps", "ict.batch_size", "ict.warmup_steps", "pretrain.steps", "pretrain.batch_size"),
            *("pretrain.warmup_steps", "pretrain.checkpoint_every", "finetune.beam", "finetune.joint_length"),
        },
    ),
    "orqa": ("wikipedia", {"name", "pretrain.steps"}),
    "cc_news": ("wikipedia", {"name", "data.text_source", "data.text_path"}),
    "cc_news_webquestions": ("webquestions", {"name", "data.text_source", "data.text_path"}),
    "cc_news_curatedtrec": ("curatedtrec", {"name", "data.text_source", "data.text_path"}),
    "webquestions": (
        "wikipedia",
        {"name", "questions.train", "questions.test", "finetune.steps", "finetune.warmup_steps"},
    ),
    "curatedtrec": (
        "wikipedia",
        {"name", "questions.train", "questions.test", "questions.match", "finetune.steps", "finetune.warmup_steps"},
    ),
}
SWEEPS = {
    # name: how many variants it has
    "factbook_sweep": 25,
    "factbook_gain_sweep": 10,
    "factbook_unfiltered_sweep": 7,
    "factbook_transfer_sweep": 11,
    "factbook_recipe_sweep": 11,
    "factbook_paper_sweep": 14,
    "qed_sweep": 9,
    "qed_made_sweep": 5,
    "wikipedia_sweep": 26,
    "wikipedia_small_sweep": 18,
}
LIBRARIES = {"ablations"}


def test_all_are_listed():
    assert {file.stem for file in FOLDER.glob("*.py")} == {*SHIPPED, *SWEEPS, *LIBRARIES}


@pytest.fixture(params=SHIPPED)
def name(request) -> str:
    return request.param


def test_config_is_valid_and_named_after_its_file(name):
    config = load_experiment(FOLDER / f"{name}.py")
    assert config.name == name
    assert from_dict(dataclasses.asdict(config), Config) == config


def test_differences_from_the_base(name):
    base, differences = SHIPPED[name]
    before = flatten(load_experiment(FOLDER / f"{base}.py"))
    values = flatten(load_experiment(FOLDER / f"{name}.py"))
    assert {option for option in before if values[option] != before[option]} == differences


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_has_valid_variants_and_a_docstring(name):
    sweep = load_sweep(FOLDER / f"{name}.py")
    assert len(sweep.variants) == SWEEPS[name] and sweep.reference in sweep.variants
    assert all(from_dict(dataclasses.asdict(config), Config) == config for config in sweep.variants.values())
    # Snapshots are swapped in at fixed steps, so that a run can be repeated.
    assert all(config.index.delay is not None for config in sweep.variants.values())
    text = (FOLDER / f"{name}.py").read_text().split('"""')[1]
    assert f"realm sweep experiments/{name}.py" in text and "Time: " in text and "Expected: " in text


def test_docstring_tells_command_time_and_result(name):
    text = (FOLDER / f"{name}.py").read_text().split('"""')[1]
    job = "tagger" if name == "tagger" else "run"
    assert f"realm {job} experiments/{name}.py" in text
    assert "Time: " in text and "Expected: " in text


def test_sets_of_questions_share_all_before_fine_tuning():
    sweep = load_sweep(FOLDER / "wikipedia_sweep.py")
    made = {name: made_from(config) for name, config in sweep.variants.items()}
    for first, *others in (
        ("reference", "webquestions", "curatedtrec"),
        ("no_pretraining", "webquestions_no_pretraining", "curatedtrec_no_pretraining"),
        ("cc_news", "cc_news_webquestions", "cc_news_curatedtrec"),
    ):
        for other in others:
            assert made[other].keys() == made[first].keys() >= {"data", "ict", "pretrain", "finetune"}
            assert {stage for stage in made[first] if made[other][stage] != made[first][stage]} == {"finetune"}
    assert all(made["cc_news"][stage] != made["reference"][stage] for stage in made["cc_news"])
