"""Small random models of every published kind."""

import dataclasses

import numpy as np

from realm_jax import published
from realm_jax.config import Bert, Model
from realm_jax.published import names

BERT = Bert(29, 12, 1, 3, 20, 17, "gelu_new", 1e-12, 0.1)
MODEL = Model(weights="random", vector_size=6, span_hidden_size=7, max_span_width=4, span_eps=2e-3)
LABELS = ("O", "B-PER", "I-PER")
PASSAGES = [b"The capital is Oslo.", "Zürich".encode(), b"", b"\xff\x00", b"x" * 300]
KINDS = {
    "embedder": ("embedder", ()),
    "scorer": ("scorer", ()),
    "scorer of two": ("scorer", ("query_embedder",)),
    "encoder": ("encoder", ()),
    "reader": ("reader", ()),
    "open_qa": ("open_qa", ()),
    "bert": ("bert", ()),
    "bert with all heads": ("bert", ("pooler", "head", "classifier", "answer_ends")),
}
"""{what it is: its kind and the parts it has of those that may be missing}."""


def make(kind, has=(), bert=BERT, model=MODEL, seed=0, **fields):
    """A model whose every tensor is random, LayerNorm weights too."""
    rng = np.random.default_rng(seed)
    labels = LABELS if "classifier" in has else ()
    tree = {"params": {}, "unused": {}}
    for path, shape in names.names_of(kind, bert, model, len(labels), has).tensors.values():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        shape = shape[::-1] if path[-1] == "kernel" else shape
        node[path[-1]] = (path[-1] == "scale") + 0.3 * rng.normal(size=shape).astype(np.float32)
    if kind == "open_qa":
        count = len(fields.get("passages", PASSAGES))
        vectors = rng.normal(size=(count, model.vector_size)).astype(np.float32)
        fields = {"vectors": vectors, "passages": PASSAGES} | fields
    model = model if kind != "bert" else Model(weights="random")
    return published.Published(kind, bert, model, **tree, labels=labels, **fields)


def leaves(tree, path=()):
    """{path: array}."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {name: leaf for key, value in tree.items() for name, leaf in leaves(value, (*path, key)).items()}


def check_same(one, other):
    """Every field is equal, arrays bit for bit."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("params", "unused"):
            a, b = leaves(a), leaves(b)
            assert list(sorted(a)) == list(sorted(b))
            for path in a:
                assert a[path].dtype == b[path].dtype == np.float32, path
                np.testing.assert_array_equal(a[path], b[path], str(path))
        elif field.name == "vectors":
            assert (a is None) == (b is None)
            assert a is None or np.array_equal(a, b)
        elif field.name == "passages":
            assert list(a or []) == list(b or [])
        elif field.name not in ("vocab", "settings"):
            assert a == b, field.name
