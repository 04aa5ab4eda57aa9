from realm_jax.config import Config
from realm_jax.corpus.factbook_source import Country
from realm_jax.qa import prepare
from realm_jax.qa.factbook_questions import questions
from realm_jax.qa.questions import SPLITS, load_questions
from realm_jax.workdir import DataDir


def test_prepared_once_and_the_same_each_time(tmp_path, monkeypatch):
    names = [("ut", "Utopia"), *((f"c{i}", f"Island {i}") for i in range(20))]
    countries = [Country(code, name, "r", {"Government/Capital/name": f"City of {name} Town"}) for code, name in names]
    monkeypatch.setattr(prepare, "load_countries", lambda: countries)
    one, other = DataDir(tmp_path / "one"), DataDir(tmp_path / "other")
    for data in (one, other):
        prepare.prepare_questions(Config(), data)
    for split in SPLITS:
        assert load_questions(one.tfds, split) == load_questions(other.tfds, split) == questions(countries)[split]
        assert load_questions(one.tfds, split)
    monkeypatch.setattr(prepare, "load_countries", lambda: 1 / 0)
    prepare.prepare_questions(Config(), one)
