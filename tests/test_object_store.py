"""A whole run whose workdir is in an object store."""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from orbax.checkpoint._src.path import gcs_utils

from realm_jax import remote
from realm_jax.errors import UserError
from realm_jax.importing.published_run import import_weights
from realm_jax.index import snapshots
from realm_jax.jobs import cli
from realm_jax.locks import owner, sole_owner
from realm_jax.remote import path_of
from realm_jax.runtime.sharing import prune
from realm_jax.training import checkpoints
from realm_jax.training.checkpoints import CheckpointWriter, State
from realm_jax.training.metrics import MetricsWriter, read_metrics
from realm_jax.workdir import DataDir, StageDir, Workdir, publish, read_json, write_json
from tests import object_store
from tests import world as small
from tests.test_own_documents import TINY
from tests.trees import same


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """`gs://bucket`; local copies lie in a cache of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Orbax asks Google whether the bucket has real folders; this one has not.
    monkeypatch.setattr(gcs_utils, "is_hierarchical_namespace_enabled", lambda path: False)
    with object_store.serving(tmp_path / "objects", monkeypatch) as objects:
        yield path_of("gs://bucket"), objects


def test_the_double_knows_no_posix(bucket):
    """Else it would prove nothing."""
    path, objects = bucket
    (path / "a").write_text("x")
    with pytest.raises(NotImplementedError):
        (path / "a").open("a")
    with pytest.raises(NotImplementedError):
        (path / "a").replace(path / "b")
    with pytest.raises(FileNotFoundError):
        np.load(path / "a")
    (path / "folder").mkdir(parents=True, exist_ok=True)
    assert not (path / "folder").exists() and objects.names() == ["bucket/a"]


def test_json_is_put_whole(bucket):
    path, objects = bucket
    write_json(path / "run" / "config.json", {"a": 1})
    assert read_json(path / "run" / "config.json") == {"a": 1} and objects.names() == ["bucket/run/config.json"]


def test_a_folder_appears_with_its_last_file(bucket, monkeypatch):
    path, objects = bucket
    order, put = [], objects.put
    monkeypatch.setattr(objects, "put", lambda name, data: (order.append(name), put(name, data)))
    for content in ("old", "new"):
        with publish(path / "7") as folder:
            for name in ("manifest.json", "vectors", "a/b"):
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(content)
    assert order[-1] == "bucket/7/manifest.json" and (path / "7/a/b").read_text() == "new"
    with pytest.raises(ZeroDivisionError), publish(path / "8") as folder:
        (folder / "manifest.json").write_text(str(1 / 0))
    assert not (path / "8").exists()
    remote.remove(path / "7")
    assert not objects.names()


def test_local_copies_follow(bucket, tmp_path):
    path, objects = bucket
    for content in ("old", "new"):
        with publish(path / "7") as folder:
            (folder / "manifest.json").write_text(content)
            (folder / content).write_text(content)
        remote.copy_down(path / "7", tmp_path / "copy")
        assert {file.name: file.read_text() for file in (tmp_path / "copy").iterdir()} == {
            "manifest.json": content,
            content: content,
        }


def test_who_waits_for_another_copy_says_so(tmp_path, capfd):
    def copy() -> str:
        with remote.exclusive(tmp_path / "lock"):
            return "done"

    said = ""
    with ThreadPoolExecutor(1) as pool:
        with remote.exclusive(tmp_path / "lock"):
            other = pool.submit(copy)
            while "lock: waiting for another process" not in said:
                said += capfd.readouterr().err
        assert other.result(60) == "done"


def write_data(data, **files):
    """Prepared data: files of given content, __ for /, and the manifest."""
    for name, content in ({"store__tokens": "rows"} | files).items():
        path = data.root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    write_json(data.manifest, {"fingerprint": "f"})
    return data


@pytest.fixture
def machines(bucket, tmp_path):
    """One folder of prepared data in the bucket, seen by two machines."""
    return [DataDir(tmp_path / name / "data", bucket[0] / "run" / "data") for name in ("one", "other")]


def test_question_sets_reach_machines_that_have_a_copy(bucket, machines, monkeypatch):
    """The manifest is of the corpus alone, which is as it was."""
    one, other = machines
    objects, order = bucket[1], []
    put, delete = objects.put, objects.delete
    monkeypatch.setattr(objects, "put", lambda name, data: (order.append(name), put(name, data)))
    monkeypatch.setattr(objects, "delete", lambda name: (order.append(f"-{name}"), delete(name))[1])
    for files in ({"tfds__a": "1"}, {"tfds__a": "2"}, {"tfds__b": "1"}):
        order.clear()
        write_data(one, shards__x="cut", **files).send()
        manifest = "bucket/run/data/manifest.json"
        assert order[0] in (f"-{manifest}", "bucket/run/data/store/tokens") and order[-1] == manifest
        assert not any("shards" in name for name in order)
        other.fetch()
        for name, content in files.items():
            assert (other.root / name.replace("__", "/")).read_text() == content
        order.clear()
        one.send()
        one.fetch()
        assert not order and (one.root / "shards/x").exists()  # nothing has changed


def test_what_was_sent_in_part_is_not_taken(bucket, machines, monkeypatch):
    one, other = machines
    write_data(one, tfds__a="1", tfds__b="1").send()
    write_data(one, tfds__a="2", tfds__b="2")
    objects, put = bucket[1], bucket[1].put

    def killed(name, data):
        put(name, data)
        if name.endswith("tfds/a"):
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(objects, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            one.send()
    assert not one.done.exists()
    other.fetch()
    assert not other.root.exists()
    one.fetch()
    one.send()
    other.fetch()
    assert (other.root / "tfds/b").read_text() == "2"


def test_shards_outlive_the_fetch_after_a_kill(machines):
    """Killed while it assembled changed documents: the manifest here is gone, that in the bucket is of the old ones."""
    one, _ = machines
    write_data(one).send()
    write_data(one, **{"shards__new.jsonl": "cut", "shards__assembled.json": "new"})
    (one.root / "store" / "half").touch()
    one.manifest.unlink()
    with sole_owner(one.root, "run"):
        one.fetch()
        assert owner(one.root, "run") == os.getpid()
    names = {str(path.relative_to(one.root)) for path in one.root.rglob("*") if path.is_file()}
    assert names == {"manifest.json", "store/tokens", "shards/new.jsonl", ".run.lock"}


def test_one_owner(bucket, monkeypatch):
    path, _ = bucket
    with sole_owner(path, "pretrain"):
        assert owner(path, "pretrain") == os.getpid() and owner(path, "build_index") is None
        with pytest.raises(UserError, match="already running there"), sole_owner(path, "pretrain"):
            pass
    assert owner(path, "pretrain") is None
    (path / ".pretrain.lock").write_text(json.dumps({"owner": ["host", 7], "at": 0.0}))  # killed long ago
    with sole_owner(path, "pretrain"):
        pass
    gone = subprocess.Popen(["true"])
    gone.wait()
    (path / ".pretrain.lock").write_text(json.dumps({"owner": [socket.gethostname(), gone.pid], "at": time.time()}))
    assert owner(path, "pretrain") is None  # killed on this machine just now


@pytest.mark.parametrize("text", ["nothing://bucket/run", "s3://bucket/run"])
def test_what_nothing_reads_is_named(text, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"nothing is installed that reads"):
        path_of(text)


def test_weights_are_imported_locally(bucket, world):
    with pytest.raises(UserError, match="gcloud storage rsync"):
        import_weights(world.config, Workdir(bucket[0] / "run"), ["x"])


def test_metrics_are_there_when_flushed_and_go_on_after_a_kill(bucket, tmp_path, monkeypatch):
    path, _ = bucket
    stage = StageDir(path / "run" / "pretrain")
    first = MetricsWriter(stage, "pretrain", 4, 1)
    first.write(1, {"loss/total": 3.0})
    first.flush()
    first.write(2, {"loss/total": 2.0})  # and dies
    assert [line["step"] for line in read_metrics(stage.metrics)] == [1]
    first._file.close()
    first._board.close()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    with MetricsWriter(stage, "pretrain", 4, 1, resume_at=1) as second:
        second.write(2, {"loss/total": 2.5})
    lines = read_metrics(stage.metrics)
    assert [(line["step"], line["loss/total"]) for line in lines] == [(1, 3.0), (2, 2.5)]


def test_snapshots(bucket):
    path, objects = bucket
    vectors = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    for step in (0, 2, 4):
        snapshots.publish_snapshot(path, step, vectors + step, kind="exact", fingerprint="f")
    assert snapshots.list_steps(path, "f") == [0, 2, 4]
    np.testing.assert_array_equal(snapshots.load(path, 4, "f").vectors, vectors + 4)
    assert snapshots.remove_old(path, keep=1) == [2] and snapshots.list_steps(path) == [0, 4]
    digests = np.arange(18, dtype=np.uint64).reshape(9, 2)
    snapshots.publish_snapshot(path, 5, vectors, kind="exact", fingerprint="f", embedder="e", digests=digests)
    known = snapshots.known_vectors(path, "e")
    np.testing.assert_array_equal(known[0], digests), np.testing.assert_array_equal(known[1], vectors)
    with pytest.raises(snapshots.SnapshotError, match="no such snapshot"):
        snapshots.load(path, 2)
    objects.put("bucket/4/vectors.npy", objects.get("bucket/4/vectors.npy")[:-1] + b"x")
    remote.remove(remote.mirror(path / "4"))
    with pytest.raises(snapshots.SnapshotError, match="damaged"):
        snapshots.load(path, 4)


def test_checkpoints(bucket):
    path, objects = bucket
    params = {"embedder": {"kernel": jax.numpy.arange(6.0)}, "reader": {"kernel": jax.numpy.ones(3)}}
    state = State(params, {"mean": jax.numpy.zeros(2)})
    writer = CheckpointWriter(path / "checkpoints", keep=2)
    for step in (0, 1, 2):
        writer.save(step, state, {"data": step, "probes": []}, None)
        writer.wait()
    writer.close()
    assert checkpoints.steps(path / "checkpoints") == [1, 2]
    restored, position = checkpoints.restore(path / "checkpoints", 2, state)
    assert same(restored.params, params) and position == {"data": 2, "probes": []}
    assert same(checkpoints.restore_part(path / "checkpoints", 1, "embedder", params["embedder"]), params["embedder"])
    workdir = Workdir(path)
    write_json(workdir.stage("finetune").done, {"step": 2})
    writer = CheckpointWriter(workdir.stage("finetune").checkpoints, keep=2)
    for step in (1, 2):
        writer.save(step, state, {"data": step, "probes": []}, None)
    writer.close()
    prune(workdir, "finetune")
    left = [name for name in objects.names() if "finetune/checkpoints/" in name]
    assert left and all("checkpoints/2/" in name and "/optimizer/" not in name for name in left)
    objects.delete("bucket/checkpoints/2/commit_success.txt")  # killed while it was written
    assert checkpoints.steps(path / "checkpoints") == [1]


@pytest.mark.usefixtures("one_device")
def test_every_job_of_a_run_each_on_a_machine_of_its_own(bucket, tmp_path, monkeypatch, capsys):
    """What a job finds it finds in the bucket: local copies are gone before each."""
    _, objects = bucket
    vocab, corpus, questions = tmp_path / "vocab.txt", tmp_path / "corpus.jsonl", tmp_path / "questions.jsonl"
    vocab.write_text("".join(f"{piece}\n" for piece in small.VOCAB))
    pairs = list(zip(small.COUNTRIES, small.CAPITALS))
    articles = [{"title": name, "text": f"The capital of the country is {city}."} for name, city in pairs]
    asked = [{"question": f"What is the capital of {name}?", "answers": [city]} for name, city in pairs]
    corpus.write_text("".join(json.dumps(article) + "\n" for article in articles))
    questions.write_text("".join(json.dumps(question) + "\n" for question in asked))
    options = [*shlex.split(TINY), "--model.vocab", str(vocab), "--model.bert.vocab_size", str(len(small.VOCAB))]
    options += [
        "--data.source",
        "jsonl",
        "--data.path",
        str(corpus),
        "--data.processes",
        "1",
        "--index.refresh",
        "inline",
    ]
    options += [word for split in ("train", "dev", "test") for word in (f"--questions.{split}", str(questions))]
    options += shlex.split("--pretrain.steps 2 --pretrain.checkpoint_every 1 --pretrain.candidates 3")
    options += shlex.split("--pretrain.batch_size 2 --evaluation.heldout_queries 4")
    jobs = ("prepare", "pretrain", "build_index", "finetune", "evaluate", "report")
    for job in jobs:
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        source = ["experiments/own_documents.py", "--workdir", "gs://bucket/run", *options]
        words = source if job == "prepare" else ["gs://bucket/run"]  # the record has the rest
        assert cli.main([job, *words]) == 0, capsys.readouterr().err
    run = Workdir(path_of("gs://bucket/run"))
    names = objects.names("bucket/run/")
    assert not [name for name in names if ".tmp" in name or ".lock" in name or ".parts" in name]
    assert read_json(run.stage("pretrain").done)["last_step"] == 2
    assert snapshots.list_steps(run.stage("pretrain").snapshots) == [0, 1, 2]
    assert [line["step"] for line in read_metrics(run.stage("pretrain").metrics)][-1] == 2
    assert any(name.startswith("bucket/run/pretrain/tensorboard/events") for name in names)
    assert "<html" in (run.report / "index.html").read_text() and read_json(run.evaluation / "results.json")
    assert cli.main(["ask", "gs://bucket/run", "What is the capital of Jura?"]) == 0
    assert "answer: " in capsys.readouterr().out
