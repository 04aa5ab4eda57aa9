"""The models against an independent BERT in NumPy, and what they promise about padding and dropout."""

import dataclasses

import bert_files
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from realm_jax import models, objectives
from realm_jax.config import Bert, Model
from realm_jax.errors import UserError
from realm_jax.models import bert
from realm_jax.models.bert import compute_dtype, fused
from realm_jax.models.span_reader import body_of
from realm_jax.text import features

B, T, M, E, D, WIDTH = 4, 11, 5, 6, 7, 3
MODEL = Model(vector_size=E, span_hidden_size=D, max_span_width=WIDTH)


def rows(seed=0):
    """Tokens of pairwise different lengths, none of them full, and segments."""
    rng = np.random.default_rng(seed)
    tokens, segments = np.zeros((B, T), np.int32), np.zeros((B, T), np.int32)
    for b in range(B):
        tokens[b, : 4 + 2 * b] = rng.integers(1, bert_files.V, 4 + 2 * b)
        segments[b, 2 : 4 + 2 * b] = 1
    return tokens, segments


def randomised(params, seed=0):
    """Fresh parameters have zero biases and unit scales, which would hide mistakes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), params)


def run(module, params, *inputs):
    return jax.jit(module.apply)({"params": params}, *inputs)


@pytest.fixture(scope="module", params=["gelu", "gelu_new"])
def weights(request, tmp_path_factory):
    tensors = bert_files.tensors(head=True)
    folder = bert_files.write(tmp_path_factory.mktemp("bert") / "model", tensors, {"hidden_act": request.param})
    model = dataclasses.replace(MODEL, weights=str(folder))
    return tensors, folder, model, models.bert_config(model, folder), request.param


def test_embedder(weights):
    tensors, folder, model, bert, kind = weights
    params = models.embedder_params(jax.random.key(0), model, folder)
    params |= randomised({"projection": params["projection"], "norm": params["norm"]})
    tokens, segments = rows()
    got = run(models.Embedder(bert, model), params, tokens, segments)
    assert got.shape == (B, E)
    for b in range(B):
        pooled = np.tanh(
            bert_files.linear(tensors, "pooler.dense", bert_files.forward(tensors, tokens[b], segments[b], kind)[0])
        )
        x = pooled @ params["projection"]["kernel"] + params["projection"]["bias"]
        x = (x - x.mean()) / x.std() * params["norm"]["scale"] + params["norm"]["bias"]
        np.testing.assert_allclose(got[b], x, rtol=2e-4, atol=2e-5)


def test_reader(weights):
    tensors, folder, model, bert, kind = weights
    params = models.reader_params(jax.random.key(0), model, folder)
    tokens, segments = rows()
    positions = np.random.default_rng(1).integers(0, 4, (B, M))
    got = run(models.Reader(bert, model), params, tokens, segments, positions)
    assert got.shape == (B, M, bert_files.V)
    for b in range(B):
        x = bert_files.forward(tensors, tokens[b], segments[b], kind)[positions[b]]
        x = bert_files.gelu(bert_files.linear(tensors, "cls.predictions.transform.dense", x), kind)
        x = bert_files.layer_norm(tensors, "cls.predictions.transform.LayerNorm", x)
        want = x @ tensors["embeddings.word_embeddings.weight"].T + tensors["cls.predictions.bias"]
        np.testing.assert_allclose(got[b], want, rtol=2e-4, atol=5e-5)


def test_span_reader(weights):
    tensors, folder, model, bert, kind = weights
    params = models.span_reader_params(jax.random.key(0), model, folder)
    params |= randomised({key: params[key] for key in ("ends", "norm", "output")})
    tokens, segments = rows()
    got = run(models.SpanReader(bert, model), params, tokens, segments)
    params = jax.tree.map(np.asarray, params)
    table = features.span_table(T, WIDTH)
    assert got.shape == (B, len(table))
    for b in range(B):
        ends = (
            bert_files.forward(tensors, tokens[b], segments[b], kind) @ params["ends"]["kernel"]
            + params["ends"]["bias"]
        )
        body = np.flatnonzero(segments[b])[:-1]
        for (first, last), logit in zip(table, got[b], strict=True):
            if first not in body or last not in body:
                assert -11_000 < logit < -9_000
                continue
            x = np.maximum(ends[first, :D] + ends[last, D:], 0)
            x = (x - x.mean()) / np.sqrt(x.var() + 1e-3) * params["norm"]["scale"] + params["norm"]["bias"]
            want = x @ params["output"]["kernel"][:, 0] + params["output"]["bias"][0]
            assert logit == pytest.approx(float(want), rel=2e-4, abs=5e-5)


def test_body_is_what_join_says():
    passages = np.array(
        [[[101, 7, 102, 8, 9, 102, 0], [101, 102, 102, 0, 0, 0, 0], [101, 102, 5, 6, 7, 8, 102]]], np.int32
    )
    queries = np.array([[101, 3, 102, 0]], np.int32)
    for length in (5, 7, 10):
        _, segments, is_body = features.join(queries, passages, length)
        np.testing.assert_array_equal(body_of(segments[0]), is_body[0])


def small(dropout=0.0, **changes):
    bert = Bert(bert_files.V, 12, 1, 3, 20, 17, dropout=dropout)
    return dataclasses.replace(MODEL, weights="random", bert=bert, **changes)


@pytest.fixture(scope="module")
def random_models():
    model = small()
    kinds = {"embedder": models.Embedder, "reader": models.Reader, "span_reader": models.SpanReader}
    params = {
        "embedder": models.embedder_params(jax.random.key(0), model, None),
        "reader": models.reader_params(jax.random.key(1), model, None),
        "span_reader": models.span_reader_params(jax.random.key(2), model, None),
    }
    return {name: (kind(model.bert, model), params[name]) for name, kind in kinds.items()}


def inputs(name, tokens, segments):
    return (tokens, segments, np.zeros((len(tokens), M), np.int32)) if name == "reader" else (tokens, segments)


@pytest.mark.parametrize("name", ["embedder", "reader", "span_reader"])
def test_padding_gives_no_nan_and_changes_nothing(random_models, name):
    """Rows of nothing but padding are finite with their gradients; longer padding leaves vectors and logits alone."""
    module, params = random_models[name]
    tokens, segments = rows()
    tokens[0], segments[0] = 0, 0
    loss = jax.jit(jax.value_and_grad(lambda params, *row: module.apply({"params": params}, *row).sum()))
    got, gradient = loss(params, *inputs(name, tokens, segments))
    assert np.isfinite(got)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    if name != "span_reader":
        longer = (np.pad(part, ((0, 0), (0, 3))) for part in (tokens, segments))
        want = run(module, params, *inputs(name, tokens, segments))[1:]
        np.testing.assert_allclose(run(module, params, *inputs(name, *longer))[1:], want, rtol=1e-4, atol=1e-5)


def test_rows_do_not_touch_each_other(random_models):
    module, params = random_models["embedder"]
    tokens, segments = rows()
    together = run(module, params, tokens, segments)
    for b in range(B):
        alone = run(module, params, tokens[b : b + 1], segments[b : b + 1])
        np.testing.assert_allclose(together[b], alone[0], rtol=1e-4, atol=1e-5)


def test_dropout_counts_only_when_asked():
    model = small(dropout=0.5)
    params, module = models.embedder_params(jax.random.key(0), model, None), models.Embedder(model.bert, model)
    tokens, segments = rows()
    still = run(module, params, tokens, segments)
    np.testing.assert_array_equal(run(module, params, tokens, segments), still)
    drop = jax.jit(lambda params, rng, *row: module.apply({"params": params}, *row, False, rngs={"dropout": rng}))
    first, second = (drop(params, jax.random.key(seed), tokens, segments) for seed in (0, 1))
    assert not np.allclose(first, still, atol=1e-2)
    assert not np.allclose(first, second, atol=1e-2)


def test_bfloat16_computes_in_bfloat16_and_gives_float32(random_models):
    module, params = random_models["reader"]
    tokens, segments = rows()
    low = models.Reader(module.bert, small(compute_dtype="bfloat16"))
    arguments = inputs("reader", tokens, segments)
    want, got = (run(m, params, *arguments) for m in (module, low))
    assert got.dtype == jnp.float32
    assert 0 < np.abs(got - want).max() < 0.1


@pytest.mark.parametrize("platform, dtype", [("cpu", None), ("gpu", jnp.bfloat16), ("tpu", jnp.bfloat16)])
def test_auto_computes_in_bfloat16_on_accelerators_alone(monkeypatch, platform, dtype):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    assert compute_dtype(small()) == dtype
    assert compute_dtype(small(compute_dtype="float32")) is None
    query = jnp.zeros((2, 4, 3, 8), jnp.bfloat16)
    assert fused(query) == (platform == "gpu") and not fused(query.astype(jnp.float32)) and not fused(query[..., :4])


def test_fused_attention_is_given_what_the_plain_one_computes(random_models, monkeypatch):
    """The lengths of the rows stand for the mask. What stands at padding differs, and nobody reads it."""
    module, params = random_models["embedder"]
    tokens, segments = rows()
    want, plain, used = run(module, params, tokens, segments), jax.nn.dot_product_attention, []
    monkeypatch.setattr(bert, "fused", lambda query: True)

    def attention(*arrays, implementation, **settings):
        used.append(implementation)
        return plain(*arrays, implementation="xla", **settings)

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    np.testing.assert_allclose(run(module, params, tokens, segments), want, rtol=1e-4, atol=1e-5)
    assert used == ["cudnn"]


def test_activations_computed_again_give_the_same_gradient(random_models):
    module, params = random_models["reader"]
    again = models.Reader(module.bert, small(remat=True))
    arguments = inputs("reader", *rows())

    def gradient(module):
        return jax.jit(jax.grad(lambda params: module.apply({"params": params}, *arguments).var()))(params)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7), gradient(again), gradient(module))


def test_a_row_longer_than_the_positions_is_refused(random_models):
    module, params = random_models["embedder"]
    row = np.ones((1, 18), np.int32)
    with pytest.raises(
        UserError, match="rows of 18 tokens, but the trunk has only 17 positions; passage_length, query_length"
    ):
        module.apply({"params": params}, row, row)


def test_random_parameters_are_berts(random_models):
    """Truncated normal of 0.02; LayerNorm weights 1, biases 0; no two matrices alike; another seed, other numbers."""
    params = random_models["reader"][1]
    layer = params["trunk"]["layer_0"]
    for key in ("query", "key", "value", "output"):
        kernel = np.asarray(layer["attention"][key]["kernel"])
        assert 0.015 < kernel.std() < 0.02 and np.abs(kernel).max() <= 0.04
        assert not np.array_equal(kernel, layer["attention"]["query"]["kernel"]) or key == "query"
        assert not np.any(layer["attention"][key]["bias"])
    np.testing.assert_array_equal(layer["norm"]["scale"], 1)
    again, other = (models.reader_params(jax.random.key(seed), small(), None) for seed in (1, 7))
    jax.tree.map(np.testing.assert_array_equal, again, params)
    assert not np.allclose(other["trunk"]["embeddings"]["word"], params["trunk"]["embeddings"]["word"])


@pytest.mark.parametrize("name, option", [("embedder", "projection_eps"), ("span_reader", "span_eps")])
def test_epsilons_are_options(random_models, name, option):
    """An epsilon far above any variance shrinks what is normalised by its root: all but the bias goes."""
    module, params = random_models[name]
    tokens, segments = rows()
    large = type(module)(module.bert, small(**{option: 1e12}))
    params = params | {"norm": {"scale": params["norm"]["scale"], "bias": params["norm"]["bias"] + 0.25}}
    got = run(large, params, tokens, segments)
    if name == "embedder":
        np.testing.assert_allclose(got, 0.25, atol=1e-5)
    else:
        inside = np.asarray(got) > -1000
        want = 0.25 * params["output"]["kernel"].sum() + params["output"]["bias"][0]
        np.testing.assert_allclose(got[inside], want, atol=1e-5)


def test_spans_outside_the_body(random_models):
    """The two ways differ only for rows without a span inside the body, and neither gives NaN there."""
    module, params = random_models["span_reader"]
    tokens, segments = rows()
    segments[0] = 0
    minimum = models.SpanReader(module.bert, small(outside_spans="minimum"))
    original, least = (np.asarray(run(m, params, tokens, segments)) for m in (module, minimum))
    outside = original < -1000
    assert outside[0].all() and not outside[1:].all()
    np.testing.assert_array_equal(original[~outside], least[~outside])
    assert (least[outside] == np.finfo(np.float32).min).all()
    assert len(set(original[0])) > 1
    for logits in (original, least):
        loss = lambda logits: objectives.span_loss(logits[:1, None], np.zeros((1, 1, logits.shape[1]), bool)).sum()  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits) - 7.0)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)
