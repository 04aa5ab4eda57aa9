"""What an option means stands at the option: that every one has the marks that its use needs."""

import dataclasses
import re
from pathlib import Path
from typing import Annotated

import pytest

from realm_jax import settings
from realm_jax.config import Config, Data, Finetune, Questions, decisive, of_the_machine
from realm_jax.corpus.preparation import prepare_corpus
from realm_jax.errors import UserError
from realm_jax.qa.prepared_questions import prepare_questions
from realm_jax.qa.questions import set_folder
from realm_jax.runtime import sharing
from realm_jax.settings import (
    Added,
    First,
    InputFile,
    Machine,
    Part,
    ShapesData,
    flatten,
    from_dict,
    help_texts,
    marked,
    types,
)
from realm_jax.stages import STAGES
from realm_jax.workdir import DataDir
from tests.corpus import toy

NO_FILES = {"name", "data.columns", "data.directory", "data.taggers", "masking.types"}
NO_FILES |= {"model.query_prefix", "model.passage_prefix"}
"""Options of free text that name no file which a job reads."""
MAY_CHANGE = {
    *(f"{mesh}.{option}" for mesh in ("mesh", "index.mesh") for option in ("data", "fsdp", "tensor", "platform")),
    *(f"{stage}.accumulate" for stage in STAGES),
    *("model.remat", "index.store", "index.keep", "index.warn_after_s", "index.stop_after_s", "data.processes"),
    *("data.skip_faulty", "questions.skip_faulty"),
}


def test_free_text_is_a_file_unless_it_is_said_to_be_none():
    free = {name for name, hint in types(Config).items() if hint in (str, tuple[str, ...])}
    assert free == {*marked(Config, InputFile), *NO_FILES}


def test_which_options_may_change_within_a_run():
    """And no other, such as one of a part that a later version adds."""
    assert {name for name in flatten(Config()) if of_the_machine(name)} == MAY_CHANGE
    assert not of_the_machine("data.store") and not of_the_machine("data.mesh.data")


def test_the_manual_lists_what_may_change():
    text = Path(__file__).parents[2].joinpath("docs/operations.md").read_text()
    listed = re.findall(r"`([a-z_.]+)`", text[text.index("These options") : text.index("say how a run")])
    groups = {"mesh", "accumulate", *listed}  # the first two stand in the sentences before
    told = {name: [group for group in groups if f".{group}." in f".{name}."] for name in MAY_CHANGE}
    assert all(told.values()) and {group for found in told.values() for group in found} == groups


def test_ten_options_are_to_be_tried_first():
    assert len(marked(Config, First)) == 10


def test_help_is_the_text_below_an_option_or_of_the_part_that_it_inherits_from():
    texts = help_texts(Config)
    assert texts["pretrain.steps"] == "Gradient steps of pre-training; 0 leaves it out."
    assert texts["ict.steps"] == texts["warm_up.steps"] == "Gradient steps; 0 leaves the stage out."
    assert texts["index.mesh.data"] == texts["mesh.data"]
    untold = {name for name in types(Config) if name not in texts}
    assert {name.rpartition(".")[0] for name in untold} == {"model.bert"}  # as config.json names them


def test_what_decides_a_result_may_not_change():
    assert not marked(Config, Machine).keys() & {*marked(Config, InputFile), *marked(Config, ShapesData)}


def watched(kind: type[Part], read: set[str]) -> type[Part]:
    """A part that notes which of its options are read once it is there."""
    names = {field.name for field in dataclasses.fields(kind)}

    @dataclasses.dataclass(frozen=True)
    class Watched(kind):
        def __getattribute__(self, name):
            if name in names:
                read.add(name)
            return super().__getattribute__(name)

    return Watched


def test_preparation_reads_no_option_that_has_no_mark(tmp_path):
    """Else data that were prepared by one value would be taken for those of another."""
    (tmp_path / "a.jsonl").write_text('{"question": "a?", "answer": ["b"]}\n')
    (tmp_path / "d").mkdir()
    for number in range(4):
        (tmp_path / "d" / f"{number}.md").write_text(f"The capital of {number} is Paris. It is on the river Seine.")
    read: dict[type, set[str]] = {Data: set(), Questions: set()}
    files, processes = (str(tmp_path / "a.jsonl"),), 1
    config = Config(
        data=watched(Data, read[Data])(
            source="folder", path=str(tmp_path / "d"), passage_length=16, processes=processes
        ),
        questions=watched(Questions, read[Questions])(train=files, dev=files, test=files),
    )
    for names in read.values():
        names.clear()  # what the settings' own checks read
    data = DataDir(tmp_path / "data")
    prepare_questions(config, data, lambda line: None)
    prepare_corpus(config, data, toy.tokenizer(), say=lambda line: None)
    for kind, names in read.items():
        place = {"directory"} if kind is Data else set()
        assert names and names <= {*marked(kind, ShapesData), *marked(kind, Machine), *place}, kind
    assert {"path", "passage_length", "heldout_fraction", "taggers", "holders"} <= read[Data]


def test_an_option_that_was_added_tells_nothing_of_before_apart():
    """By the key that a set of questions had before, it is found again, as a sweep's stages are."""
    old = Questions(train=("a",), skip_faulty=True)
    assert set_folder(old, DataDir(Path("d"))).name == "questions_55c8fb98"
    assert set_folder(dataclasses.replace(old, test_new_kinds=("b",)), DataDir(Path("d"))).name != "questions_55c8fb98"
    assert not decisive(Config()).keys() & {*marked(Config, Added), *MAY_CHANGE}
    other = Config(finetune=Finetune(embedder_rate=0.5))
    assert decisive(other).items() - decisive(Config()).items() == {("finetune.embedder_rate", 0.5)}


def test_stages_that_a_sweep_made_before_are_found_again():
    """Where this fails, a new option lacks the mark `Added`, or a default has changed."""
    trained = {name: {"steps": 1} for name in ("ict", "warm_up", "pretrain", "finetune", "closed_book")}
    config = from_dict(trained, Config)
    assert {stage: sharing.key(made) for stage, made in sharing.made_from(config).items()} == {
        "data": "5f09f7d598bb83a0",
        "ict": "0c870e59e667027b",
        "warm_up": "c1af1fd2482fe0a0",
        "pretrain": "f0ca4fb4ae0c49b3",
        "finetune": "5902389838f0f779",
        "closed_book": "c7b5fbda077a107b",
    }


def test_the_option_of_the_guide():
    guide = Path(__file__).parents[2].joinpath("docs/extending.md").read_text()
    code = guide.partition("## An option\n")[2].partition("```python\n")[2].partition("```")[0]
    names = {"dataclasses": dataclasses, "Annotated": Annotated, **vars(settings)}
    exec(code, names)
    part = names["Masking"]
    assert marked(part, InputFile).keys() == {"words"} and marked(part, Added).keys() == {"words", "most"}
    settings.check(part(words="w.txt", most=10))
    with pytest.raises(UserError, match="most: 11 is out of range; it must be at most 10"):
        settings.check(part(most=11))
