"""Published weights become a workdir from which every job goes on."""

import dataclasses
import json
import re
import shutil
import struct

import jax
import numpy as np
import pytest

from realm_jax import published
from realm_jax.config import Finetune, Pretrain
from realm_jax.corpus import tfrecord
from realm_jax.errors import UserError
from realm_jax.importing import published_run, weight_folders
from realm_jax.index import snapshots
from realm_jax.jobs import cli
from realm_jax.published import variables
from realm_jax.runtime.settings_record import read_record
from realm_jax.training import results
from realm_jax.training.index_builder import next_step
from realm_jax.training.train_stage import task_of
from realm_jax.workdir import Workdir
from tests import world as toy
from tests.importing.commands import opened, realm
from tests.published import small
from tests.trees import same

ARTICLES = list(toy.articles())
BERT = dataclasses.replace(small.BERT, vocab_size=len(toy.VOCAB), max_positions=64)
QUESTION = "What is the capital of Jura?"


pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An open-QA folder, one with ORQA's record files, one with an embedder, one with an encoder."""
    root = tmp_path_factory.mktemp("published")
    vocab = root / "vocab.txt"
    toy.write_vocab(vocab)
    passages = [article.text.encode() for article in ARTICLES]
    for seed, kind in enumerate(("open_qa", "embedder", "encoder")):
        fields = {"passages": passages} if kind == "open_qa" else {}
        published.save(root / kind, small.make(kind, bert=BERT, seed=seed, vocab=vocab, **fields))
    (root / "blocks").mkdir()
    write_tfrecords(root / "blocks" / "blocks.tfr", passages)
    write_tfrecords(root / "blocks" / "titles.tfr", [article.title.encode() for article in ARTICLES])
    return root


def write_tfrecords(path, records):
    with open(path, "wb") as file:
        for data in records:
            for part in (struct.pack("<Q", len(data)), data):
                file.write(part + struct.pack("<I", tfrecord.masked_crc(part)))


