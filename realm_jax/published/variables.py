"""TensorFlow's own releases of REALM and ORQA: the variables of a checkpoint or of a SavedModel, by name.

Names (google-research/language: realm, orqa). A module used within a module puts `module/` in front once more:

| variable | in Hugging Face's words |
|---|---|
| `module/.../bert/...`, `module/.../cls/...` | trunk and masked-LM head of the embedder, or of the encoder by itself |
| `module/.../dense`, `module/.../LayerNorm` | the embedder's projection and its LayerNorm |
| `module/.../layer_normalization` | the same in ORQA's own release, which takes Keras's epsilon |
| `reader/module/.../bert/...`, `.../cls/...` | the reader's trunk and head |
| `reader/dense`, `reader/layer_normalization`, `reader/dense_1` | the span scorer |
| `block_emb` (`encoded/encoded.ckpt`) | the passages' vectors |
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from realm_jax.config import Bert, Model
from realm_jax.errors import UserError
from realm_jax.published import names
from realm_jax.published.directory import Published, assemble
from realm_jax.published.sizes import CONFIG, VOCAB, check_vocab, read_config, whole

HEAD_SIZE = 64
"""Of every published BERT's attention heads; a checkpoint does not say how many there are."""
KERAS_EPS = 1e-3
VARIABLE = re.compile(
    r"(?P<reader>reader/)?(?:module(?:_\d+)?/)*"
    r"(?P<top>bert|cls|dense|dense_1|LayerNorm|layer_normalization(?:_\d+)?)/(?P<rest>.+)"
)
SKIPPED = re.compile(r"(^|/)(adam_[mv]|global_step|AdamWeightDecayOptimizer(_\d+)?)(/|$)|(^|/)cls/seq_relationship/")
"""An optimiser's variables in a checkpoint, and BERT's head for the next sentence."""
ENCODED = Path("encoded") / "encoded.ckpt"
Read = Callable[[str], np.ndarray]


def load_checkpoint(directory: Path) -> Published:
    """The model whose variables a folder holds; of kind `encoder`, `embedder` or `open_qa` (without passages).

    Raises:
      UserError: TensorFlow is not installed, or the variables are not those of one of these models.
    """
    prefix = find_checkpoint(directory)
    if prefix is None:
        raise UserError(f"{directory}: holds no variables of TensorFlow (*.index, checkpoint, variables/)")
    shapes, read = open_checkpoint(prefix)
    vocab = next((path for path in (directory / "assets" / VOCAB, directory / VOCAB) if path.is_file()), None)
    return from_variables(shapes, read, prefix, directory / CONFIG, vocab)


def load_vectors(prefix: Path) -> np.ndarray:
    """float32 [N, E], the passages' vectors of a checkpoint, in memory.

    Raises:
      UserError: TensorFlow is not installed, or the checkpoint has no such variable.
    """
    shapes, read = open_checkpoint(prefix)
    if names.VECTORS not in shapes:
        raise UserError(f"{prefix}: no variable {names.VECTORS}; there are {', '.join(sorted(shapes)[:5])}")
    return read(names.VECTORS)


def find_checkpoint(directory: Path) -> Path | None:
    """The prefix of the newest checkpoint in a folder, or of a SavedModel's variables; None where there is none."""
    if (directory / "variables" / "variables.index").is_file():
        return directory / "variables" / "variables"
    for folder in (directory, directory / "export" / "best_default" / "checkpoint"):
        found = {path.with_suffix("") for path in folder.glob("*.index")} - {folder / ENCODED.name}
        if found:
            return max(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])
    return None


