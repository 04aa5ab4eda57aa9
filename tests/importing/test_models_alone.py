"""Published models answer from your own documents: without their passages, by their own scales and lengths."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import realm_jax
from realm_jax import published
from realm_jax.config import Finetune, Pretrain
from realm_jax.importing import weight_folders
from realm_jax.index import snapshots
from realm_jax.jobs import cli
from realm_jax.training.train_stage import task_of
from realm_jax.workdir import Workdir, read_json
from tests import world as toy
from tests.importing.commands import opened, realm
from tests.published import small
from tests.trees import same

ARTICLES = list(toy.articles())
BERT = dataclasses.replace(small.BERT, vocab_size=len(toy.VOCAB), max_positions=64, dropout=0.25)
QUESTIONS = [question.question for split in toy.SPLITS for question in toy.questions(split)][:20]


pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An embedder, a reader, both as one Open-QA folder with passages of its own, and documents."""
    root = tmp_path_factory.mktemp("models")
    vocab = root / "vocab.txt"
    toy.write_vocab(vocab)
    embedder, reader = (
        small.make(kind, bert=BERT, seed=i, vocab=vocab) for i, kind in enumerate(("embedder", "reader"))
    )
    published.save(root / "embedder", embedder)
    published.save(root / "reader", reader)
    save_open_qa(root / "open_qa", root, small.make("open_qa", bert=BERT).vectors, small.PASSAGES)
    lines = [{"title": article.title, "text": article.text} for article in ARTICLES]
    (root / "documents.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    questions = [{"question": q.question, "answer": list(q.answers)} for q in toy.questions("test")]
    (root / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in questions))
    return root


def save_open_qa(folder, root, vectors, passages):
    parts = {name: published.load(root / name) for name in ("embedder", "reader")}
    params = {name: part.params for name, part in parts.items()}
    unused = {name: part.unused for name, part in parts.items()}
    fields = {"vectors": vectors, "passages": passages, "vocab": root / "vocab.txt"}
    published.save(folder, published.Published("open_qa", BERT, small.MODEL, params, unused, **fields))


def own(folders):
    return ("--data.source", "jsonl", "--data.path", folders / "documents.jsonl")


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    """The documented commands."""
    workdir = tmp_path_factory.mktemp("own") / "mine"
    given = ("--source", folders / "embedder", folders / "reader")
    assert realm("import_weights", *given, *own(folders), "--workdir", workdir) == 0
    assert realm("prepare", workdir) == realm("build_index", workdir) == 0
    return workdir


def test_answers_are_those_of_the_published_pipeline(folders, run, tmp_path):
    """Which is the Open-QA import, held to the PyTorch port by golden outputs: of the same texts, with the vectors that
    were made here, 20 of 20 questions have the same passages, p(z|x), spans and probabilities."""
    experiment = opened(run)
    step = snapshots.list_steps(experiment.workdir.stage("pretrain").snapshots)[0]
    vectors = snapshots.load(experiment.workdir.stage("pretrain").snapshots, step).vectors[:-1]
    want = experiment.models.embed_passages(
        published.load(folders / "embedder").params, experiment.store.rows(slice(9))
    )
    np.testing.assert_allclose(vectors[:9], want[:9], rtol=1e-4, atol=1e-5)
    texts = [experiment.texts[row].text.encode() for row in range(len(experiment.texts))]
    save_open_qa(tmp_path / "both", folders, np.array(vectors), texts)
    assert realm("import_weights", "--source", tmp_path / "both", "--workdir", tmp_path / "theirs") == 0
    ours, theirs = (realm_jax.load(str(path)).answer(QUESTIONS) for path in (run, tmp_path / "theirs"))
    assert len(ours) == len(QUESTIONS) == 20 and len({answer.text for answer in ours}) > 3
    for one, other in zip(ours, theirs, strict=True):
        assert one.text == other.text and one.source == other.source
        assert one.probability == pytest.approx(other.probability, rel=1e-4)
        assert [p.id for p in one.passages] == [p.id for p in other.passages]
        assert [p.says for p in one.passages] == [p.says for p in other.passages]
        np.testing.assert_allclose(
            [p.p_retrieval for p in one.passages], [p.p_retrieval for p in other.passages], rtol=1e-4
        )


def test_documents_change_as_in_any_run(folders, run, capfd):
    assert realm("ask", run, QUESTIONS[0]) == 0 and capfd.readouterr().out.startswith("answer: ")
    assert realm("prepare", run) == realm("build_index", run) == 0