def write_questions(folder):
    """Files of questions, and the options that name them."""
    for split in toy.SPLITS:
        lines = [{"question": q.question, "answer": list(q.answers)} for q in toy.questions(split)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [word for split in toy.SPLITS for word in (f"--questions.{split}", folder / f"{split}.jsonl")]


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    """A workdir out of the open-QA folder alone."""
    workdir = tmp_path_factory.mktemp("run") / "nq"
    assert realm("import_weights", "--source", folders / "open_qa", "--workdir", workdir) == 0
    return workdir


def test_parameters_vectors_and_passages_are_the_published_ones(folders, run):
    model, experiment = published.load(folders / "open_qa"), opened(run)
    for stage, part, shapes, want in (
        ("pretrain", "embedder", "", model.params["embedder"]),
        ("finetune", "embedder", "", model.params["embedder"]),
        ("finetune", "reader", "span_reader", model.params["reader"]),
        ("pretrain", "reader", "", {"trunk": model.params["reader"]["trunk"]}),
    ):
        found = results.restore_result(experiment.workdir, stage, part, experiment.models, shapes)
        assert same({name: found[name] for name in want}, want)
    snapshot = snapshots.load(experiment.workdir.stage("pretrain").snapshots, 0, experiment.store.fingerprint)
    np.testing.assert_array_equal(snapshot.vectors[:-1], model.vectors)
    null = experiment.models.embed(
        model.params["embedder"], experiment.store.rows(slice(experiment.store.null_id, None))
    )
    np.testing.assert_array_equal(snapshot.vectors[-1:], null)
    assert len(experiment.texts) == experiment.store.num_passages == len(ARTICLES)
    for row, article in enumerate(ARTICLES):
        text = experiment.texts[row]
        assert (text.title, text.text) == ("", article.text)
        wanted = [101, 102, *experiment.tokenizer.encode(article.text).ids, 102]
        tokens = experiment.store.rows(np.int32(row))
        assert tokens[: len(wanted)].tolist() == wanted and not tokens[len(wanted) :].any()


def test_settings_are_the_sources(folders, run):
    config = read_record(Workdir(run)).config
    assert dataclasses.replace(config.model.bert, dropout=0.1) == BERT
    assert (config.model.vector_size, config.model.span_hidden_size, config.model.span_eps) == (6, 7, 2e-3)
    assert (config.finetune.steps, config.pretrain.steps, config.index.kind) == (0, 0, "exact")
    assert (config.finetune.labels, config.finetune.beam, config.finetune.read) == ("bytes", len(ARTICLES), 5)


def test_ask_answers_at_once(run, capfd):
    assert realm("ask", run, QUESTION, "--passages", 3) == 0
    said = capfd.readouterr().out
    assert said.startswith("answer: ") and said.count("p(z|x)") == 3
    answer = said.removeprefix("answer: ").split("   (p ")[0]
    assert answer and any(answer in article.text for article in ARTICLES)
    assert realm("ask", run, "The capital of Jura is [MASK].") == 0


def test_evaluate_measures_what_was_imported(folders, tmp_path, capfd):
    """The two commands of docs/published_weights.md: the import brings the questions too."""
    workdir, options = tmp_path / "nq", write_questions(tmp_path)
    test_only = options[options.index("--questions.test") :]
    assert realm("import_weights", "--source", folders / "open_qa", "--workdir", workdir, *test_only) == 0
    assert realm("evaluate", workdir) == 0, capfd.readouterr().err
    results = json.loads((workdir / "evaluation" / "results.json").read_text())
    assert 0 <= results["qa/exact_match"] <= 1 and results["qa/labels"] == "bytes"
    assert results["retrieval/recall@5"] == results["retrieval/recall@5_zero_shot"] > 0
    assert not any(name.startswith("bm25/") for name in results)


@pytest.mark.parametrize("more", [(), ("--predictions", "answers.jsonl")])
def test_evaluate_without_questions_says_so(run, capfd, more):
    """Nor does it send the user to `prepare`, which has nothing to do."""
    assert realm("prepare", run) == 0
    assert realm("evaluate", run, *more) == 2
    error = capfd.readouterr().err
    assert "this run has no questions; add them by the job `prepare` with --questions.test FILE" in error


def test_fine_tuning_goes_on_from_the_published_reader(folders, tmp_path):
    workdir = tmp_path / "nq"
    options = ("--finetune.steps", 1, "--finetune.beam", 6, "--finetune.read", 2, "--finetune.batch_size", 8)
    options += tuple(write_questions(tmp_path))
    assert realm("import_weights", "--source", folders / "open_qa", "--workdir", workdir, *options) == 0
    experiment = opened(workdir)
    assert not experiment.workdir.stage("finetune").done.exists()
    start = task_of("finetune", experiment).init(jax.random.key(0))
    model = published.load(folders / "open_qa")
    assert same(start, {"embedder": model.params["embedder"], "reader": model.params["reader"]})
    assert realm("finetune", workdir) == 0
    found = results.restore_result(experiment.workdir, "finetune", "reader", experiment.models, "span_reader")
    assert not same(found, model.params["reader"])


def test_fine_tuning_may_leave_the_published_span_scorer(folders, tmp_path):
    """`finetune.reader weights` is the masked-LM reader of the sources, on which a new scorer begins."""
    workdir = tmp_path / "nq"
    options = ("--finetune.reader", "weights", "--finetune.steps", 1, *write_questions(tmp_path))
    given = ("--source", folders / "encoder", folders / "open_qa")
    assert realm("import_weights", *given, "--workdir", workdir, *options) == 0
    start = task_of("finetune", opened(workdir)).init(jax.random.key(0))
    encoder, model = published.load(folders / "encoder"), published.load(folders / "open_qa")
    assert same(start["reader"]["trunk"], encoder.params["trunk"])
    assert not same(start["reader"]["output"], model.params["reader"]["output"])
    assert same(start["embedder"], model.params["embedder"])


def test_pre_training_goes_on_with_its_index(folders, tmp_path):
    """Published passages with ORQA's titles are the text too; the builder starts behind the imported snapshot."""
    workdir = tmp_path / "more"
    options = ("--pretrain.steps", 1, "--pretrain.candidates", 3, "--pretrain.probe_queries", 0,
               "--pretrain.batch_size", 8, "--index.swap_after", 0, "--data.heldout_fraction", 0.2)  # fmt: skip
    given = (folders / "open_qa", folders / "encoder", folders / "blocks")
    assert realm("import_weights", "--source", *given, "--workdir", workdir, *options) == 0
    experiment = opened(workdir)
    assert experiment.texts[3].title == ARTICLES[3].title
    stage = experiment.workdir.stage("pretrain")
    assert not stage.done.exists() and not experiment.workdir.stage("finetune").done.exists()
    start = results.start_of_pretraining(experiment)(jax.random.key(0))
    assert same(start["embedder"], published.load(folders / "open_qa").params["embedder"])
    assert realm("pretrain", workdir) == 0
    assert next_step(experiment.config, stage, experiment.store.fingerprint) == 1
    assert realm("build_index", workdir) == 0
    assert snapshots.list_steps(stage.snapshots) == [0, 1]


def test_an_embedder_and_an_encoder_begin_an_experiment(folders, world, tmp_path, monkeypatch):
    """With the corpus of an experiment: the index is built from the imported embedder."""
    experiment_file = tmp_path / "toy.py"
    experiment_file.write_text("from tests import world\ndef get_config():\n    return CONFIG\n")
    base = world.settings(pretrain=Pretrain(), finetune=Finetune(joint_length=56, beam=10, read=3))
    monkeypatch.setattr(cli, "load_experiment", lambda path: base)
    workdir = tmp_path / "both"
    given = (folders / "embedder", folders / "encoder")
    assert realm("import_weights", experiment_file, "--source", *given, "--workdir", workdir) == 0
    experiment = opened(workdir)
    assert experiment.config.data == base.data
    encoder = published.load(folders / "encoder")
    start = results.start_of_pretraining(experiment)(jax.random.key(0))
    assert same(start["reader"], encoder.params)
    assert not (workdir / "data").exists()
    stage = experiment.workdir.stage("pretrain")
    assert stage.done.exists() and next_step(experiment.config, stage, experiment.store.fingerprint) == 0
    assert realm("build_index", workdir) == 0
    vectors = snapshots.load(stage.snapshots, 0, experiment.store.fingerprint).vectors
    want = experiment.models.embed(start["embedder"], experiment.store.rows(slice(2, 3)))
    np.testing.assert_allclose(vectors[2:3], want, rtol=1e-4, atol=1e-5)


def test_an_import_that_was_stopped_goes_on(folders, tmp_path, monkeypatch, capfd):
    workdir = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(published_run, "_import_vectors", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert realm("import_weights", "--source", folders / "open_qa", "--workdir", workdir) == 130
    assert not (workdir / "pretrain" / "done.json").exists()
    store = (workdir / "data" / "store" / "tokens.npy").stat()
    for job in (("ask", workdir, QUESTION), ("pretrain", workdir), ("build_index", workdir), ("prepare", workdir)):
        capfd.readouterr()
        assert realm(*job) == 2
        again = f"import_weights {workdir} --source {folders / 'open_qa'}"
        assert f"has not been finished; run `realm {again}`" in capfd.readouterr().err
    assert realm("import_weights", "--source", folders / "open_qa", folders / "encoder", "--workdir", workdir) == 2
    assert "sources.json says" in capfd.readouterr().err
    assert realm("import_weights", workdir, "--source", folders / "open_qa") == 0
    assert (workdir / "data" / "store" / "tokens.npy").stat().st_ino == store.st_ino
    assert realm("ask", workdir, QUESTION) == 0


def test_a_refused_import_leaves_nothing(folders, tmp_path, capfd):
    """What can be told before the settings are recorded is; the corrected command then begins."""
    workdir, given = tmp_path / "run", ("--source", folders / "open_qa", "--workdir", tmp_path / "run")
    for options, message in (
        (("--questions.test", tmp_path / "none.jsonl"), "none.jsonl: cannot be read"),
        (("--finetune.steps", 4), "finetune.steps: 4, but there are no training questions; name them by --questions.t"),
        (("--pretrain.steps", 4, "--pretrain.probe_queries", 0), "pretrain.steps: the sources have no titles"),
        (("--model.vector_size", 3), "--source: embedder: checkpoint of another architecture; other shapes: norm/bias"),
    ):
        assert realm("import_weights", *given, *options) == 2
        assert message in capfd.readouterr().err
        assert not workdir.exists()
    assert realm("import_weights", *given) == 0


@pytest.mark.parametrize("how", ["failed", "killed"])
def test_another_import_may_follow_one_that_made_nothing_whole(folders, tmp_path, monkeypatch, how):
    workdir = tmp_path / "run"
    first = broken(folders, tmp_path, lambda f: cut(f / "blocks" / "titles.tfr", 10))
    with monkeypatch.context() as patch:
        if how == "killed":
            patch.setattr(published_run, "write_store", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        code = realm("import_weights", "--source", *first, "--workdir", workdir)
    assert code == {"failed": 2, "killed": 130}[how]
    assert (workdir / "config.json").exists()
    options = ("--source", folders / "open_qa", "--workdir", workdir, "--finetune.read", 4)
    assert realm("import_weights", *options) == 0
    assert opened(workdir).config.finetune.read == 4
    assert (workdir / "config.json").exists() and realm("import_weights", *options) == 0
    assert realm("import_weights", "--source", *first, "--workdir", workdir) == 2


def test_help_shows_the_settings_of_an_import(capfd):
    with pytest.raises(SystemExit):
        realm("import_weights", "--help-all")
    said = re.sub(r"[\s│]+", " ", capfd.readouterr().out)
    for option, default in (("data.passage_length", 320), ("index.kind", "exact"), ("pretrain.steps", 0)):
        assert re.search(rf"--{option} .*?\(default: (\S+)\)", said)[1] == str(default)


def broken(folders, tmp_path, change):
    """Copies of the open-QA and the record files, one of them damaged."""
    for name in ("open_qa", "blocks", "encoder"):
        shutil.copytree(folders / name, tmp_path / name)
    change(tmp_path)
    return [tmp_path / "open_qa", tmp_path / "blocks"]


def without_a_number(path):
    """Overwrites the published vectors of passages 7 and 9."""
    model = published.load(path)
    vectors = np.array(model.vectors)
    vectors[[7, 9], 3] = np.nan
    changed = dataclasses.replace(model, vectors=vectors, passages=list(model.passages), vocab=None)
    vocab = (path / "vocab.txt").read_bytes()
    shutil.rmtree(path)
    published.save(path, changed)
    (path / "vocab.txt").write_bytes(vocab)


def edit_config(folder, **changes):
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(values))


def cut(path, size=30):
    path.write_bytes(path.read_bytes()[:-size])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: shutil.rmtree(f / "open_qa"), "open_qa' is no folder"),
        (lambda f: cut(f / "open_qa" / "model.safetensors"), "cannot be read as safetensors"),
        (lambda f: cut(f / "open_qa" / "block_records.npy"), "block_records.npy: byte .*cut short"),
        (lambda f: (f / "open_qa" / "vocab.txt").write_text("x\n" * 999), "vocab.txt: 999 wordpieces, but"),
        (lambda f: without_a_number(f / "open_qa"),
         r"model.safetensors: block_emb: 2 of 22 vectors are not finite, the first in row 7 .*; fetch the file again"),
        (lambda f: (f / "open_qa" / "vocab.txt").unlink(), "--source: none has a vocab.txt"),
        (lambda f: (f / "open_qa" / "vocab.txt").write_text("x\n" * len(toy.VOCAB)), r"vocab.txt: lacks \[PAD\]"),
        (lambda f: edit_config(f / "open_qa", reader_seq_len=4), r"by its config.json, .*_length: \d is out of range"),
        (lambda f: edit_config(f / "open_qa", num_candidates=1), "config.json, pretrain.candidates: 1 is out of range"),
        (lambda f: edit_config(f / "open_qa", reader_beam_size=[]), r"config.json: reader_beam_size is \[\]; it must"),
        (lambda f: cut(f / "blocks" / "titles.tfr", 10), "titles.tfr: record 21 at byte"),
        (lambda f: write_tfrecords(f / "blocks" / "titles.tfr", [b"one"]), "titles.tfr: 1 titles, but .*has more"),
        (lambda f: write_tfrecords(f / "blocks" / "titles.tfr", [b"t"] * 23), "more titles than .*has passages"),
        (lambda f: write_tfrecords(f / "blocks" / "titles.tfr", [b"t", b"\xff"]), "record 1: no UTF-8 at its byte 0"),
    ],
)  # fmt: skip
def test_bad_sources(folders, tmp_path, capfd, change, message):
    given = broken(folders, tmp_path, change)
    workdir = tmp_path / "run"
    assert realm("import_weights", "--source", *given, "--workdir", workdir) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert re.search(message, error), error
    for later in ("pretrain/done.json", "finetune/done.json", "data/manifest.json"):
        assert not (workdir / later).exists()
    assert realm("ask", workdir, QUESTION) == 2


