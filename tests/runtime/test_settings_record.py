import dataclasses
import json
import re
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from realm_jax.config import Config, Data, Mesh, Model, Pretrain, Questions, Tagger
from realm_jax.errors import UserError
from realm_jax.runtime import settings_record
from realm_jax.runtime.settings_record import Record, located, missing_file, read_record, settle, starting_point
from realm_jax.workdir import Workdir, write_json


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path / "run")


class TestRecord:
    def test_is_read_as_written(self, workdir):
        given, config = Config(name="a"), Config(name="a", seed=2)
        settle(None, given, config, workdir)
        assert read_record(workdir) == Record(given, config)
        assert set(json.loads(workdir.config.read_text())) == {"experiment", "config"}

    @hypothesis.settings(max_examples=8)
    @hypothesis.given(seed=st.integers(0, 5), steps=st.integers(0, 9), rate=st.floats(0, 1), name=st.text())
    def test_any_config_survives(self, tmp_path_factory, seed, steps, rate, name):
        workdir = Workdir(tmp_path_factory.mktemp("run"))
        config = Config(name=name, seed=seed, pretrain=Pretrain(steps=steps, learning_rate=rate))
        settle(None, Config(), config, workdir)
        assert read_record(workdir) == Record(Config(), config)
        settle(read_record(workdir), Config(), config, workdir)

    def test_none_in_a_new_workdir(self, workdir):
        assert read_record(workdir) is None
        assert not workdir.root.exists()

    def test_later_jobs_start_from_it(self, workdir, tmp_path):
        record = Record(Config(), Config(seed=4))
        assert starting_point(record, Config(), tmp_path / "e.py", workdir).seed == 4
        assert starting_point(None, Config(seed=9), tmp_path / "e.py", workdir).seed == 9

    def test_changed_experiment_file_is_refused(self, workdir, tmp_path):
        then = Config(name="a", pretrain=Pretrain(steps=5, batch_size=7))
        now = replace(then, seed=3, pretrain=Pretrain(steps=6, batch_size=7))
        with pytest.raises(UserError) as caught:
            starting_point(Record(then, then), now, tmp_path / "e.py", workdir)
        message = str(caught.value)
        assert "e.py has changed since" in message and "--workdir" in message
        assert "  seed: 0 then, 3 now\n" in message and "  pretrain.steps: 5 then, 6 now\n" in message
        assert "batch_size" not in message

    def test_other_option_is_refused_and_nothing_touched(self, workdir):
        settle(None, Config(), Config(), workdir)
        before = workdir.config.read_bytes(), workdir.config.stat().st_mtime_ns
        with pytest.raises(UserError, match=r"belongs to other settings:\n  seed: 0 there, 8 asked for\n.*--workdir"):
            settle(read_record(workdir), Config(), Config(seed=8), workdir)
        assert (workdir.config.read_bytes(), workdir.config.stat().st_mtime_ns) == before
        assert [path.name for path in workdir.root.iterdir()] == ["config.json"]

    def test_option_that_a_newer_version_adds_has_its_default(self, workdir):
        values = dataclasses.asdict(Config(seed=5))
        del values["pretrain"]["patience"]
        workdir.root.mkdir()
        workdir.config.write_text(json.dumps({"experiment": values, "config": values}))
        assert read_record(workdir) == Record(Config(seed=5), Config(seed=5))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("{", "not valid JSON"),
            ("\udcff", r"config\.json:1: damaged \(not UTF-8 \(byte 1 is 0xff\); .*put it back, or delete it"),
            ("[]", "damaged .a list, where a dict is expected.; put it back"),
            ('{"model": "bert"}', "not the record of an experiment"),
            ('{"experiment": {"pretrain": 3}, "config": {}}', "not the record of an experiment"),
            (
                '{"experiment": {"pretrain": {"stepz": 3}}, "config": {}}',
                r"config\.json: pretrain\.stepz: no such option",
            ),
        ],
    )
    def test_foreign_file_is_named(self, workdir, text, message):
        workdir.root.mkdir()
        workdir.config.write_text(text, errors="surrogateescape")
        with pytest.raises(UserError, match=message):
            read_record(workdir)
        assert workdir.config.read_text(errors="surrogateescape") == text

    def test_workdir_that_is_a_file(self, tmp_path):
        (tmp_path / "run").write_text("")
        with pytest.raises(UserError, match="is a file; --workdir must name a folder"):
            read_record(Workdir(tmp_path / "run"))

    def test_job_that_began_at_the_same_moment_is_seen(self, workdir, monkeypatch):
        def write_and_be_overtaken(path, values):
            write_json(path, values)
            write_json(path, {**values, "config": dataclasses.asdict(Config(seed=1))})

        monkeypatch.setattr(settings_record, "write_json", write_and_be_overtaken)
        with pytest.raises(UserError, match="seed: 1 there, 0 asked for"):
            settle(None, Config(), Config(), workdir)


