"""A small random BERT: as files in Hugging Face's format, and computed by NumPy alone."""

import json
import math

import numpy as np
import safetensors.numpy

V, H, LAYERS, HEADS, INNER, POSITIONS = 29, 12, 2, 3, 20, 17

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": V,
    "hidden_size": H,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "max_position_embeddings": POSITIONS,
    "layer_norm_eps": 1e-12,
    "hidden_dropout_prob": 0.3,
    "type_vocab_size": 2,
    "position_embedding_type": "absolute",
}


def tensors(seed=0, head=False):
    """{name: float32}, LayerNorm weights randomised too."""
    rng = np.random.default_rng(seed)
    out = {}

    def add(name, *shape, around=0.0):
        out[name] = (around + 0.3 * rng.normal(size=shape)).astype(np.float32)

    def dense(name, inputs, outputs):
        add(f"{name}.weight", outputs, inputs)
        add(f"{name}.bias", outputs)

    def norm(name):
        add(f"{name}.weight", H, around=1.0)
        add(f"{name}.bias", H)

    add("embeddings.word_embeddings.weight", V, H)
    add("embeddings.position_embeddings.weight", POSITIONS, H)
    add("embeddings.token_type_embeddings.weight", 2, H)
    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        for key in ("query", "key", "value"):
            dense(f"{layer}.attention.self.{key}", H, H)
        dense(f"{layer}.attention.output.dense", H, H)
        norm(f"{layer}.attention.output.LayerNorm")
        dense(f"{layer}.intermediate.dense", H, INNER)
        dense(f"{layer}.output.dense", INNER, H)
        norm(f"{layer}.output.LayerNorm")
    dense("pooler.dense", H, H)
    if head:
        add("cls.predictions.bias", V)
        dense("cls.predictions.transform.dense", H, H)
        norm("cls.predictions.transform.LayerNorm")
    return out


def write(folder, weights, config=None, vocab_size=V):
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | (config or {})))
    (folder / "vocab.txt").write_text("".join(f"piece{i}\n" for i in range(vocab_size)))
    return folder


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(w, name, x, eps=1e-12):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x, kind="gelu"):
    if kind == "gelu":
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def forward(w, tokens, segments, kind="gelu"):
    """Hidden vectors [T, H] of one row, in float64, written token by token from the formulas."""
    w = {name: value.astype(np.float64) for name, value in w.items()}
    x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.token_type_embeddings.weight"][segments]
    x = layer_norm(w, "embeddings.LayerNorm", x + w["embeddings.position_embeddings.weight"][: len(tokens)])
    keys, size = np.flatnonzero(tokens), H // HEADS
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        query, key, value = (linear(w, f"{layer}.attention.self.{name}", x) for name in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            for t in range(len(tokens)):
                scores = key[keys, part] @ query[t, part] / math.sqrt(size)
                weights = np.exp(scores - scores.max())
                mixed[t, part] = weights / weights.sum() @ value[keys, part]
        x = layer_norm(
            w, f"{layer}.attention.output.LayerNorm", x + linear(w, f"{layer}.attention.output.dense", mixed)
        )
        inner = gelu(linear(w, f"{layer}.intermediate.dense", x), kind)
        x = layer_norm(w, f"{layer}.output.LayerNorm", x + linear(w, f"{layer}.output.dense", inner))
    return x
