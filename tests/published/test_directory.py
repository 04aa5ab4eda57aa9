"""Published folders: what is read, what is written, and what is refused with which words."""

import json

import numpy as np
import pytest
import safetensors.numpy

from realm_jax import published
from realm_jax.config import Bert
from realm_jax.errors import UserError
from tests.published import small, torch_files

FILE = "model.safetensors"


def file_of(tmp_path, kind, **changes):
    """A folder and its tensors by name."""
    folder = tmp_path / "model"
    published.save(folder, small.make(*small.KINDS[kind], **changes))
    return folder, safetensors.numpy.load_file(folder / FILE)


def rewrite(folder, tensors):
    safetensors.numpy.save_file(tensors, folder / FILE)


def edit_config(folder, **changes):
    values = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


@pytest.mark.parametrize("kind", small.KINDS)
def test_what_is_saved_is_loaded(tmp_path, kind):
    model = small.make(*small.KINDS[kind])
    published.save(tmp_path / "once", model)
    once = published.load(tmp_path / "once")
    small.check_same(model, once)
    published.save(tmp_path / "twice", once)
    twice = published.load(tmp_path / "twice")
    small.check_same(once, twice)
    assert once.settings == twice.settings
    for file in (tmp_path / "once").iterdir():
        assert file.read_bytes() == (tmp_path / "twice" / file.name).read_bytes()


@pytest.mark.parametrize(
    "kind, legacy", [*((kind, False) for kind in small.KINDS), ("scorer", True), ("open_qa", True)]
)
def test_files_of_2022(tmp_path, kind, legacy):
    """pytorch_model.bin with position_ids, tied tensors under both names, a setting that nobody reads."""
    folder, tensors = file_of(tmp_path, kind)
    want = published.load(folder)
    trunks = [
        name.removesuffix("word_embeddings.weight") for name in tensors if name.endswith("word_embeddings.weight")
    ]
    tensors |= {f"{trunk}position_ids": np.arange(17)[None] for trunk in trunks}
    shared = [(name, name.replace(".bias", ".decoder.bias")) for name in tensors if name.endswith("predictions.bias")]
    if kind in ("encoder", "bert with all heads"):
        word = next(name for name in tensors if name.endswith("word_embeddings.weight"))
        shared.append((word, "cls.predictions.decoder.weight"))
    if kind == "scorer":
        names = [*tensors, *(second for _, second in shared)]
        shared += [(name, f"query_{name}") for name in names if name.startswith("embedder.")]
    (folder / FILE).unlink()
    torch_files.save(folder / "pytorch_model.bin", tensors, legacy, shared)
    edit_config(folder, searcher_seq_len=64)
    small.check_same(want, published.load(folder))


def test_a_tied_scorer_has_one_embedder(tmp_path):
    params = published.load(file_of(tmp_path, "scorer")[0]).params
    assert params["query_embedder"] is params["embedder"]


def test_tensors_have_their_published_names_and_orientation(tmp_path):
    """A few, written down from the format's description."""
    model = small.make("open_qa")
    published.save(tmp_path / "m", model)
    tensors = safetensors.numpy.load_file(tmp_path / "m" / FILE)
    embedder, reader = model.params["embedder"], model.params["reader"]
    layer = embedder["trunk"]["layer_0"]
    for name, leaf in {
        "embedder.realm.embeddings.token_type_embeddings.weight": embedder["trunk"]["embeddings"]["segment"],
        "embedder.realm.encoder.layer.0.intermediate.dense.weight": layer["intermediate"]["kernel"].T,
        "embedder.realm.encoder.layer.0.attention.output.LayerNorm.weight": layer["attention"]["norm"]["scale"],
        "embedder.realm.pooler.dense.bias": embedder["pooler"]["bias"],
        "embedder.cls.dense.weight": embedder["projection"]["kernel"].T,
        "embedder.cls.LayerNorm.bias": embedder["norm"]["bias"],
        "reader.qa_outputs.dense_intermediate.weight": reader["ends"]["kernel"].T,
        "reader.qa_outputs.layer_normalization.weight": reader["norm"]["scale"],
        "reader.qa_outputs.dense_output.weight": reader["output"]["kernel"].T,
        "reader.realm.encoder.layer.0.attention.self.key.bias": reader["trunk"]["layer_0"]["attention"]["key"]["bias"],
        "block_emb": model.vectors,
    }.items():  # fmt: skip
        np.testing.assert_array_equal(tensors[name], leaf, name)
    assert tensors["reader.qa_outputs.dense_intermediate.weight"].shape == (14, 12)
    values = json.loads((tmp_path / "m" / "config.json").read_text())
    wanted = {"architectures": ["RealmForOpenQA"], "retriever_proj_size": 6, "span_hidden_size": 7, "max_span_width": 4}
    wanted |= {"reader_layer_norm_eps": 2e-3, "num_block_records": 5, "hidden_act": "gelu_new", "model_type": "realm"}
    assert wanted.items() <= values.items()


