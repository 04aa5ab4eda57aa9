"""config.json and vocab.txt: the sizes of a published model, in the words of our schema."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from realm_jax.config import Bert, Config, Model
from realm_jax.errors import BadJson, UserError, from_json

CONFIG, VOCAB, TOKENIZER = "config.json", "vocab.txt", "tokenizer_config.json"
KINDS = {
    "embedder": "RealmEmbedder",
    "scorer": "RealmScorer",
    "encoder": "RealmKnowledgeAugEncoder",
    "reader": "RealmReader",
    "open_qa": "RealmForOpenQA",
}
"""REALM's models, with the names that `architectures` has for them; every other one is a plain BERT."""
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_new", "gelu_pytorch_tanh": "gelu_new"}
BERT_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
}
MODEL_KEYS = {
    "vector_size": "retriever_proj_size",
    "span_hidden_size": "span_hidden_size",
    "max_span_width": "max_span_width",
    "span_eps": "reader_layer_norm_eps",
}
COUNT = "num_block_records"
"""The setting that says how many passages there are."""
NUMBERS = (COUNT, "reader_seq_len", "reader_beam_size", "searcher_beam_size", "num_candidates")
"""Further settings that are read here: whole numbers, where they are given."""
FIXED = {"position_embedding_type": "absolute", "type_vocab_size": 2}
LAYER_NORM_EPS, DROPOUT, ATTENTION_DROPOUT = "layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """The entries of config.json."""

    kind: str | None
    """None where it does not say which of REALM's models it is."""
    bert: Bert
    model: Model
    """Sizes above the trunks and epsilons; of a plain BERT, the schema's defaults."""
    labels: tuple[str, ...]
    """Of a token classifier, in the order of its outputs."""
    settings: dict[str, Any]
    """Everything else, as it is there: how many passages are read, and the like."""


def read_sizes(directory: Path) -> Sizes:
    """Sizes from config.json.

    Raises:
      UserError: the file is missing or no JSON, or this is no model that the trunk can compute.
    """
    path = directory / CONFIG
    if not path.exists():
        raise UserError(f"{directory}: {CONFIG} is missing; a folder of published weights has one")
    values = read_config(path)
    if (kind := values.get("model_type", "bert")) not in ("bert", "realm"):
        raise UserError(f"{path}: model_type is {kind!r}; only 'bert' and 'realm' are known here")
    for key, right in FIXED.items():
        if values.get(key) not in (None, right):
            raise UserError(f"{path}: {key} is {values[key]!r}; the trunk here knows only {right!r}")
    activation = values.get("hidden_act", "gelu" if kind == "bert" else "gelu_new")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise UserError(f"{path}: hidden_act is {activation!r}; it must be one of {', '.join(ACTIVATIONS)}")
    bert = Bert(
        **{field: whole(path, values, key) for field, key in BERT_KEYS.items()},
        activation=ACTIVATIONS[activation],
        layer_norm_eps=_number(path, values, LAYER_NORM_EPS, 1e-12),
        dropout=_number(path, values, DROPOUT, 0.1),
    )
    if bert.hidden_size % bert.num_heads:
        raise UserError(f"{path}: num_attention_heads {bert.num_heads} does not divide hidden_size {bert.hidden_size}")
    model = Model(weights="random")
    if kind == "realm":
        model = dataclasses.replace(
            model,
            **{
                field: whole(path, values, key, getattr(model, field))
                for field, key in MODEL_KEYS.items()
                if field != "span_eps"
            },
            span_eps=_number(path, values, MODEL_KEYS["span_eps"], model.span_eps),
            projection_eps=bert.layer_norm_eps,
        )
    try:
        Config(model=dataclasses.replace(model, bert=bert))
    except UserError as error:
        raise UserError(f"{path}: as an option of ours, {error}") from None
    for key in NUMBERS:
        if key in values:
            whole(path, values, key)
    taken = {*BERT_KEYS.values(), *MODEL_KEYS.values(), LAYER_NORM_EPS, DROPOUT, "hidden_act", "model_type"}
    taken |= {*FIXED, "architectures", "id2label", "label2id"}
    names = values.get("architectures") or []
    if not isinstance(names, list):
        raise UserError(f"{path}: architectures is {names!r}; it must be a list, such as ['RealmForOpenQA']")
    return Sizes(
        next((kind for kind, name in KINDS.items() if name in names), None),
        bert,
        model,
        _labels(path, values.get("id2label") or {}),
        {key: value for key, value in values.items() if key not in taken},
    )


def read_config(path: Path) -> dict[str, Any]:
    """The content of a config.json. Raises UserError where that is no object."""
    try:
        values = from_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except BadJson as error:
        raise UserError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: holds no JSON object; this is no config of a model")
    return values


def write_sizes(directory: Path, kind: str, sizes: Sizes) -> None:
    """The inverse of `read_sizes`."""
    bert, model = sizes.bert, sizes.model
    values = {
        "model_type": "bert" if kind == "bert" else "realm",
        **{key: getattr(bert, field) for field, key in BERT_KEYS.items()},
        "hidden_act": bert.activation,
        LAYER_NORM_EPS: bert.layer_norm_eps,
        DROPOUT: bert.dropout,
        **FIXED,
    }
    if kind != "bert":
        values |= {key: getattr(model, field) for field, key in MODEL_KEYS.items()}
        values["architectures"] = [KINDS[kind]]
    if sizes.labels:
        values["id2label"] = {str(i): label for i, label in enumerate(sizes.labels)}
        values["label2id"] = {label: i for i, label in enumerate(sizes.labels)}
    values = {ATTENTION_DROPOUT: bert.dropout} | sizes.settings | values
    (directory / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def check_vocab(path: Path, vocab_size: int, source: str) -> None:
    """Raises UserError where a vocabulary has more wordpieces than there are word embeddings; many models have more of
    these, for tokens that were added or to fill up."""
    try:
        with open(path, "rb") as file:
            lines = sum(1 for _ in file)
    except OSError as error:
        raise UserError(f"{path}: cannot read the vocabulary ({error.strerror})") from None
    if lines > vocab_size:
        raise UserError(
            f"{path}: {lines} wordpieces, but {source} says vocab_size {vocab_size}; each needs an embedding"
        )


def whole(path: Path, values: dict[str, Any], key: str, default: int | None = None) -> int:
    """A whole number above 0. Raises UserError where a config.json has another value, or without a default none."""
    value = values.get(key, default)
    if key not in values and default is None:
        raise UserError(f"{path}: {key} is missing; this is no config of a BERT")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{path}: {key} is {value!r}; it must be a whole number above 0")
    return value


def _number(path: Path, values: dict[str, Any], key: str, default: float) -> float:
    value = values.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        raise UserError(f"{path}: {key} is {value!r}; it must be a number, 0 or above")
    return float(value)


def _labels(path: Path, labels: Any) -> tuple[str, ...]:
    try:
        return tuple(str(label) for _, label in sorted(labels.items(), key=lambda item: int(item[0])))
    except (AttributeError, ValueError):
        raise UserError(f'{path}: id2label is {labels!r}; it must be an object, such as {{"0": "O"}}') from None
