"""SQuAD's files are documents, questions, or both."""

import dataclasses
import json

import pytest

from realm_jax.config import Config, Data, Questions
from realm_jax.corpus.articles import Article, Bad
from realm_jax.errors import UserError
from realm_jax.qa import squad
from realm_jax.qa.prepared_questions import prepare_questions
from realm_jax.qa.question_files import read_questions
from realm_jax.qa.questions import load_questions, split_sizes
from realm_jax.qa.squad import SquadFiles
from realm_jax.workdir import DataDir


def squad_file(path, count=3, answer="Oslo"):
    """`count` articles of two paragraphs of one question each, and one that has no answer."""

    def paragraph(i, j):
        answers = [{"text": answer, "answer_start": 0}, {"text": answer, "answer_start": 0}, {"text": f"No {i}"}]
        asked = {"id": f"{answer}{i}.{j}", "question": f"Which is the town {i} of {j}?", "answers": answers}
        none = {"id": f"n{i}.{j}", "question": "Why?", "answers": [], "is_impossible": True}
        return {"context": f"{answer} is the town {i} of {j}.", "qas": [asked, none]}

    data = [{"title": f"Caf%C3%A9_{i}", "paragraphs": [paragraph(i, j) for j in range(2)]} for i in range(count)]
    path.write_text(json.dumps({"version": "v2.0", "data": data}, indent=1))
    return str(path)


def everything(source):
    return [found for shard in source.shards() for found in source.read(shard)]


def test_paragraphs_are_articles(tmp_path, monkeypatch):
    path = squad_file(tmp_path / "train-v2.0.json")
    whole = everything(SquadFiles(path))
    assert [article.title for article in whole] == [f"Café {i}" for i in range(3) for _ in range(2)]
    assert whole[3].text == "Oslo is the town 1 of 1." and whole[3].origin == f"{path}: data[1].paragraphs[1]"
    monkeypatch.setattr(squad, "SHARD_BYTES", 1)
    before = SquadFiles(str(tmp_path)).shards()
    assert everything(SquadFiles(str(tmp_path))) == whole and len(before) == 3
    squad_file(tmp_path / "train-v2.0.json", 4)
    assert SquadFiles(str(tmp_path)).shards()[:3] == before


def test_questions_with_answers_are_questions(tmp_path):
    settings = Questions(train=(squad_file(tmp_path / "a.json"),), dev=(squad_file(tmp_path / "b.json", 1),))
    found = read_questions(dataclasses.replace(settings, test=settings.dev), print)
    assert len(found["train"]) == 6 and len(found["dev"]) == 2
    first = found["train"][0]
    assert (first.id, first.question, first.answers) == ("Oslo0.0", "Which is the town 0 of 0?", ("Oslo", "No 0"))


def test_records_as_the_hub_has_them(tmp_path):
    record = {"id": "1", "context": "C.", "question": "Who?", "answers": {"text": ["Ola"], "answer_start": [1]}}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    (question,) = read_questions(Questions(test=(str(tmp_path / "a.jsonl"),)), print)["test"]
    assert question.answers == ("Ola",)


def test_the_source_brings_the_questions_of_its_files(tmp_path):
    """Split as ORQA does it; what changes in the files is read again, and the corpus beside is left as it is."""
    (tmp_path / "d").mkdir()
    squad_file(tmp_path / "d" / "a.json", 40)
    config = Config(data=Data(source="squad", path=str(tmp_path / "d")))
    data = DataDir(tmp_path / "data")
    (data.tfds / "passages").mkdir(parents=True)
    prepare_questions(config, data, lambda line: None)
    sizes = split_sizes(config.questions, data)
    assert set(sizes) == {"train", "dev", "test"} and sum(sizes.values()) == 80
    for answer in ("Bergen", "Oslo"):
        squad_file(tmp_path / "d" / "a.json", 40, answer)
        prepare_questions(config, data, lambda line: None)
        assert load_questions(data.tfds, "dev")[0].answers[0] == answer
    squad_file(tmp_path / "d" / "b.json", 1, "Rome")
    said = []
    prepare_questions(config, data, said.append)
    prepare_questions(config, data, said.append)
    assert len(said) == 1 and (data.tfds / "passages").is_dir()
    by_kind = dataclasses.replace(config, questions=Questions(by_kind=True))
    with pytest.raises(UserError, match=r"questions\.by_kind"):
        prepare_questions(by_kind, data, said.append)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"data": [', "a.json:1: not valid JSON"),
        ('[{"question": 1}]', "has no list 'data'"),
        ('{"data": {}}', "has no list 'data'"),
    ],
)
def test_other_json_is_a_users_mistake(tmp_path, content, words):
    (tmp_path / "a.json").write_text(content)
    source = SquadFiles(str(tmp_path))
    for files in (source.shards, source.question_files):
        with pytest.raises(UserError, match=words):
            files()


def test_faulty_entries_are_named(tmp_path):
    good = {"context": "It is.", "qas": []}
    data = [{"paragraphs": [good, {"text": "no"}, 5, {"context": "It.", "qas": 1}]}, {"title": "T"}, 7]
    path = tmp_path / "the_file.json"
    path.write_text(json.dumps({"data": data}))
    found = everything(SquadFiles(str(path)))
    assert [a.title for a in found if isinstance(a, Article)] == ["the_file"]
    places = [bad.where.partition(": ")[2] for bad in found if isinstance(bad, Bad)]
    assert places == ["data[0].paragraphs[1]", "data[0].paragraphs[2]", "data[0].paragraphs[3]", "data[1]", "data[2]"]
