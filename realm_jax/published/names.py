"""The names of the tensors of each kind of model in Hugging Face's format, and their places in our parameters.

A layout is a dict from a tensor's name to its path and shape. The path begins with `params` for tensors that a forward
pass uses, or with `unused` for those that the format carries and no forward pass reads: the embedder's and the reader's
masked-LM head, whose decoder was never trained, and the poolers of encoder and reader. Linear layers are [out, in] in
files.
"""

import dataclasses
import re
from collections.abc import Collection, Iterable

from realm_jax.config import Bert, Model

VECTORS = "block_emb"
IGNORED = re.compile(r"(^|\.)embeddings\.position_ids$|^cls\.seq_relationship\.")
"""Tensors that nobody needs: the numbers 0, 1, 2, ... in files of 2022, and BERT's head for the next sentence."""
Path = tuple[str, ...]
Shape = tuple[int, ...]
Layout = dict[str, tuple[Path, Shape]]


@dataclasses.dataclass(frozen=True)
class Names:
    """A kind's tensors, and those that a file may leave out because they are others under a second name."""

    tensors: Layout
    aliases: dict[str, str]
    """{name: the tensor that it is}."""


def names_of(kind: str, bert: Bert, model: Model, labels: int = 0, has: Collection[str] = ()) -> Names:
    """The tensors that a file of this kind has.

    Args:
      labels: outputs of a plain BERT's token-classification head.
      has: which of the parts are there that may be missing: `pooler`, `head`, `classifier` and `answer_ends` of a plain
        BERT, `query_embedder` of a scorer.
    """
    if kind == "bert":
        return _bert(bert, labels, has)
    if kind == "embedder":
        return _embedder(bert, model)
    if kind == "encoder":
        layout = _trunk(bert, "realm.", ("params", "trunk")) | _pooler(bert, "realm.", ("unused", "pooler"))
        return Names(layout | _head(bert, ("params", "head")), _tied_decoder("realm."))
    if kind == "reader":
        return _reader(bert, model)
    second = {"open_qa": "reader", "scorer": "query_embedder"}[kind]
    parts = [_within(_embedder(bert, model), "embedder")]
    if kind == "open_qa" or second in has:
        parts.append(_within(_reader(bert, model) if kind == "open_qa" else _embedder(bert, model), second))
    return Names(
        {name: place for part in parts for name, place in part.tensors.items()},
        {name: other for part in parts for name, other in part.aliases.items()},
    )


def recognise(found: set[str]) -> str:
    """The kind that a file's names speak of; for files whose config.json does not say it."""
    if VECTORS in found or any(name.startswith("reader.") for name in found):
        return "open_qa"
    if any(name.startswith(("embedder.", "query_embedder.")) for name in found):
        return "scorer"
    if not any(name.startswith("realm.") for name in found):
        return "bert"
    if any(name.startswith("qa_outputs.") for name in found):
        return "reader"
    return "embedder" if "cls.dense.weight" in found else "encoder"


def optional_parts(found: Iterable[str]) -> set[str]:
    """Which parts that may be missing (see `names_of`) a file's names speak of."""
    prefixes = {
        "pooler": "pooler.",
        "classifier": "classifier.",
        "answer_ends": "qa_outputs.",
        "head": "cls.predictions.",
        "query_embedder": "query_embedder.",
    }
    return {part for part, prefix in prefixes.items() if any(name.startswith(prefix) for name in found)}


def _bert(bert: Bert, labels: int, has: Collection[str]) -> Names:
    layout = _trunk(bert, "", ("params", "trunk"))
    if "pooler" in has:
        layout |= _pooler(bert, "", ("params", "pooler"))
    if "classifier" in has:
        layout |= _dense("classifier", ("params", "classifier"), bert.hidden_size, labels)
    if "answer_ends" in has:
        layout |= _dense("qa_outputs", ("params", "answer_ends"), bert.hidden_size, 2)
    if "head" in has:
        return Names(layout | _head(bert, ("params", "head")), _tied_decoder(""))
    return Names(layout, {})


