"""`realm ask`: which texts are asked, in what order they are answered, and the messages about faulty ones."""

import io
import json
import os
import shlex
import sys
from pathlib import Path

import pytest

from realm_jax.answering import opening
from realm_jax.errors import UserError
from realm_jax.jobs import ask, cli
from realm_jax.jobs.ask import Arguments, read_asked
from realm_jax.jobs.job import keep_programs
from realm_jax.workdir import Workdir
from tests.answering.test_shown import ANSWER


@pytest.fixture
def model(monkeypatch):
    """Answers all with the same, and keeps what it was asked."""

    class Model:
        asked = []

        def check(self, text, truth):
            if text == "bad":
                raise UserError("truth: wrong")

        def stream(self, asked, unknown=False):
            self.asked += asked
            self.unknown = unknown
            return (ANSWER for _ in asked)

    made = Model()
    monkeypatch.setattr(opening, "open_model", lambda config, workdir: made)
    return made


def stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_one_text(world, model, capsys):
    ask.main(world.config, Workdir(Path("w")), Arguments("Who?", truth="He", passages=1))
    assert model.asked == [("Who?", "He")] and not model.unknown
    assert capsys.readouterr().out == str(ANSWER).split("\n\np(z|x) 0.3")[0] + "\n"


def test_many_questions_as_json(world, model, capsys, tmp_path, monkeypatch):
    lines = 'Who?\n\n{"question": "Where?", "truth": "Ürland"}\n  What?  \r\n'.encode()
    (tmp_path / "asked.txt").write_bytes(lines)
    ask.main(world.config, Workdir(Path("w")), Arguments(questions=str(tmp_path / "asked.txt"), json=True))
    expected = [("Who?", ""), ("Where?", "Ürland"), ("What?", "")]
    assert model.asked == expected
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 3 and records[0]["text"] == "Jena" and records[0]["passages"][0]["span"] == [36, 40]
    for questions in ("", "-"):
        stdin(monkeypatch, lines)
        assert read_asked(Arguments(questions=questions))[1] == expected


def test_progress_goes_to_stderr(world, model, capsys, monkeypatch):
    monkeypatch.setattr(ask, "PROGRESS_S", 0.0)
    stdin(monkeypatch, b"a\nb\n")
    ask.main(world.config, Workdir(Path("w")), Arguments(json=True))
    out, err = capsys.readouterr()
    assert [line.split(",")[0] for line in err.splitlines()] == ["ask: 1 of 2", "ask: 2 of 2"]
    assert len(list(map(json.loads, out.splitlines()))) == 2


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "standard input: holds no question; write one a line"),
        (b" \n", "standard input: holds no question; write one a line"),
        (
            b'ok\n{"question": 7}\n{\n\xff\n',
            r"3 faulty questions:\n  standard input:2: .+\n  standard input:3: .+\n.+:4: ",
        ),
        (b'{"question": "x", "truth": null}', "standard input:1: not .*question"),
    ],
)
def test_faulty_lines_are_named(monkeypatch, data, message):
    stdin(monkeypatch, data)
    with pytest.raises(UserError, match=message):
        read_asked(Arguments())


def test_a_text_that_does_not_fit_is_named_by_its_line(world, model, monkeypatch):
    stdin(monkeypatch, b"ok\nbad\n")
    with pytest.raises(UserError, match="standard input:2: truth: wrong"):
        ask.main(world.config, Workdir(Path("w")), Arguments())
    assert model.asked == []


@pytest.mark.parametrize(
    "given, message",
    [
        ({"text": "Who?", "questions": "x"}, "--questions: TEXT is given too; ask one of them"),
        ({"truth": "x"}, "--truth: there is no TEXT that it belongs to"),
    ],
)
def test_options_that_do_not_fit(given, message):
    with pytest.raises(UserError, match=message):
        Arguments(**given)


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match="--questions: 'nowhere' cannot be read"):
        read_asked(Arguments(questions="nowhere"))


@pytest.mark.parametrize("question", ["What is the capital of Chad?", "Capital of N'Djamena", "Chad:[MASK]"])
def test_a_question_in_the_place_of_the_run(question, capsys):
    assert cli.main(["ask", question]) == 2
    said = capsys.readouterr().err.strip()
    assert (
        said
        == f"realm: error: {question!r} stands where the run belongs: realm ask runs/factbook {shlex.quote(question)}"
    )


def test_an_experiment_without_a_run_is_no_question(capsys):
    assert cli.main(["ask", "nowhere.py", "Who?"]) == 2
    assert "nowhere.py: no such experiment file" in capsys.readouterr().err


def test_compiled_programs_are_kept_unless_the_user_says_where(monkeypatch, tmp_path):
    name = "JAX_COMPILATION_CACHE_DIR"
    for given, expected in (({}, str(tmp_path / "jax_cache")), ({name: "elsewhere"}, "elsewhere")):
        monkeypatch.setattr("os.environ", dict(given))
        keep_programs(Workdir(tmp_path))
        assert os.environ[name] == expected
