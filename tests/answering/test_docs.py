"""Every example of README and docs/python.md runs, one after the other, on a small run in the folder that it names."""

import re
from pathlib import Path

import pytest

import realm_jax

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()


@pytest.fixture(autouse=True)
def run(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/factbook").symlink_to(experiment.workdir.root)


def test_the_readme_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(names["answer"].passages)
    assert names["filling"].text and len(names["vectors"]) == 2


def test_the_examples_run(capsys):
    said, names = [], {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "docs/python.md", "exec"), names)
        said.append(capsys.readouterr().out)
    _, answer, answers, retrieved, stored, filled, explained, _, stages, vectors, record, _ = said
    assert len(answer.splitlines()) == 5 and answers.startswith("[") and len(retrieved.splitlines()) == 20
    assert len(filled.splitlines()) == 1 + 1 + 5 and explained.count("\n") == 6 and stages.count("\n") == 4
    assert "capital" in stored and "[CLS]" in stored
    assert vectors.startswith("(2, 8) (1, 8)") and record.startswith('{"question": "What is the capital of Chad?"')
    assert names["model"].workdir.root == Path("runs/factbook")


def test_every_method_and_result_is_shown():
    public = {name: value for name, value in vars(realm_jax.Model).items() if not name.startswith("_")}
    methods = {name for name, value in public.items() if not isinstance(value, property)} - {"check", "stream"}
    assert methods == {name for name in methods if f"model.{name}(" in PAGE or f".at(stage).{name}(" in PAGE}
    properties = public.keys() - methods - {"check", "stream", "workdir", "config", "num_passages"}
    assert properties == {name for name in properties if f"model.{name}" in PAGE}