@pytest.mark.parametrize("kind", [kind for kind in small.KINDS if not kind.startswith("bert")])
def test_the_kind_is_recognised_by_names_alone(tmp_path, kind):
    folder, _ = file_of(tmp_path, kind)
    edit_config(folder, architectures=None)
    assert published.load(folder).kind == small.KINDS[kind][0]


def test_weights_in_parts_and_of_16_bits(tmp_path):
    folder, tensors = file_of(tmp_path, "encoder")
    want = published.load(folder)
    (folder / FILE).unlink()
    files = {}
    for number, name in enumerate(tensors):
        files[name] = f"model-0000{number % 2 + 1}-of-00002.safetensors"
    for file in set(files.values()):
        safetensors.numpy.save_file({n: t for n, t in tensors.items() if files[n] == file}, folder / file)
    (folder / f"{FILE}.index.json").write_text(json.dumps({"weight_map": files}))
    small.check_same(want, published.load(folder))
    (folder / f"{FILE}.index.json").write_text('{"weight_map": []}')
    with pytest.raises(UserError, match=r"index.json: names no tensors"):
        published.load(folder)
    rewrite(folder, {name: tensor.astype(np.float16) for name, tensor in tensors.items()})
    for path, leaf in small.leaves(published.load(folder).params).items():
        np.testing.assert_allclose(leaf, small.leaves(want.params)[path], rtol=2e-3, atol=1e-6)


def test_own_models_are_given_back_whole(tmp_path):
    """The format has tensors that ours lack: they are written, as zeros, so that no library misses one."""
    full = small.make("reader")
    bare = published.Published("reader", full.bert, full.model, full.params)
    published.save(tmp_path / "m", bare)
    small.check_same(bare, published.load(tmp_path / "m"))
    assert not any(leaf.any() for leaf in small.leaves(bare.unused).values())
    assert set(small.leaves(bare.unused)) == set(small.leaves(full.unused))


@pytest.mark.parametrize(
    "kind, change, message",
    [
        ("embedder", lambda t: t.pop("cls.dense.bias"), r"missing: cls.dense.bias \[6\]"),
        ("embedder", lambda t: t.pop("cls.predictions.decoder.weight"), r"missing: cls.predictions.decoder.weight"),
        ("encoder", lambda t: t.pop("realm.pooler.dense.weight"), r"missing: realm.pooler.dense.weight \[12, 12\]"),
        ("scorer of two", lambda t: t.pop("query_embedder.cls.dense.bias"), "missing: query_embedder.cls.dense.bias"),
        ("reader", lambda t: t.update(more=np.zeros(3, np.float32)), r"not expected: more \[3\]"),
        ("reader", lambda t: t.update({"qa_outputs.dense_output.bias": np.zeros(2, np.float32)}), r"is \[2\], .*\[1\]"),
        ("bert", lambda t: t.update({"pooler.dense.bias": np.zeros(12, np.float32)}), "missing: pooler.dense.weight"),
        ("bert", lambda t: t.update({"bert.embeddings.LayerNorm.bias": np.zeros(12, np.float32)}), "is there twice"),
        ("encoder", lambda t: t.update({"cls.predictions.decoder.bias": np.ones(29, np.float32)}), "is not cls.predic"),
        ("encoder", lambda t: t.update({"cls.predictions.bias": np.zeros(29, np.int32)}), "wrong type: .* is int32"),
        ("open_qa", lambda t: t.pop("block_emb"), r"missing: block_emb \[N, 6\]"),
        ("open_qa", lambda t: t.update(block_emb=np.zeros((5, 6))), r"block_emb is float64 .* float32 \[N, 6\]"),
        ("open_qa", lambda t: t.update(block_emb=np.zeros((5, 7), np.float32)), r"float32 \[5, 7\]; .* \[N, 6\]"),
        ("open_qa", lambda t: t.update(block_emb=np.zeros((4, 6), np.float32)), "4 vectors, .* has 5 passages"),
    ],
)  # fmt: skip
def test_wrong_tensors(tmp_path, kind, change, message):
    folder, tensors = file_of(tmp_path, kind)
    change(tensors)
    rewrite(folder, tensors)
    with pytest.raises(UserError, match=message):
        published.load(folder)


