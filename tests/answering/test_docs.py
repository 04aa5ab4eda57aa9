"""Every example of docs/python.md runs, one after the other, on a small run in the folder that it names."""

import re
from pathlib import Path

import realm_jax

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()


def test_the_examples_run(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/factbook").symlink_to(experiment.workdir.root)
    said, names = [], {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "docs/python.md", "exec"), names)
        said.append(capsys.readouterr().out)
    _, answer, answers, retrieved, filled, explained, _, stages, vectors, record, _ = said
    assert len(answer.splitlines()) == 5 and answers.startswith("[") and len(retrieved.splitlines()) == 20
    assert len(filled.splitlines()) == 1 + 1 + 5 and explained.count("\n") == 6 and stages.count("\n") == 4
    assert vectors.startswith("(2, 8) (1, 8)") and record.startswith('{"question": "What is the capital of Chad?"')
    assert names["model"].workdir.root == Path("runs/factbook")


def test_every_method_and_result_is_shown():
    methods = {name for name in vars(realm_jax.Model) if not name.startswith("_")} - {"check", "stream"}
    assert methods - {"workdir", "config", "num_passages"} == {
        name for name in methods if f"model.{name}(" in PAGE or f".at(stage).{name}(" in PAGE
    }