def test_an_open_qa_folder_gives_its_models_alone(folders, tmp_path, monkeypatch):
    """No passage of it is read."""
    monkeypatch.setattr(weight_folders.Passages, "__iter__", lambda self: (_ for _ in ()).throw(AssertionError))
    given = ("--source", folders / "open_qa", "--workdir", tmp_path / "run")
    assert realm("import_weights", *given, *own(folders)) == 0
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert "imported" in found and "data" not in found
    assert not (tmp_path / "run" / "pretrain" / "snapshots").exists()
    assert read_json(Workdir(tmp_path / "run").stage("imported").done)["parts"] == ["embedder", "reader", "span_reader"]


@pytest.mark.parametrize(
    ("sources", "options", "message"),
    [
        (("embedder", "reader"), (), "a run needs passages too: your documents, by --data.source folder --data.path"),
        (("open_qa",), ("--data.path", "documents"), "data.path: 'documents' is not read, for passages come from"),
        (("embedder",), ("--data.source", "published"), "data.source: published, but no --source has passages"),
    ],
)
def test_documents_and_published_passages_never_meet_silently(folders, tmp_path, capfd, sources, options, message):
    given = ("--source", *(folders / name for name in sources), "--workdir", tmp_path / "run")
    assert realm("import_weights", *given, *options) == 2
    assert message in capfd.readouterr().err and not (tmp_path / "run").exists()


def test_an_experiment_with_documents_meets_published_passages(folders, world, tmp_path, capfd, monkeypatch):
    """Its scales, lengths and dropout are the published ones; an option says otherwise."""
    settings = Finetune(joint_length=56, beam=2, read=2, score_scale=0.12)
    base = world.settings(pretrain=Pretrain(score_scale=0.1), finetune=settings)
    monkeypatch.setattr(cli, "load_experiment", lambda path: base)
    given = (tmp_path / "toy.py", "--source", folders / "open_qa", "--workdir", tmp_path / "run")
    assert realm("import_weights", *given) == 2
    assert "give --data.source factbook to take the models alone, or --data.source published" in capfd.readouterr().err
    assert realm("import_weights", *given, "--data.source", "factbook", "--finetune.read", 3) == 0
    config = opened(tmp_path / "run").config
    assert (config.finetune.score_scale, config.pretrain.score_scale, config.model.bert.dropout) == (1.0, 1.0, 0.25)
    assert (config.finetune.joint_length, config.finetune.read, config.finetune.beam) == (64, 3, 5)
    assert config.data == dataclasses.replace(base.data, query_length=32)


def test_pre_training_leaves_the_span_reader_within_reach(folders, tmp_path, capfd):
    given = (
        "--source",
        folders / "embedder",
        folders / "reader",
        *own(folders),
        "--pretrain.steps",
        2,
        "--index.refresh",
        "inline",
    )
    given += ("--pretrain.probe_queries", 0, "--index.swap_after", 0, "--finetune.steps", 2)
    given += tuple(word for split in toy.SPLITS for word in (f"--questions.{split}", folders / "asked.jsonl"))
    assert realm("import_weights", *given, "--workdir", tmp_path / "new") == 0
    assert "--finetune.reader imported, in another --workdir, goes on from the" in capfd.readouterr().out
    assert realm("import_weights", *given, "--workdir", tmp_path / "run", "--finetune.reader", "imported") == 0
    assert "new span scorer" not in capfd.readouterr().out
    workdir = Workdir(tmp_path / "run")
    assert not workdir.stage("pretrain").done.exists()
    assert all(realm(job, tmp_path / "run") == 0 for job in ("prepare", "pretrain", "build_index"))
    start = task_of("finetune", opened(tmp_path / "run")).init(jax.random.key(0))
    assert same(start["reader"], published.load(folders / "reader").params)


def test_a_missing_index_is_named_by_its_job(folders, tmp_path, capfd):
    given = ("--source", folders / "embedder", folders / "reader", *own(folders))
    assert realm("import_weights", *given, "--workdir", tmp_path / "run") == 0
    assert realm("prepare", tmp_path / "run") == 0
    assert realm("ask", tmp_path / "run", QUESTIONS[0]) == 2
    assert "The job build_index makes that of a checkpoint" in capfd.readouterr().err


def test_questions_are_added_to_a_run_that_has_none(folders, run, capfd):
    assert realm("evaluate", run) == 2
    assert "add them by the job `prepare` with --questions.test FILE" in capfd.readouterr().err
    assert realm("prepare", run, "--questions.test", folders / "asked.jsonl") == 0
    assert realm("evaluate", run) == 0
    assert 0 <= read_json(run / "evaluation" / "results.json")["qa/exact_match"] <= 1
    capfd.readouterr()
    assert realm("prepare", run, "--questions.test", folders / "documents.jsonl") == 2
    assert "belongs to other settings" in capfd.readouterr().err
