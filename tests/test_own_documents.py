"""docs/own_documents.md, followed: its commands answer from a folder, and from what it holds after changes."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from realm_jax.jobs import cli
from realm_jax.training import index_builder
from realm_jax.workdir import read_json
from tests import world
from tests.serving.client import started, until

DOC = Path(__file__).parents[1] / "docs" / "own_documents.md"
TINY = """--model.weights random --model.bert.hidden_size 12 --model.bert.num_layers 1 --model.bert.num_heads 3
 --model.bert.intermediate_size 20 --model.bert.max_positions 64 --model.vector_size 8 --data.passage_length 24
 --data.query_length 16 --data.joint_length 40 --index.kind exact --warm_up.steps 0 --pretrain.steps 0
 --finetune.steps 1 --finetune.batch_size 2 --finetune.joint_length 40 --finetune.beam 50
 --finetune.read 2 --index.rows_per_batch 4 --evaluation.read 99"""
JOBS_OF_RUN = ("prepare", "pretrain", "build_index", "finetune")


def blocks():
    """The commands of each indented block of the page, as lists of words."""
    found = [[]]
    for line in DOC.read_text().splitlines():
        if line.startswith("    realm "):
            found[-1].append(shlex.split(line)[1:])
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder in which the page's file names mean something small."""
    world.write_documents(tmp_path)
    (tmp_path / "experiments").symlink_to(DOC.parents[1] / "experiments")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tiny():
    return [*shlex.split(TINY), "--model.bert.vocab_size", str(len(world.VOCAB)), "--model.vocab", "vocab.txt"]


