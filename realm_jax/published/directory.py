"""Published models in Hugging Face's format, read and written."""

import dataclasses
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from realm_jax.config import Bert, Model
from realm_jax.errors import UserError
from realm_jax.published import names, tensors
from realm_jax.published.names import Names
from realm_jax.published.records import RECORDS, Records, write_records
from realm_jax.published.sizes import CONFIG, COUNT, TOKENIZER, VOCAB, Sizes, check_vocab, read_sizes, write_sizes
from realm_jax.workdir import publish

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Published:
    """A model out of a folder. Its parameters are float32 NumPy arrays in nested dicts, as the modules take them.

    | kind | `params` | module of realm_jax.models |
    |---|---|---|
    | `embedder` | trunk, pooler, projection, norm | `Embedder` |
    | `scorer` | embedder, query_embedder (the same dict where they are one) | `Embedder`, twice |
    | `encoder` | trunk, head | `Reader` |
    | `reader` | trunk, ends, norm, output | `SpanReader` |
    | `open_qa` | embedder, reader | `Embedder`, `SpanReader` |
    | `bert` | trunk; pooler, head, classifier, answer_ends (of extractive question answering) where there are any |
      `Reader` where there is a head, `SpanReader` where there are answer_ends |
    """

    kind: str
    bert: Bert
    model: Model
    """Sizes above the trunk, and epsilons."""
    params: Params
    unused: Params = dataclasses.field(default_factory=dict)
    """Parts of the format that no forward pass uses: the masked-LM head of embedder and reader, the pooler of encoder
    and reader; under `embedder` and `reader` where the model has these parts."""
    vectors: np.ndarray | None = None
    """Of an open-QA model: float32 [N, E], one vector a passage, memory-mapped."""
    passages: Records | Sequence[bytes] | None = None
    """Of an open-QA model: the UTF-8 text of each passage, read from the file when it is asked for."""
    labels: tuple[str, ...] = ()
    """Of a token classifier: its outputs' names."""
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The other values of config.json."""
    vocab: Path | None = None
    """The vocab.txt in the folder, where there is one."""

    def __post_init__(self):
        if self.kind == "scorer":
            self.params.setdefault("query_embedder", self.params["embedder"])
        for path, shape in self.names().tensors.values():
            if path[0] == "unused":
                _put(self.unused, path[1:], np.zeros(shape, np.float32), replace=False)

    def names(self) -> Names:
        """The tensors that a file of this model has."""
        has = set(self.params)
        if self.params.get("query_embedder") is self.params.get("embedder"):
            has.discard("query_embedder")
        return names.names_of(self.kind, self.bert, self.model, len(self.labels), has)


def load(directory: str | Path) -> Published:
    """The model in a folder: config.json, and model.safetensors or pytorch_model.bin (or either in parts).

    Tensors that are others under a second name may be left out. Numbers of 16 and 64 bits become float32.

    Raises:
      UserError: a file is missing, damaged, or would run code; a tensor is missing, left over, of another shape or
        type (all are listed); vocabulary, vectors and passages do not fit each other.
    """
    directory = Path(directory)
    sizes = read_sizes(directory)
    vocab = directory / VOCAB if (directory / VOCAB).is_file() else None
    if vocab is not None:
        check_vocab(vocab, sizes.bert.vocab_size, str(directory / CONFIG))
    found, source = tensors.read(directory)
    kind = sizes.kind or names.recognise(set(found))
    if kind == "bert":
        found = _plain(found, source)
    found = {name: tensor for name, tensor in found.items() if not names.IGNORED.search(name)}
    if kind == "scorer":
        found = _one_embedder(found)
    expected = names.names_of(kind, sizes.bert, sizes.model, len(sizes.labels), names.optional_parts(found))
    vectors, passages = None, None
    if kind == "open_qa":
        passages = Records(directory / RECORDS)
        vectors = _vectors(found.pop(names.VECTORS, None), sizes, source, passages)
    return assemble(
        found, expected, source, kind, sizes.bert, sizes.model, vectors=vectors, passages=passages,
        labels=sizes.labels, settings=sizes.settings, vocab=vocab,
    )  # fmt: skip


def assemble(
    found: tensors.Tensors, expected: Names, source: Path, kind: str, bert: Bert, model: Model, **others
) -> Published:
    """A model out of tensors by their names in the format; `others` are fields of Published."""
    _untie(found, expected, source)
    _compare(found, expected, source, kind)
    tree: dict[str, Params] = {"params": {}, "unused": {}}
    for name, (path, _) in expected.tensors.items():
        tensor = np.array(found[name].T if path[-1] == "kernel" else found[name], np.float32, order="C")
        if path[0] == "params":
            _check_numbers(tensor, name, source)
        _put(tree, path, tensor)
    return Published(kind, bert, model, **tree, **others)


def _check_numbers(tensor: np.ndarray, name: str, source: Path) -> None:
    """Raises UserError if a tensor holds values that no training leaves behind."""
    if not np.isfinite(tensor).all():
        bad = int(tensor.size - np.isfinite(tensor).sum())
        raise UserError(f"{source}: {name}: {bad} of {tensor.size} numbers are not finite; fetch the file again")
    if name.endswith(".weight") and "token_type" not in name and not tensor.any():
        raise UserError(f"{source}: {name}: all {tensor.size} numbers are 0, as in weights never saved; fetch it again")


def save(directory: str | Path, model: Published, tokenizer: dict[str, Any] | None = None) -> None:
    """Writes a folder that `load` and Hugging Face's library read; it appears whole or not at all.

    Args:
      tokenizer: the content of tokenizer_config.json, where there shall be one.

    Raises:
      UserError: the folder is there already; parameters are missing, left over or misshapen; there are not as many
        passages as vectors.
    """
    target = Path(directory)
    if target.exists():
        raise UserError(f"{target}: is there already; name a new folder")
    with publish(target) as folder:
        expected = model.names()
        found = dict(_leaves(model, expected, target))
        if model.kind == "bert" and not {"head", "classifier", "answer_ends"}.isdisjoint(model.params):
            # Beside a head, Hugging Face's library wants the trunk's names with their prefix.
            heads = ("cls.", "classifier.", "qa_outputs.")
            found = {name if name.startswith(heads) else f"bert.{name}": tensor for name, tensor in found.items()}
        if model.kind == "open_qa":
            if len(model.passages) != len(model.vectors):
                raise UserError(f"{target}: {len(model.vectors)} vectors, {len(model.passages)} passages; one each")
            found[names.VECTORS] = model.vectors
            write_records(folder / RECORDS, model.passages, len(model.vectors))
        safetensors.numpy.save_file(found, folder / tensors.SAFETENSORS, metadata={"format": "pt"})
        settings = model.settings | ({COUNT: len(model.vectors)} if model.kind == "open_qa" else {})
        write_sizes(folder, model.kind, Sizes(model.kind, model.bert, model.model, model.labels, settings))
        if model.vocab is not None:
            shutil.copyfile(model.vocab, folder / VOCAB)
        if tokenizer is not None:
            (folder / TOKENIZER).write_text(json.dumps(tokenizer, indent=2) + "\n", encoding="utf-8")


def _leaves(model: Published, expected: Names, target: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The file's tensors out of the parameters, each of which has a place in the file."""
    given = {("params", *path): leaf for path, leaf in _flat(model.params)} | {
        ("unused", *path): leaf for path, leaf in _flat(model.unused)
    }
    if "query_embedder" not in {path[1] for path, _ in expected.tensors.values()}:
        given = {path: leaf for path, leaf in given.items() if path[1] != "query_embedder"}
    wanted = {path: (name, shape) for name, (path, shape) in expected.tensors.items()}
    oriented = {path: np.asarray(leaf).T if path[-1] == "kernel" else np.asarray(leaf) for path, leaf in given.items()}
    _differences(
        {"/".join(path): leaf.shape for path, leaf in oriented.items()},
        {"/".join(path): shape for path, (_, shape) in wanted.items()},
        f"{target}: not the parameters of kind {model.kind!r} that bert and model describe",
    )
    for path, leaf in oriented.items():
        yield wanted[path][0], np.ascontiguousarray(leaf, np.float32)


