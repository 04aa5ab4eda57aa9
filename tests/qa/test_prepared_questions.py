import dataclasses
import json

import pytest

from realm_jax.config import Config, Data, Questions
from realm_jax.errors import UserError
from realm_jax.factbook import source
from realm_jax.factbook.package import Country
from realm_jax.factbook.questions_of_countries import questions
from realm_jax.qa import prepared_questions
from realm_jax.qa.questions import load_questions, set_folder, split_sizes
from realm_jax.workdir import DataDir


def test_prepared_once_and_the_same_each_time(tmp_path, monkeypatch):
    names = [("ut", "Utopia"), *((f"c{i}", f"Island {i}") for i in range(20))]
    countries = [Country(code, name, "r", {"Government/Capital/name": f"City of {name} Town"}) for code, name in names]
    monkeypatch.setattr(source, "load_countries", lambda: countries)
    one, other = DataDir(tmp_path / "one"), DataDir(tmp_path / "other")
    for data in (one, other):
        prepared_questions.prepare_questions(Config(), data)
    for split in ("train", "dev", "test"):
        assert load_questions(one.tfds, split) == load_questions(other.tfds, split) == questions(countries)[split]
        assert load_questions(one.tfds, split)
    monkeypatch.setattr(source, "load_countries", lambda: 1 / 0)
    prepared_questions.prepare_questions(Config(), one)


def write(path, *questions):
    path.write_text("".join(json.dumps({"question": q, "answer": ["x"]}) + "\n" for q in questions))
    return str(path)


def test_files_are_prepared_and_again_when_they_change(tmp_path):
    data, said = DataDir(tmp_path / "data"), []
    settings = Questions(dev=(write(tmp_path / "dev", "a?"),), test=(write(tmp_path / "test", "b?", "c?"),))
    config = Config(questions=settings)
    for _ in range(2):
        prepared_questions.prepare_questions(config, data, said.append)
    assert said == ["prepare: questions: 1 dev, 2 test"]
    folder = set_folder(settings, data)
    assert [question.question for question in load_questions(folder, "test")] == ["b?", "c?"]
    assert split_sizes(settings, data) == {"dev": 1, "test": 2} and split_sizes(Questions(), data) == {}
    write(tmp_path / "test", "d?")
    prepared_questions.prepare_questions(config, data, said.append)
    assert said[1:] == ["prepare: questions: 1 dev, 1 test"]
    assert [question.question for question in load_questions(folder, "test")] == ["d?"]


def test_you_are_told_of_questions_that_are_trained_on_and_measured(tmp_path):
    settings = Questions(train=(write(tmp_path / "a", "a?", "b?"),), dev=(write(tmp_path / "b", "b?", "c?"),))
    said = []
    config = Config(questions=dataclasses.replace(settings, test=(write(tmp_path / "c", "d?"),)))
    prepared_questions.prepare_questions(config, DataDir(tmp_path / "data"), said.append)
    assert said == ["prepare: questions: 2 train, 2 dev (1 of them in train too), 1 test"]


@pytest.mark.parametrize("how", ["data.directory", "a sweep's link"])
def test_a_set_that_other_runs_may_use_is_not_replaced(tmp_path, how):
    """Runs that have been fine-tuned on it, or measured with it, would not fit it any more."""
    file, shared = tmp_path / "test", tmp_path / "data"
    shared.mkdir()
    (tmp_path / "link").symlink_to(shared)
    data = DataDir(shared if how == "data.directory" else tmp_path / "link")
    settings = Questions(test=(write(file, "b?"),))
    config = Config(questions=settings, data=Data(directory=str(shared) if how == "data.directory" else ""))
    for _ in range(2):
        prepared_questions.prepare_questions(config, data, lambda line: None)
    write(file, "d?")
    folder = set_folder(settings, data)
    with pytest.raises(UserError, match=f"^{file}: has changed since its questions were prepared in {folder}, which"):
        prepared_questions.prepare_questions(config, data, lambda line: None)
    assert [question.question for question in load_questions(folder, "test")] == ["b?"]


def test_faulty_files_leave_what_was_prepared(tmp_path):
    data, file = DataDir(tmp_path / "data"), tmp_path / "test"
    settings = Questions(test=(write(file, "b?"),))
    prepared_questions.prepare_questions(Config(questions=settings), data, lambda line: None)
    file.write_text("{}\n")
    with pytest.raises(UserError, match=f"{file}:1: no field 'answer'|no field 'question'"):
        prepared_questions.prepare_questions(Config(questions=settings), data, lambda line: None)
    assert [question.question for question in load_questions(set_folder(settings, data), "test")] == ["b?"]


def test_what_may_change_in_a_run_chooses_no_folder(tmp_path):
    data, file = DataDir(tmp_path / "data"), tmp_path / "test"
    write(file, "b?")
    file.write_text(file.read_text() + "{}\n")
    skipping = Questions(test=(str(file),), skip_faulty=True)
    prepared_questions.prepare_questions(Config(questions=skipping), data, lambda line: None)
    settings = Questions(test=(str(file),))
    assert [question.question for question in load_questions(set_folder(settings, data), "test")] == ["b?"]


def test_sets_lie_side_by_side(tmp_path):
    data = DataDir(tmp_path / "data")
    sets = [Questions(test=(write(tmp_path / name, f"{name}?"),)) for name in ("one", "two")]
    for settings in sets:
        prepared_questions.prepare_questions(Config(questions=settings), data, lambda line: None)
    found = [load_questions(set_folder(settings, data), "test")[0].question for settings in sets]
    second = dataclasses.replace(sets[0], dev_new_kinds=sets[1].test, test_new_kinds=sets[1].test)
    prepared_questions.prepare_questions(Config(questions=second), data, lambda line: None)
    assert split_sizes(second, data) == {"dev_new_kinds": 1, "test": 1, "test_new_kinds": 1}
    assert found == ["one?", "two?"] and set_folder(Questions(match="squad"), data) == data.tfds


def test_a_set_split_by_kind_lies_beside_the_other(tmp_path, monkeypatch):
    paths = ("Capital/name", "Legislative branch/legislature name")
    fields = {f"Government/{path}": name for path, name in zip(paths, ("Camp", "Diet"), strict=True)}
    fields |= {"People and Society/Nationality/noun": "Islander"}
    countries = [
        Country(f"c{i}", f"Isle {i}", "r", {name: f"{value}{i}" for name, value in fields.items()}) for i in range(30)
    ]
    monkeypatch.setattr(source, "load_countries", lambda: countries)
    data = DataDir(tmp_path / "data")
    for by_kind in (False, True):
        settings = Questions(by_kind=by_kind)
        prepared_questions.prepare_questions(Config(questions=settings), data)
        expected = {split: len(asked) for split, asked in questions(countries, by_kind).items()}
        assert split_sizes(settings, data) == expected and len(expected) == (5 if by_kind else 3)


def test_files_are_not_split_by_kind():
    with pytest.raises(UserError, match="questions.by_kind: splits the questions that data.source brings, but .*test"):
        Config(questions=Questions(test=("x",), by_kind=True))