def _embedder(bert: Bert, model: Model) -> Names:
    layout = _trunk(bert, "realm.", ("params", "trunk")) | _pooler(bert, "realm.", ("params", "pooler"))
    layout |= _dense("cls.dense", ("params", "projection"), bert.hidden_size, model.vector_size)
    layout |= _norm("cls.LayerNorm", ("params", "norm"), model.vector_size)
    return Names(layout | _untied_head(bert), {"cls.predictions.decoder.bias": "cls.predictions.bias"})


def _reader(bert: Bert, model: Model) -> Names:
    layout = _trunk(bert, "realm.", ("params", "trunk")) | _pooler(bert, "realm.", ("unused", "pooler"))
    layout |= _dense("qa_outputs.dense_intermediate", ("params", "ends"), bert.hidden_size, 2 * model.span_hidden_size)
    layout |= _norm("qa_outputs.layer_normalization", ("params", "norm"), model.span_hidden_size)
    layout |= _dense("qa_outputs.dense_output", ("params", "output"), model.span_hidden_size, 1)
    return Names(layout | _untied_head(bert), {"cls.predictions.decoder.bias": "cls.predictions.bias"})


def _within(names: Names, part: str) -> Names:
    """A model as part of a larger one."""
    tensors = {f"{part}.{name}": ((path[0], part, *path[1:]), shape) for name, (path, shape) in names.tensors.items()}
    return Names(tensors, {f"{part}.{name}": f"{part}.{other}" for name, other in names.aliases.items()})


def _trunk(bert: Bert, prefix: str, path: Path) -> Layout:
    size, layout = bert.hidden_size, {}
    rows = {"word": bert.vocab_size, "position": bert.max_positions, "token_type": 2}
    for name, key in (("word", "word"), ("position", "position"), ("token_type", "segment")):
        layout[f"{prefix}embeddings.{name}_embeddings.weight"] = (*path, "embeddings", key), (rows[name], size)
    layout |= _norm(f"{prefix}embeddings.LayerNorm", (*path, "embeddings", "norm"), size)
    for i in range(bert.num_layers):
        name, at = f"{prefix}encoder.layer.{i}", (*path, f"layer_{i}")
        for key in ("query", "key", "value"):
            layout |= _dense(f"{name}.attention.self.{key}", (*at, "attention", key), size, size)
        layout |= _dense(f"{name}.attention.output.dense", (*at, "attention", "output"), size, size)
        layout |= _norm(f"{name}.attention.output.LayerNorm", (*at, "attention", "norm"), size)
        layout |= _dense(f"{name}.intermediate.dense", (*at, "intermediate"), size, bert.intermediate_size)
        layout |= _dense(f"{name}.output.dense", (*at, "output"), bert.intermediate_size, size)
        layout |= _norm(f"{name}.output.LayerNorm", (*at, "norm"), size)
    return layout


def _pooler(bert: Bert, prefix: str, path: Path) -> Layout:
    return _dense(f"{prefix}pooler.dense", path, bert.hidden_size, bert.hidden_size)


def _head(bert: Bert, path: Path) -> Layout:
    layout = _dense("cls.predictions.transform.dense", (*path, "transform"), bert.hidden_size, bert.hidden_size)
    layout |= _norm("cls.predictions.transform.LayerNorm", (*path, "norm"), bert.hidden_size)
    return layout | {"cls.predictions.bias": ((*path, "bias"), (bert.vocab_size,))}


def _untied_head(bert: Bert) -> Layout:
    decoder = (("unused", "head", "decoder"), (bert.vocab_size, bert.hidden_size))
    return _head(bert, ("unused", "head")) | {"cls.predictions.decoder.weight": decoder}


def _tied_decoder(prefix: str) -> dict[str, str]:
    return {
        "cls.predictions.decoder.weight": f"{prefix}embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }


def _dense(name: str, path: Path, inputs: int, outputs: int) -> Layout:
    return {
        f"{name}.weight": ((*path, "kernel"), (outputs, inputs)),
        f"{name}.bias": ((*path, "bias"), (outputs,)),
    }


def _norm(name: str, path: Path, size: int) -> Layout:
    return {f"{name}.weight": ((*path, "scale"), (size,)), f"{name}.bias": ((*path, "bias"), (size,))}
