"""Every row of the table of stages fits the settings, the other rows, and the code that it names."""

import dataclasses

import pytest

from realm_jax.config import Config, Training
from realm_jax.settings import flatten
from realm_jax.stages import DATA, STAGES, of_run


def test_every_stage_has_settings_of_its_name_and_all_settings_of_stages_have_one():
    settings = {
        field.name for field in dataclasses.fields(Config) if isinstance(getattr(Config(), field.name), Training)
    }
    assert settings == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_a_row(name):
    stage, before = STAGES[name], list(STAGES)[: list(STAGES).index(name)]
    assert set(stage.starts_from) <= {DATA, *before}
    options = flatten(Config())
    for part in (*stage.reads, *(part for parts in stage.reads_where.values() for part in parts)):
        assert any(f"{option}.".startswith(f"{part}.") for option in options), part
    for option in stage.reads_where:
        assert f"{name}.{option}" in options
    assert callable(stage.task.load()) and (stage.finish is None or callable(stage.finish.load()))


def test_a_run_has_the_stages_with_steps_in_order_and_pretraining_always():
    assert of_run(Config()) == ["pretrain"]
    steps = {name: dataclasses.replace(getattr(Config(), name), steps=1) for name in STAGES if name != "closed_book"}
    assert of_run(dataclasses.replace(Config(), **steps)) == ["ict", "warm_up", "pretrain", "finetune"]