def open_checkpoint(prefix: Path) -> tuple[Mapping[str, Sequence[int]], Read]:
    """{variable: shape}, and the function that reads one. The only use of TensorFlow."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError(
            f"{prefix}: TensorFlow's checkpoints are read by TensorFlow, which is not installed ({error}); run "
            "`pip install 'realm_jax[tensorflow]'`"
        ) from None
    try:
        reader = tf.train.load_checkpoint(str(prefix))
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise UserError(f"{prefix}: cannot be read as a checkpoint ({error}); fetch it again") from None
    return reader.get_variable_to_shape_map(), reader.get_tensor


def from_variables(
    shapes: Mapping[str, Sequence[int]], read: Read, where: Path, config_file: Path | None = None, vocab=None
) -> Published:
    """A model from variables by name.

    Args:
      shapes: of all variables.
      read: gives one.
      where: names the checkpoint in messages.
      config_file: a JSON file with `num_attention_heads`, where heads are not of size 64.
    """
    ported = {name: port_name(name) for name in shapes if name != names.VECTORS and not SKIPPED.search(name)}
    is_open_qa = any(name.startswith("reader.") for name in ported.values())
    kind = "open_qa" if is_open_qa else "embedder" if "embedder.cls.dense.weight" in ported.values() else "encoder"
    found = {}
    for variable, name in ported.items():
        array = read(variable)
        found[name if is_open_qa else name.removeprefix("embedder.")] = (
            array.T if variable.endswith("/kernel") else array
        )
    keras = any(re.match(r"(module(_\d+)?/)*layer_normalization", name) for name in ported)
    bert, model = _sizes(found, "embedder." if is_open_qa else "", where, config_file, keras)
    if vocab is not None:
        check_vocab(vocab, bert.vocab_size, str(where))
    names_there = names.names_of(kind, bert, model)
    # What no forward pass uses is not in every release: the decoder of an embedder's head, for one.
    names_there = dataclasses.replace(
        names_there,
        tensors={n: place for n, place in names_there.tensors.items() if place[0][0] == "params" or n in found},
    )
    vectors = read(names.VECTORS) if names.VECTORS in shapes else None
    return assemble(found, names_there, where, kind, bert, model, vectors=vectors, vocab=vocab)


def port_name(variable: str) -> str:
    """The name in Hugging Face's format, of a fine-tuned model; a variable of no known name keeps its own."""
    match = VARIABLE.fullmatch(variable)
    if match is None:
        return variable
    reader, top, rest = match["reader"] is not None, match["top"], match["rest"]
    tops = {"bert": "realm", "cls": "cls", "dense": "cls.dense", "LayerNorm": "cls.LayerNorm"}
    if reader:
        tops |= {"dense": "qa_outputs.dense_intermediate", "dense_1": "qa_outputs.dense_output"}
    norm = "qa_outputs.layer_normalization" if reader else "cls.LayerNorm"
    name = f"{'reader' if reader else 'embedder'}.{tops.get(top, norm)}.{rest}".replace("/", ".")
    name = re.sub(r"\.layer_(\d+)\.", r".layer.\1.", name)
    name = re.sub(r"_embeddings$", "_embeddings.weight", name)
    name = re.sub(r"\.(kernel|gamma)$", ".weight", name)
    return re.sub(r"\.(beta|output_bias)$", ".bias", name)


def _sizes(
    found: Mapping[str, np.ndarray], part: str, where: Path, config_file: Path | None, keras: bool
) -> tuple[Bert, Model]:
    """Sizes that the variables' shapes tell."""

    def shape(name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        if name in found:
            return found[name].shape
        if default is None:
            raise UserError(f"{where}: no variable for {name}; these are not the variables of REALM or ORQA")
        return default

    vocab_size, hidden = shape(f"{part}realm.embeddings.word_embeddings.weight")
    layers = {int(match[1]) for name in found if (match := re.match(rf"{part}realm\.encoder\.layer\.(\d+)\.", name))}
    heads = hidden // HEAD_SIZE
    if config_file is not None and config_file.is_file():
        values = read_config(config_file)
        if "num_attention_heads" in values:
            heads = whole(config_file, values, "num_attention_heads")
    if not heads or hidden % heads:
        raise UserError(
            f"{where}: hidden size {hidden} is no multiple of {heads or HEAD_SIZE}; say how many heads there are by "
            f'{{"num_attention_heads": ...}} in {config_file}'
        )
    span = shape("reader.qa_outputs.layer_normalization.weight", (Model().span_hidden_size,))[0]
    bert = Bert(
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_layers=len(layers),
        num_heads=heads,
        intermediate_size=shape(f"{part}realm.encoder.layer.0.intermediate.dense.bias")[0],
        max_positions=shape(f"{part}realm.embeddings.position_embeddings.weight")[0],
        activation="gelu_new",
    )
    vector_size = shape(f"{part}cls.dense.bias", (Model().vector_size,))[0]
    model = Model(weights="random", vector_size=vector_size, span_hidden_size=span)
    return bert, dataclasses.replace(model, projection_eps=KERAS_EPS) if keras else model
