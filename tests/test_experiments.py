"""Every experiment file that is shipped gives a valid configuration, and a variant differs only where it says so."""

import dataclasses
from pathlib import Path

import pytest

from realm_jax import config as schema
from realm_jax.jobs.experiment import load_experiment

FOLDER = Path(__file__).parents[1] / "experiments"
BASE = "factbook"
CLOSED_BOOK = {f"closed_book.{name}" for name in ("steps", "batch_size", "bias_correction")}
SHIPPED = {
    # name: the options that differ from those of the base
    "factbook": set(),
    "factbook_no_pretraining": {"name", "pretrain.steps", "warm_up.steps"},
    "factbook_warm_up_only": {"name", "pretrain.steps"},
    "own_documents": {
        *("name", "data.source", "data.passage_length", "data.joint_length", "finetune.joint_length", "finetune.beam"),
        *("masking.types", "masking.min_holders", "masking.max_holders"),
        *CLOSED_BOOK,
    },
    "tagger": {
        *("name", "tagger.steps", "tagger.batch_size", "tagger.warmup_steps", "tagger.checkpoint_every"),
        *("tagger.log_every", "tagger.length", "model.bert.dropout"),
    },
    "wikipedia_excerpt": {
        *("name", "data.source", "data.path", "data.taggers", "data.passage_length", "data.query_length"),
        *("data.joint_length", "masking.types", "masking.max_holders", "masking.max_masks", "masking.subject"),
        *("finetune.steps", "finetune.bias_correction", "finetune.score_scale", "finetune.read", "finetune.labels"),
        *("finetune.beam", "finetune.joint_length"),
        *CLOSED_BOOK,
    },
}


def test_all_are_listed():
    assert {file.stem for file in FOLDER.glob("*.py")} == set(SHIPPED)


@pytest.fixture(params=SHIPPED)
def name(request) -> str:
    return request.param


def test_config_is_valid_and_named_after_its_file(name):
    config = load_experiment(FOLDER / f"{name}.py")
    assert config.name == name
    assert schema.from_dict(dataclasses.asdict(config)) == config


def test_differences_from_the_base(name):
    base = schema.flatten(load_experiment(FOLDER / f"{BASE}.py"))
    values = schema.flatten(load_experiment(FOLDER / f"{name}.py"))
    assert {option for option in base if values[option] != base[option]} == SHIPPED[name]


def test_docstring_tells_command_time_and_result(name):
    text = (FOLDER / f"{name}.py").read_text().split('"""')[1]
    assert f"realm {'tagger' if name == 'tagger' else 'run'} experiments/{name}.py" in text
    assert "Time: " in text and "Expected: " in text