def _plain(found: tensors.Tensors, source: Path) -> tensors.Tensors:
    """A BERT's tensors by their names without prefix; files converted from TensorFlow still say gamma and beta."""
    plain: tensors.Tensors = {}
    for name, tensor in found.items():
        short = name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
        short = short.replace("LayerNorm.beta", "LayerNorm.bias")
        if short in plain:
            raise UserError(f"{source}: {short} is there twice, under another name too; one of the two must go")
        plain[short] = tensor
    return plain


def _one_embedder(found: tensors.Tensors) -> tensors.Tensors:
    """A scorer's tensors, without the second embedder where it is the first one again."""
    first = {name: tensor for name, tensor in found.items() if name.startswith("embedder.")}
    same = (np.array_equal(found.get(f"query_{name}"), tensor) for name, tensor in first.items())
    return first if len(found) == 2 * len(first) and all(same) else found


def _vectors(vectors: np.ndarray | None, sizes: Sizes, source: Path, passages: Records) -> np.ndarray:
    size = sizes.model.vector_size
    if vectors is None:
        raise UserError(f"{source}: missing: {names.VECTORS} [N, {size}], the passages' vectors")
    if vectors.dtype != np.float32 or vectors.shape[1:] != (size,):
        raise UserError(
            f"{source}: {names.VECTORS} is {vectors.dtype} {list(vectors.shape)}; by {CONFIG} it must be float32 "
            f"[N, {size}]"
        )
    count = sizes.settings.get(COUNT, len(vectors))
    if not len(vectors) == len(passages) == count:
        raise UserError(
            f"{source}: {len(vectors)} vectors, but {passages.path} has {len(passages)} passages and {CONFIG} says "
            f"{COUNT} {count}; they must agree"
        )
    return vectors