def run(words, capsys):
    """What a command prints; `run` does its jobs in this process, with a tiny model."""
    job, *rest = words
    given = [*tiny(), "--questions.dev", "questions.jsonl", "--questions.test", "questions.jsonl"]
    for name in JOBS_OF_RUN if job == "run" else (job,):
        assert cli.main([name, *rest, *(given if job == "run" else [])]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.usefixtures("one_device")
def test_the_page_is_followed(home, capsys, monkeypatch):
    (first, ask), again = blocks()
    assert [words[0] for words in (first, ask)] == ["run", "ask"]
    assert [words[0] for words in again] == ["prepare", "build_index", "ask"]
    embedded, embed_all = [], index_builder.embed_passages.embed_all

    def watched(embed, tokens, *rest):
        embedded.append(len(tokens))
        return embed_all(embed, tokens, *rest)

    monkeypatch.setattr(index_builder.embed_passages, "embed_all", watched)
    run(first, capsys)
    count = read_json(Path("runs/mine/data/manifest.json"))["passages"]
    assert embedded == [count + 1] and count >= len(world.COUNTRIES)
    ask = [*ask[:2], "What is the capital of Jura?", "--passages", str(count)]
    shown = run(ask, capsys)
    assert "  Jura" in shown and re.search(r"^answer: ", shown, re.MULTILINE)

    documents = home / "documents"
    jura = documents / f"{world.COUNTRIES.index('Jura')}.md"
    jura.write_text(jura.read_text().replace("Jena", "Moldau"))
    (documents / f"{world.COUNTRIES.index('Kelt')}.md").unlink()
    (documents / "new.md").write_text("# Volla\n\nThe lake of Volla is on the river.")
    embedded.clear()
    for words in again[:2]:
        run(words, capsys)
    changed = read_json(Path("runs/mine/data/manifest.json"))["passages"]
    assert len(embedded) == 1 and 0 < embedded[0] <= 4  # those of two documents
    ask[-1] = str(changed)
    shown = run(ask, capsys)
    assert "Moldau" in shown and "Jena" not in shown and "  Volla" in shown and "  Kelt" not in shown
    assert run(again[0], capsys) == ""  # nothing has changed since


@pytest.mark.usefixtures("home", "one_device")
@pytest.mark.parametrize("heldout", ["0.5", "0"])
def test_without_questions_retrieval_is_measured(capsys, heldout):
    """Where documents are held out."""
    words = ["experiments/own_documents.py", "--workdir", "runs/mine", "--data.path", "documents", *tiny()]
    words += ["--data.heldout_fraction", heldout, "--finetune.made_steps", "0"]
    assert cli.main(["run", *words]) == 2 and not list(Path("runs").rglob("*.json"))
    assert (
        "no training questions; name them by --questions.train FILE, or leave that out: --finetune.steps 0"
        in capsys.readouterr().err
    )
    words[words.index("--finetune.steps") + 1] = "0"
    for job in ("prepare", "pretrain", "build_index", "evaluate", "report"):
        assert cli.main([job, *words]) == 0, capsys.readouterr().err
    summary = read_json(Path("runs/mine/report/summary.json"))
    assert (summary["retrieval/span_recall@5"] is None) == (heldout == "0") and summary["index/snapshots_used"] == 0
    assert summary["retrieval/recall@5_start"] is None and summary["qa/exact_match"] is None


WRONG = {
    "a column that is not there": (["--data.source", "table", "--data.path", "facts.csv"], "has no column 'title'"),
    "fields of other names": (["--data.source", "jsonl", "--data.path", "facts.jsonl"], "faulty records in the corpus"),
    "no file of the kind": (["--data.source", "jsonl", "--data.path", "documents"], "no file in this folder ends in"),
    "no row": (["--data.source", "table", "--data.path", "empty.csv"], "has no row in any table"),
    "no text": (["--data.path", "empty"], "faulty records in the corpus"),
    "no package": (["--data.path", "scans"], "needs the package pypdf"),
    "no dev questions": (["--data.path", "documents", "--questions.train", "one.jsonl"], "dev: without a file"),
}


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("wrong", WRONG)
def test_a_first_command_that_fails_is_not_held_against_the_one_that_mends_it(home, capsys, monkeypatch, wrong):
    """Nothing is recorded while nothing has been made of the documents, and no questions of other settings stay."""
    (home / "facts.csv").write_text("Name,About\nJura,The capital of Jura is Jena.\nKelt,The lake is in Kelt.\n")
    (home / "facts.jsonl").write_text('{"Name": "Jura", "About": "The capital of Jura is Jena."}\n')
    (home / "empty.csv").write_text("title,text\n")
    for name in ("empty/a.txt", "scans/a.pdf"):
        (home / name).parent.mkdir()
        (home / name).touch()
    (home / "one.jsonl").write_text((home / "questions.jsonl").read_text().splitlines()[0])
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pypdf" else find(name))
    prepare = ["prepare", "own_documents", "--workdir", "mine", "--data.processes", "1", *tiny()]
    told = [word for split in ("train", "dev", "test") for word in (f"--questions.{split}", "questions.jsonl")]
    options, message = WRONG[wrong]
    assert cli.main([*prepare, *([] if "--questions.train" in options else told), *options]) == 2
    assert message in capsys.readouterr().err
    mine = Path("mine")
    assert {path.parent.name for path in mine.rglob("[!.]*") if path.is_file()} <= {"shards"}
    right = ["--data.source", "table", "--data.path", "facts.csv", "--data.columns", "title=Name,text=About"]
    assert cli.main([*prepare, *told, *right]) == 0, capsys.readouterr().err
    made = {path: path.read_bytes() for path in mine.rglob("*.json")}
    assert mine / "config.json" in made and read_json(mine / "data/manifest.json")["passages"] == 2
    (home / "facts.csv").write_text("Name,About\nJura\n")
    assert cli.main(["prepare", "mine"]) == 2  # and what was prepared before stays, with its settings
    assert made == {path: path.read_bytes() for path in mine.rglob("*.json")}


@pytest.mark.usefixtures("one_device")
def test_answers_of_a_server_follow_the_documents(home, capsys, monkeypatch):
    """With processes of their own. It answers all the while, from all documents of before or from all of after."""
    (first, _), (prepare, build_index, _) = blocks()
    run([*first, "--data.processes", "1"], capsys)
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # as in this process, which has compiled the same
    environment = os.environ | {"PYTHONPATH": str(DOC.parents[1])}
    documents, jura, kelt = home / "documents", *(f"{world.COUNTRIES.index(name)}.md" for name in ("Jura", "Kelt"))
    with started("runs/mine") as (_, port):

        def asked():
            """The passages of an answer, by the file that they come from."""
            with urlopen(f"http://127.0.0.1:{port}/api/answer?text=What+is+the+capital+of+Jura%3F", timeout=60) as got:
                return {Path(passage["origin"]).name: passage["text"] for passage in json.load(got)["passages"]}

        states = [asked()]
        before = states[0]
        (documents / jura).write_text((documents / jura).read_text().replace("Jena", "Moldau"))
        (documents / kelt).unlink()
        (documents / "new.md").write_text("# Volla\n\nThe lake of Volla is on the river.")
        for words in (prepare, build_index):
            command = [sys.executable, "-m", "realm_jax", *words]
            with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as job:
                while job.poll() is None:
                    states.append(asked())
                    time.sleep(0.2)
                assert job.returncode == 0, job.stderr.read().decode()
        until(lambda: states.append(asked()) or states[-1] != before)
    after = states[-1]
    assert all(state in (before, after) for state in states)
    assert len(before) == len(world.COUNTRIES) and "Jena" in before[jura] and "Moldau" in after[jura]
    assert before.keys() - after.keys() == {kelt}
    assert after.keys() - before.keys() == {"new.md"} and "Volla" in after["new.md"]
    assert all(after[name] == before[name] for name in after.keys() & before.keys() - {jura})


@pytest.mark.usefixtures("home", "one_device")
def test_without_questions_a_reader_learns_from_made_ones(capsys):
    words = ["experiments/own_documents.py", "--workdir", "runs/mine", "--data.path", "documents", *tiny()]
    words += ["--data.heldout_fraction", "0"]
    for job in ("prepare", "pretrain", "build_index", "finetune", "evaluate"):
        assert cli.main([job, *words]) == 0, capsys.readouterr().err
    assert "\nanswer: " in run(["ask", "runs/mine", "What is the capital of Jura?"], capsys)
