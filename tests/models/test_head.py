"""How a text's vector is made of hidden vectors: against formulas in NumPy, and as folders of weights say it."""

import dataclasses
import json

import bert_files
import jax
import numpy as np
import pytest

from realm_jax import models, objectives
from realm_jax.config import Config, Data, Model
from realm_jax.errors import UserError
from realm_jax.models.head import AUTO, MINILM
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.jitted_models import Models
from realm_jax.workdir import Workdir

TOKENS = np.array([[5, 9, 7, 6, 0, 0], [5, 8, 6, 0, 0, 0], [5, 6, 9, 11, 12, 6]], np.int32)
ALL_AUTO = Model(pooling="auto", vector_size=0, normalize="auto", query_prefix="auto", passage_prefix="auto")
E5 = {"query": "query: ", "passage": "passage: "}


def folder_of(tmp_path, pooling=None, modules=(), prompts=None):
    """A small BERT as sentence-transformers writes it."""
    folder = bert_files.write(tmp_path / "model", bert_files.tensors())
    if pooling:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if modules:
        kinds = [{"idx": i, "type": f"sentence_transformers.models.{name}"} for i, name in enumerate(modules)]
        (folder / "modules.json").write_text(json.dumps(kinds))
    if prompts is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    return folder


def vectors(model, folder, rows=None):
    model = models.resolve_head(model, folder)
    params = models.embedder_params(jax.random.key(0), model, folder, rows)
    embed = jax.jit(models.Embedder(models.bert_config(model, folder), model).apply)
    return np.asarray(embed({"params": params}, TOKENS, np.zeros_like(TOKENS))), params


def by_hand(pooling):
    """[CLS], or the mean of what is no padding, of the last layer."""
    hidden = [bert_files.forward(bert_files.tensors(), row, np.zeros_like(row)) for row in TOKENS]
    if pooling == "cls":
        return np.stack([rows[0] for rows in hidden])
    return np.stack([rows[row != 0].mean(0) for rows, row in zip(hidden, TOKENS, strict=True)])


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("normalize", ["none", "cosine"])
def test_pooling_and_length_are_the_formulas(tmp_path, pooling, normalize):
    folder = folder_of(tmp_path)
    found, params = vectors(Model(str(folder), pooling=pooling, vector_size=0, normalize=normalize), folder)
    want = by_hand(pooling)
    if normalize == "cosine":
        want /= np.linalg.norm(want, axis=1, keepdims=True)
    assert set(params) == {"trunk"} and found.dtype == np.float32
    np.testing.assert_allclose(found, want, rtol=2e-4, atol=2e-5)


def test_a_smaller_vector_keeps_cosines_as_well_as_its_size_can(tmp_path):
    folder, kept = folder_of(tmp_path), []
    want = by_hand("mean") / np.linalg.norm(by_hand("mean"), axis=1, keepdims=True)
    for size in (2, 11):
        model = Model(str(folder), pooling="mean", vector_size=size, normalize="cosine")
        found, _ = vectors(model, folder, np.random.default_rng(0).integers(1, 29, (40, 6)))
        assert found.shape == (3, size)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
        kept.append(np.abs(found @ found.T - want @ want.T).max())
    assert kept[1] < 0.02 < kept[0]


def test_a_row_of_padding_alone_has_a_finite_gradient(tmp_path):
    folder = folder_of(tmp_path)
    model = models.resolve_head(Model(str(folder), pooling="mean", vector_size=0, normalize="cosine"), folder)
    params = models.embedder_params(jax.random.key(0), model, folder)
    embedder, empty = models.Embedder(models.bert_config(model, folder), model), np.zeros((1, 6), np.int32)
    gradient = jax.jit(jax.grad(lambda params: embedder.apply({"params": params}, empty, empty).sum()))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("pooling", "modules", "prompts", "want"),
    [
        (None, (), None, AUTO),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, ("Transformer", "Pooling", "Normalize"),
         None, AUTO | {"pooling": "cls", "normalize": "cosine"}),  # BGE
        ({"pooling_mode_mean_tokens": True}, ("Transformer", "Pooling"), E5,
         AUTO | {"pooling": "mean", "query_prefix": "query: ", "passage_prefix": "passage: "}),
        ({"pooling_mode": "mean"}, ("Transformer", "Pooling", "Normalize"), {"query": "", "document": "text: "},
         AUTO | {"pooling": "mean", "normalize": "cosine", "passage_prefix": "text: "}),
    ],
)  # fmt: skip
def test_auto_is_what_the_folder_says(tmp_path, pooling, modules, prompts, want):
    folder = folder_of(tmp_path, pooling, modules, prompts)
    found = models.resolve_head(dataclasses.replace(ALL_AUTO, weights=str(folder)), folder)
    assert {name: getattr(found, name) for name in AUTO} == want and found.vector_size == bert_files.H
    given = dataclasses.replace(ALL_AUTO, weights=str(folder), pooling="cls", query_prefix="ask: ", vector_size=5)
    found = models.resolve_head(given, folder)
    assert (found.pooling, found.query_prefix, found.vector_size) == ("cls", "ask: ", 5)