def test_all_differences_are_listed_at_once(tmp_path):
    folder, tensors = file_of(tmp_path, "embedder")
    tensors["surplus"] = tensors.pop("cls.LayerNorm.bias")
    rewrite(folder, tensors)
    with pytest.raises(UserError) as error:
        published.load(folder)
    assert "missing: cls.LayerNorm.bias" in str(error.value) and "not expected: surplus" in str(error.value)


def test_another_model_says_what_it_lacks(tmp_path):
    folder, _ = file_of(tmp_path, "encoder")
    edit_config(folder, architectures=["RealmReader"])
    with pytest.raises(UserError, match=r"not the reader that config.json describes(.|\n)*missing: qa_outputs"):
        published.load(folder)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"hidden_act": "relu"}, "hidden_act is 'relu'; it must be one of gelu, gelu_new"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'; .* only 'absolute'"),
        ({"model_type": "roberta"}, "model_type is 'roberta'; only 'bert' and 'realm'"),
        ({"hidden_size": "12"}, "hidden_size is '12'; it must be a whole number above 0"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"num_attention_heads": 5}, "num_attention_heads 5 does not divide hidden_size 12"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps is 'small'; it must be a number"),
        ({"retriever_proj_size": 0}, "retriever_proj_size is 0"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan; it must be a number"),
        ({"hidden_act": ["gelu"]}, r"hidden_act is \['gelu'\]; it must be one of gelu, gelu_new"),
        ({"id2label": ["O", "B-PER"]}, r"id2label is \['O', 'B-PER'\]; it must be an object, such as"),
        ({"id2label": {"O": 0}}, "id2label is {'O': 0}; it must be an object, such as"),
        ({"architectures": "RealmForOpenQA"}, "architectures is 'RealmForOpenQA'; it must be a list"),
        ({"architectures": 3}, "architectures is 3; it must be a list"),
        ({"num_block_records": "5"}, "num_block_records is '5'; it must be a whole number above 0"),
        ({"reader_beam_size": "5"}, "reader_beam_size is '5'; it must be a whole number above 0"),
        ({"reader_seq_len": 1.5}, "reader_seq_len is 1.5; it must be a whole number above 0"),
        ({"num_block_records": 6}, "5 vectors, but .* has 5 passages and config.json says num_block_records 6"),
    ],
)
def test_wrong_config(tmp_path, changes, message):
    folder, _ = file_of(tmp_path, "open_qa")
    edit_config(folder, **changes)
    with pytest.raises(UserError, match=message):
        published.load(folder)


def test_a_vocabulary_of_another_size(tmp_path):
    folder, _ = file_of(tmp_path, "embedder")
    (folder / "vocab.txt").write_text("".join(f"p{i}\n" for i in range(30)))
    with pytest.raises(UserError, match="vocab.txt: 30 wordpieces, but .*config.json says vocab_size 29"):
        published.load(folder)


def test_missing_and_broken_files(tmp_path):
    folder, _ = file_of(tmp_path, "open_qa")
    records = (folder / "block_records.npy").read_bytes()
    (folder / "block_records.npy").unlink()
    with pytest.raises(UserError, match="block_records.npy: is missing"):
        published.load(folder)
    (folder / "block_records.npy").write_bytes(records)
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[:-100])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        published.load(folder)
    (folder / FILE).unlink()
    with pytest.raises(UserError, match="holds neither model.safetensors nor pytorch_model.bin"):
        published.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="config.json: not valid JSON"):
        published.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="config.json is missing"):
        published.load(folder)


def test_nothing_half_written_is_left_by_save(tmp_path):
    model = small.make("open_qa", passages=small.PASSAGES[:4], vectors=np.zeros((5, 6), np.float32))
    with pytest.raises(UserError, match="5 vectors, 4 passages"):
        published.save(tmp_path / "m", model)
    del model.params["reader"]["ends"]
    with pytest.raises(UserError, match="missing: params/reader/ends/bias"):
        published.save(tmp_path / "m", model)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "m").mkdir()
    with pytest.raises(UserError, match="is there already"):
        published.save(tmp_path / "m", small.make("embedder"))


def test_sizes_become_our_settings(tmp_path):
    folder, _ = file_of(tmp_path, "open_qa")
    edit_config(folder, layer_norm_eps=1e-6, reader_beam_size=3)
    model = published.load(folder)
    assert model.bert == Bert(29, 12, 1, 3, 20, 17, "gelu_new", 1e-6, 0.1)
    assert (model.model.vector_size, model.model.projection_eps, model.model.span_eps) == (6, 1e-6, 2e-3)
    assert model.settings["reader_beam_size"] == 3