def _untie(found: tensors.Tensors, expected: Names, source: Path) -> None:
    """Takes out each tensor that is another one under a second name."""
    for name, target in expected.aliases.items():
        tensor = found.pop(name, None)
        if tensor is not None and not np.array_equal(tensor, found.setdefault(target, tensor)):
            raise UserError(f"{source}: {name} is not {target}; in this kind of model they are one tensor")


def _compare(found: tensors.Tensors, expected: Names, source: Path, kind: str) -> None:
    title = f"{source}: not the {kind} that {CONFIG} describes"
    types = [
        f"  wrong type: {name} is {tensor.dtype}; it must be float32, or another type of floats"
        for name, tensor in sorted(found.items())
        if name in expected.tensors and tensor.dtype.kind != "f" and tensor.dtype != tensors.BFLOAT16
    ]
    shapes = {name: shape for name, (_, shape) in expected.tensors.items()}
    _differences({name: tensor.shape for name, tensor in found.items()}, shapes, title, types)


def _differences(found: Mapping[str, tuple], expected: Mapping[str, tuple], title: str, more: Collection[str] = ()):
    """Raises UserError with both sides of every difference."""
    lines = [f"  missing: {name} {list(expected[name])}" for name in sorted(set(expected) - set(found))]
    lines += [f"  not expected: {name} {list(found[name])}" for name in sorted(set(found) - set(expected))]
    lines += [
        f"  misshapen: {name} is {list(found[name])}, by {CONFIG} it must be {list(expected[name])}"
        for name in sorted(set(found) & set(expected))
        if tuple(found[name]) != tuple(expected[name])
    ]
    lines += more
    if lines:
        raise UserError("\n".join([title, *lines]))


def _flat(tree: Params, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value


def _put(tree: Params, path: tuple[str, ...], leaf: Any, replace: bool = True) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    if replace or path[-1] not in tree:
        tree[path[-1]] = leaf