def test_auto_of_minilm_and_of_random_weights(tmp_path):
    minilm, folder = models.resolve_head(ALL_AUTO, folder_of(tmp_path)), None
    assert {name: getattr(minilm, name) for name in AUTO} == MINILM and MINILM["pooling"] == "mean"
    random = models.resolve_head(dataclasses.replace(ALL_AUTO, weights="random"), folder)
    assert {name: getattr(random, name) for name in AUTO} == AUTO and random.vector_size == 384


@pytest.mark.parametrize(
    ("pooling", "modules", "prompts", "problem"),
    [
        ({"pooling_mode_max_tokens": True}, (), None, "vectors are pooled by max_tokens; only cls and mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, (), None, "by cls_token, mean_tokens;"),
        ({"pooling_mode_cls_token": False}, (), None, "by nothing; only cls and mean"),
        ({"pooling_mode": "mean", "include_prompt": False}, (), E5, "include_prompt is false"),
        (None, ("Transformer", "Pooling", "Dense"), None, "modules.json: a module Dense is not computed here"),
        (None, (), {"query": 3}, "prompt 3 is no text; give model.query_prefix"),
    ],
)
def test_what_a_folder_wants_and_is_not_computed_is_refused(tmp_path, pooling, modules, prompts, problem):
    folder = folder_of(tmp_path, pooling, modules, prompts)
    with pytest.raises(UserError, match=problem):
        models.resolve_head(dataclasses.replace(ALL_AUTO, weights=str(folder)), folder)


def test_files_that_are_no_json_and_vectors_that_are_too_large(tmp_path):
    folder = folder_of(tmp_path)
    with pytest.raises(UserError, match="model.vector_size: 13, but with model.pooling mean .* at most the 12 numbers"):
        models.resolve_head(Model(str(folder), pooling="mean", vector_size=13), folder)
    (folder / "modules.json").write_text("[")
    with pytest.raises(UserError, match="modules.json: cannot be read"):
        models.resolve_head(dataclasses.replace(ALL_AUTO, weights=str(folder)), folder)
    (folder / "modules.json").write_text("{}")
    with pytest.raises(UserError, match="modules.json: holds no JSON list"):
        models.resolve_head(dataclasses.replace(ALL_AUTO, weights=str(folder)), folder)


def test_a_prefix_is_embedded_and_never_stored(tmp_path):
    """Queries and passages have their own; without one both are embedded alike, in one segment."""
    folder = folder_of(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(21)), "ask", "text", ":"]
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    tokenizer = Tokenizer.from_vocab(folder / "vocab.txt")

    def opened(length=16, **prefixes):
        data = Data(query_length=length, passage_length=length, joint_length=length + 2)
        model = Model(str(folder), pooling="mean", vector_size=0, normalize="cosine", **prefixes)
        return Models(Config(model=model, data=data), Workdir(tmp_path))

    plain, both = opened(), opened(12, query_prefix="ask: ", passage_prefix="text : text :")
    params = plain.embedder(jax.random.key(0), TOKENS)
    row, (ask,) = tokenizer.row(tokenizer.encode("w1 w2").ids, 8)[None], [tokenizer.encode("ask :").ids]
    np.testing.assert_array_equal(plain.embed(params, row), plain.embed_passages(params, row))
    longer = np.concatenate([row[:, :1], ask[None], row[:, 1:]], axis=1)
    np.testing.assert_allclose(both.embed(params, row), plain.embed(params, longer), rtol=1e-5, atol=1e-6)
    assert not np.allclose(both.embed(params, row), both.embed_passages(params, row), atol=1e-3)
    np.testing.assert_array_equal(both.embed_many_with(params)(row), both.embed(params, row))
    np.testing.assert_array_equal(both.embed_with(params)(row), both.embed_passages(params, row))
    with pytest.raises(UserError, match="data.query_length: 16 wordpieces and 2 of model.query_prefix 'ask: ', but"):
        opened(query_prefix="ask: ")


def test_the_scale_of_cosines_spreads_their_softmax():
    """Of cosines at scale 1 all passages are as good as equal; some 20 tells them apart, as inner products of the
    paper's vectors are told apart at 0.1."""
    cosines = np.linspace(0.2, 0.8, 50)[None]
    flat, spread = (np.exp(objectives.retrieval_log_probs(scale * cosines)).max() for scale in (1, 20))
    assert flat < 0.03 < 0.1 < spread < 0.9
