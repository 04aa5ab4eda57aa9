"""TensorFlow's variables by name, without TensorFlow."""

import sys

import numpy as np
import pytest

from realm_jax.errors import UserError
from realm_jax.published import variables
from tests.published import small


def in_tensorflow(kind, prefix="module/module/module/", reader="reader/module/", norm="LayerNorm", model=None):
    """A model's parameters by the names that TensorFlow has for them, written from the release's own naming."""
    model = model or small.make(kind)
    found = {}

    def dense(name, tree):
        found[f"{name}/kernel"], found[f"{name}/bias"] = tree["kernel"], tree["bias"]

    def layer_norm(name, tree):
        found[f"{name}/gamma"], found[f"{name}/beta"] = tree["scale"], tree["bias"]

    def trunk(name, tree):
        for key, ours in (("word", "word"), ("position", "position"), ("token_type", "segment")):
            found[f"{name}/embeddings/{key}_embeddings"] = tree["embeddings"][ours]
        layer_norm(f"{name}/embeddings/LayerNorm", tree["embeddings"]["norm"])
        for i in range(small.BERT.num_layers):
            layer, at = tree[f"layer_{i}"], f"{name}/encoder/layer_{i}"
            for key in ("query", "key", "value"):
                dense(f"{at}/attention/self/{key}", layer["attention"][key])
            dense(f"{at}/attention/output/dense", layer["attention"]["output"])
            layer_norm(f"{at}/attention/output/LayerNorm", layer["attention"]["norm"])
            dense(f"{at}/intermediate/dense", layer["intermediate"])
            dense(f"{at}/output/dense", layer["output"])
            layer_norm(f"{at}/output/LayerNorm", layer["norm"])

    def head(name, tree):
        found[f"{name}/predictions/output_bias"] = tree["bias"]
        dense(f"{name}/predictions/transform/dense", tree["transform"])
        layer_norm(f"{name}/predictions/transform/LayerNorm", tree["norm"])

    embedder = model.params["embedder"] if kind == "open_qa" else model.params
    unused = model.unused["embedder"] if kind == "open_qa" else model.unused
    trunk(f"{prefix}bert", embedder["trunk"])
    dense(f"{prefix}bert/pooler/dense", embedder["pooler"] if kind != "encoder" else unused["pooler"])
    head(f"{prefix}cls", unused["head"] if kind != "encoder" else model.params["head"])
    if kind != "encoder":
        outer = prefix.removesuffix("module/")
        dense(f"{outer}dense", embedder["projection"])
        layer_norm(f"{outer}{norm}", embedder["norm"])
    if kind == "open_qa":
        span_reader = model.params["reader"]
        trunk(f"{reader}bert", span_reader["trunk"])
        dense("reader/dense", span_reader["ends"])
        dense("reader/dense_1", span_reader["output"])
        layer_norm("reader/layer_normalization", span_reader["norm"])
    found["global_step"] = np.int64(7)
    found[f"{prefix}bert/embeddings/word_embeddings/adam_m"] = np.zeros((29, 12), np.float32)
    found["cls/seq_relationship/output_bias"] = np.zeros(2, np.float32)
    return model, found


def load(tmp_path, found, heads=3):
    (tmp_path / "config.json").write_text(f'{{"num_attention_heads": {heads}}}')
    shapes = {name: list(np.shape(array)) for name, array in found.items()}
    return variables.from_variables(shapes, found.__getitem__, tmp_path / "model.ckpt", tmp_path / "config.json")


def check(model, loaded):
    """Parameters are the same; of what no forward pass uses, what TensorFlow has is the same and the rest is zero."""
    wanted, found = small.leaves(model.params), small.leaves(loaded.params)
    assert set(wanted) == set(found)
    for path, leaf in wanted.items():
        np.testing.assert_array_equal(found[path], leaf, str(path))
    for path, leaf in small.leaves(loaded.unused).items():
        assert not leaf.any() or np.array_equal(leaf, small.leaves(model.unused)[path]), path
    assert loaded.kind == model.kind and loaded.bert == model.bert


@pytest.mark.parametrize("prefix", ["", "module/", "module/module/module/", "module_3/module/"])
def test_an_encoder(tmp_path, prefix):
    check(*(lambda model, found: (model, load(tmp_path, found)))(*in_tensorflow("encoder", prefix)))