@pytest.mark.parametrize(
    ("option", "config"),
    [
        ("data.path", Config(data=Data(source="folder", path="nowhere"))),
        ("data.text_path", Config(data=Data(text_source="jsonl", text_path="nowhere"))),
        ("data.tagger_weights", Config(data=Data(taggers=("ner",), tagger_weights="nowhere"))),
        ("questions.test", Config(questions=Questions(train=(__file__,), test=(__file__, "nowhere")))),
        ("tagger.train", Config(tagger=Tagger(train=("nowhere:train",)))),
        ("model.weights", Config(model=Model(weights="nowhere"))),
        ("model.vocab", Config(model=Model(vocab="nowhere.txt"))),
    ],
)
def test_a_file_that_is_not_there_is_named(workdir, option, config):
    assert re.fullmatch(f"{option}: 'nowhere.*' is not there", missing_file(config, workdir))


def test_what_is_no_path_is_not_looked_for(workdir):
    questions = Questions(train=(f"{Path(__file__).parent}:train",))
    assert not missing_file(Config(data=Data(source="wikipedia", path="excerpt"), questions=questions), workdir)
    assert missing_file(Config(model=Model(weights="minilmm")), workdir).endswith("did you mean 'minilm'?")


def test_what_the_run_makes_itself_need_not_be_there(workdir):
    """The vocabulary of imported weights."""
    assert not missing_file(Config(model=Model(vocab=str(workdir.root.resolve() / "vocab.txt"))), workdir)


class TestOfTheMachine:
    """Options that say how a run is computed, not what."""

    def test_another_mesh_goes_on_and_is_recorded(self, workdir):
        settle(None, Config(), Config(), workdir)
        other = Config(mesh=Mesh(fsdp=4), pretrain=Pretrain(accumulate=2))
        settle(read_record(workdir), Config(), other, workdir)
        assert read_record(workdir) == Record(Config(), other)
        with pytest.raises(UserError, match="seed: 0 there, 1 asked for"):
            settle(read_record(workdir), Config(), Config(seed=1), workdir)
        assert read_record(workdir) == Record(Config(), other)

    def test_what_messages_about_records_and_memory_ask_for(self, workdir):
        settle(None, Config(), Config(), workdir)
        other = Config(data=Data(skip_faulty=True, processes=3), questions=Questions(skip_faulty=True))
        settle(read_record(workdir), Config(), other, workdir)
        assert read_record(workdir).config == other

    def test_an_edited_mesh_of_the_experiment_file_counts(self, workdir, tmp_path):
        settle(None, Config(), Config(seed=2), workdir)
        edited, source = Config(mesh=Mesh(tensor=2)), tmp_path / "mine.py"
        assert starting_point(read_record(workdir), edited, source, workdir) == replace(edited, seed=2)
        with pytest.raises(UserError, match="has changed since"):
            starting_point(read_record(workdir), replace(edited, name="b"), source, workdir)


def test_files_that_are_there_are_recorded_by_their_absolute_names(tmp_path, monkeypatch):
    """So that a later job finds them from another folder; what an earlier version recorded stays as it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "a.jsonl").touch()
    questions = Questions(train=("a.jsonl", "set:train"), dev=(str(tmp_path / "a.jsonl"),), test=("nowhere",))
    config = Config(data=Data(source="folder", path="set"), questions=questions)
    found = located(config, None)
    assert found.data.path == str(tmp_path / "set") and found.model.weights == "minilm"
    assert found.questions.train == (str(tmp_path / "a.jsonl"), f"{tmp_path / 'set'}:train")
    assert (found.questions.dev, found.questions.test) == (questions.dev, questions.test)
    assert located(config, Record(config, config)) == config
    assert located(replace(config, seed=1), Record(config, found)).data.path == found.data.path