def test_sources_that_do_not_fit_together(folders, tmp_path, monkeypatch):
    folder = tmp_path / "other"
    published.save(folder, small.make("encoder", bert=dataclasses.replace(BERT, hidden_size=15)))
    with pytest.raises(UserError, match="hidden_size=15.*another source is .*hidden_size=12.*sizes must agree"):
        weight_folders.gather([folders / "open_qa", folder])
    with pytest.raises(UserError, match=r"no vectors \(block_emb\) beside the others"):
        weight_folders.gather([folders / "embedder", folders / "blocks"])
    with monkeypatch.context() as patch:
        patch.setattr(weight_folders, "_encoded", lambda folder: np.zeros((22, 6), np.float32))
        with pytest.raises(UserError, match="vectors without the embedder that made them"):
            weight_folders.gather([folders / "encoder", folders / "blocks"])
    with pytest.raises(UserError, match="none of .*blocks holds a model"):
        weight_folders.gather([folders / "blocks"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no published model"):
        weight_folders.gather([tmp_path / "empty"])
    published.save(tmp_path / "two", small.make("scorer", ("query_embedder",)))
    with pytest.raises(UserError, match="two is a scorer with two embedders"):
        weight_folders.gather([tmp_path / "two"])
    published.save(tmp_path / "ner", small.make("bert", ("classifier",), bert=BERT))
    with pytest.raises(UserError, match="ner is a BERT without a masked-LM head"):
        weight_folders.gather([tmp_path / "ner"])


def test_titles_may_lie_alone(folders, tmp_path):
    shutil.copy(folders / "blocks" / "titles.tfr", tmp_path)
    passages = weight_folders.gather([folders / "open_qa", tmp_path]).passages
    assert list(passages) == [(article.title, article.text) for article in ARTICLES]


def test_the_folder_of_vectors_may_be_a_source(folders, tmp_path, monkeypatch):
    """ORQA's `encoded/`, named by itself: what is in it is no model."""
    vectors = np.zeros((len(ARTICLES), 6), np.float32)
    stored = {"encoded.ckpt": {"block_emb": vectors}}
    monkeypatch.setattr(
        variables,
        "open_checkpoint",
        lambda prefix: (
            {name: array.shape for name, array in stored[prefix.name].items()},
            stored[prefix.name].__getitem__,
        ),
    )
    (tmp_path / "encoded").mkdir()
    (tmp_path / "encoded" / "encoded.ckpt.index").touch()
    for folder in (tmp_path / "encoded", tmp_path):
        parts = weight_folders.gather([folders / "embedder", folders / "blocks", folder])
        assert parts.vectors is vectors


def test_sources_have_one_vocabulary(folders, tmp_path):
    shutil.copytree(folders / "encoder", tmp_path / "encoder")
    vocab = tmp_path / "encoder" / "vocab.txt"
    pieces = vocab.read_text().split("\n")
    pieces[50], pieces[60] = pieces[60], pieces[50]
    vocab.write_text("\n".join(pieces))
    with pytest.raises(UserError) as caught:
        weight_folders.gather([folders / "open_qa", tmp_path / "encoder"])
    assert str(caught.value).startswith(
        f"--source: {vocab}:51: {pieces[50]!r}, but {folders / 'open_qa' / 'vocab.txt'} has {pieces[60]!r} there"
    )
    vocab.write_text("".join(f"{piece}\r\n" for piece in toy.VOCAB))
    assert weight_folders.gather([folders / "open_qa", tmp_path / "encoder"]).vocab == folders / "open_qa" / "vocab.txt"


def test_a_vocabulary_that_keeps_case_is_imported_as_such(folders, tmp_path):
    shutil.copytree(folders / "open_qa", tmp_path / "cased")
    (tmp_path / "cased" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert realm("import_weights", "--source", tmp_path / "cased", "--workdir", tmp_path / "run") == 0
    assert not opened(tmp_path / "run").tokenizer.lowercase


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere.txt", "model.vocab: '.*nowhere.txt' is no file; name a vocab.txt that goes with the sources"),
        ("folder", "model.vocab: '.*folder' is no file"),
        ("long.txt", "long.txt: 999 wordpieces, but the model of the sources says vocab_size"),
        ("other.txt", r"other.txt: lacks \[PAD\]"),
    ],
)
def test_a_wrong_vocabulary_is_named(folders, tmp_path, capfd, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "long.txt").write_text("x\n" * 999)
    (tmp_path / "other.txt").write_text("x\n" * len(toy.VOCAB))
    before = sorted(tmp_path.iterdir())
    given = ("--source", folders / "open_qa", "--workdir", tmp_path / "run", "--model.vocab", tmp_path / name)
    assert realm("import_weights", *given) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error and re.search(message, error), error
    assert sorted(tmp_path.iterdir()) == before


def test_a_vocabulary_may_be_named(folders, tmp_path):
    for part in ("open_qa", "own"):
        shutil.copytree(folders / "open_qa", tmp_path / part)
    (tmp_path / "open_qa" / "vocab.txt").unlink()
    given = ("--source", tmp_path / "open_qa", "--workdir", tmp_path / "run")
    assert realm("import_weights", *given, "--model.vocab", tmp_path / "own" / "vocab.txt") == 0
    assert not (tmp_path / "run" / "vocab.txt").exists()
    assert realm("ask", tmp_path / "run", QUESTION) == 0


def test_parts_alone_need_an_experiment(folders, tmp_path, capfd):
    assert realm("import_weights", "--source", folders / "encoder", "--workdir", tmp_path / "run") == 2
    error = capfd.readouterr().err
    assert "--source: only reader here; a run needs passages too" in error and "EXPERIMENT" in error
    assert not (tmp_path / "run").exists()


def test_without_a_source(tmp_path, capfd):
    assert realm("import_weights", "--workdir", tmp_path / "run") == 2
    assert "--source is missing" in capfd.readouterr().err
    assert realm("import_weights", "--source", tmp_path) == 2
    assert "--workdir: without an experiment there is no default" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


def test_remote_folders_are_copied_once(folders, tmp_path):
    """A folder that epath opens, which a bucket is too; the files keep their places."""
    (tmp_path / "remote" / "assets").mkdir(parents=True)
    shutil.copytree(folders / "embedder", tmp_path / "remote", dirs_exist_ok=True)
    shutil.move(tmp_path / "remote" / "vocab.txt", tmp_path / "remote" / "assets" / "vocab.txt")
    (tmp_path / "remote" / "README.md").touch()
    remote = str(tmp_path / "remote")
    local = weight_folders.copy_remote(remote, tmp_path / "local")
    names = sorted(str(path.relative_to(local)) for path in local.rglob("*") if path.is_file())
    assert names == ["assets/vocab.txt", "config.json", "model.safetensors"]
    small.check_same(published.load(local), published.load(folders / "embedder"))
    before = {path: path.stat().st_ino for path in local.rglob("*")}
    weight_folders.copy_remote(remote, local)
    assert before == {path: path.stat().st_ino for path in local.rglob("*")}
    with pytest.raises(UserError, match="holds nothing that can be imported"):
        weight_folders.copy_remote(str(tmp_path / "nothing"), tmp_path / "none")


def test_each_remote_folder_has_a_copy_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(weight_folders, "copy_remote", lambda source, target: target)
    given = ("gs://a/b-c", "gs://a/b_c", "gs://a/b/c", "gs://a/b.c", "gs://a/b")
    copies = [weight_folders.fetch(source, tmp_path) for source in given]
    assert len(set(copies)) == len(given) and {copy.parent for copy in copies} == {tmp_path}


def test_the_hub_gives_a_folder_or_a_message(folders, tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot_download(name, allow_patterns):
        asked.append((name, "config.json" in allow_patterns))
        if name == "google/none":
            raise huggingface_hub.errors.LocalEntryNotFoundError("no network\nat all")
        return str(folders / "embedder")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert weight_folders.fetch("google/realm-cc-news-pretrained-embedder", tmp_path) == folders / "embedder"
    assert asked == [("google/realm-cc-news-pretrained-embedder", True)]
    with pytest.raises(UserError, match=r"'google/none' is no folder, and the Hub does not give it \(no network\)"):
        weight_folders.fetch("google/none", tmp_path)
    with pytest.raises(UserError, match="'a/b/c' is no folder; it must be one, or gs://"):
        weight_folders.fetch("a/b/c", tmp_path)
    with pytest.raises(UserError, match="'nowhere://bucket/x' cannot be fetched"):
        weight_folders.fetch("nowhere://bucket/x", tmp_path)