@pytest.mark.parametrize("prefix", ["module/", "module/module/module/", "module/module/module/module/"])
def test_an_embedder(tmp_path, prefix):
    model, found = in_tensorflow("embedder", prefix)
    loaded = load(tmp_path, found)
    check(model, loaded)
    assert (loaded.model.vector_size, loaded.model.projection_eps) == (6, 1e-12)
    assert any(leaf.any() for leaf in small.leaves(loaded.unused).values())


def test_a_fine_tuned_model(tmp_path):
    model, found = in_tensorflow("open_qa", "module/module/module/module/")
    found["block_emb"] = model.vectors
    loaded = load(tmp_path, found)
    check(model, loaded)
    np.testing.assert_array_equal(loaded.vectors, model.vectors)
    assert loaded.passages is None and loaded.model.span_hidden_size == 7


def test_orqas_own_release_has_kerass_epsilon(tmp_path):
    model, found = in_tensorflow("embedder", "module/module/", norm="layer_normalization")
    loaded = load(tmp_path, found)
    check(model, loaded)
    assert loaded.model.projection_eps == 1e-3


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: v.pop("module/module/module/bert/pooler/dense/bias"), r"missing: realm.pooler.dense.bias \[12\]"),
        (lambda v: v.update({"module/mystery": np.zeros(3)}), r"not expected: module/mystery \[3\]"),
        (lambda v: v.pop("module/module/module/bert/embeddings/word_embeddings"), "no variable for realm.embeddings"),
        (lambda v: v.update({"module/module/dense/bias": np.zeros(4, np.float32)}), r"misshapen: cls.dense.weight is"),
    ],
)  # fmt: skip
def test_wrong_variables(tmp_path, change, message):
    _, found = in_tensorflow("embedder")
    change(found)
    with pytest.raises(UserError, match=message):
        load(tmp_path, found)


def test_heads_that_do_not_divide(tmp_path):
    with pytest.raises(UserError, match="hidden size 12 is no multiple of 5; .*num_attention_heads"):
        load(tmp_path, in_tensorflow("encoder")[1], heads=5)
    found = in_tensorflow("encoder")[1]
    shapes = {name: np.shape(array) for name, array in found.items()}
    with pytest.raises(UserError, match="hidden size 12 is no multiple of 64"):
        variables.from_variables(shapes, found.__getitem__, tmp_path / "model.ckpt")


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"num_attention_heads": "3"}', "config.json: num_attention_heads is '3'; it must be a whole number above 0"),
        ('{"num_attention_heads": -3}', "config.json: num_attention_heads is -3; it must be a whole number above 0"),
        ("[3]", "config.json: holds no JSON object"),
        ("num_attention_heads: 3", "config.json: not valid JSON"),
        ("{}", "hidden size 12 is no multiple of 64"),
    ],
)
def test_a_config_written_by_hand(tmp_path, content, message):
    """As a message about heads asks for one."""
    found = in_tensorflow("encoder")[1]
    (tmp_path / "config.json").write_text(content)
    shapes = {name: np.shape(array) for name, array in found.items()}
    with pytest.raises(UserError, match=message):
        variables.from_variables(shapes, found.__getitem__, tmp_path / "model.ckpt", tmp_path / "config.json")


def test_which_checkpoint_a_folder_has(tmp_path):
    assert variables.find_checkpoint(tmp_path) is None
    with pytest.raises(UserError, match="holds no variables of TensorFlow"):
        variables.load_checkpoint(tmp_path)
    best = tmp_path / "export" / "best_default" / "checkpoint"
    best.mkdir(parents=True)
    (best / "model.ckpt-80.index").touch()
    assert variables.find_checkpoint(tmp_path) == best / "model.ckpt-80"
    (tmp_path / "encoded.ckpt.index").touch()  # vectors, which are no model
    assert variables.find_checkpoint(tmp_path) == best / "model.ckpt-80"
    for step in (900, 1000):
        (tmp_path / f"model.ckpt-{step}.index").touch()
    assert variables.find_checkpoint(tmp_path) == tmp_path / "model.ckpt-1000"
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.index").touch()
    assert variables.find_checkpoint(tmp_path) == tmp_path / "variables" / "variables"


def test_without_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    (tmp_path / "model.ckpt-1.index").touch()
    with pytest.raises(UserError, match=r"not installed .*pip install 'realm_jax\[tensorflow\]'"):
        variables.load_checkpoint(tmp_path)
