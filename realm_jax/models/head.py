"""How a text's vector is made of its hidden vectors, where the weights' own folder is to say it: sentence-transformers'
modules.json, 1_Pooling/config.json and config_sentence_transformers.json."""

import dataclasses
from pathlib import Path
from typing import Any

from realm_jax.config import Model
from realm_jax.errors import BadJson, UserError, from_json
from realm_jax.models.weights import bert_config

MODULES, POOLING, PROMPTS = "modules.json", "1_Pooling/config.json", "config_sentence_transformers.json"
MODES = {"cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean"}
"""Those that are computed here, by sentence-transformers' names."""
QUERY, PASSAGE = ("query",), ("document", "passage")
"""Names of prompts, the usual one first."""
AUTO: dict[str, Any] = {"pooling": "realm", "normalize": "none", "query_prefix": "", "passage_prefix": ""}
"""Options that may be `auto`, and their values where a folder says nothing."""
MINILM = AUTO | {"pooling": "mean", "normalize": "cosine"}
"""The files in the folder of the package that `minilm` comes from."""


def resolve_head(model: Model, directory: Path | None) -> Model:
    """The options with every `auto` as the weights in `directory` have it, and vector_size as a number above 0.

    Raises:
      UserError: a file of the folder cannot be read, or wants a computation that is not here; vectors cannot be so
        large.
    """
    asked = [name for name in AUTO if getattr(model, name) == "auto"]
    if asked:
        found = MINILM if model.weights == "minilm" else AUTO if directory is None else read_head(directory)
        model = dataclasses.replace(model, **{name: found[name] for name in asked})
    hidden = bert_config(model, directory).hidden_size
    if model.pooling != "realm" and model.vector_size > hidden:
        raise UserError(
            f"model.vector_size: {model.vector_size}, but with model.pooling {model.pooling} a vector has at most the "
            f"{hidden} numbers of a hidden vector; give at most that, or 0, which takes them all"
        )
    return dataclasses.replace(model, vector_size=model.vector_size or hidden)


def read_head(directory: Path) -> dict[str, Any]:
    """Values for `AUTO` out of a folder; a file that is not there says nothing.

    Raises:
      UserError: see `resolve_head`.
    """
    modules = _json(directory / MODULES, list)
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules if isinstance(module, dict)]
    if unknown := set(kinds) - {"Transformer", "Pooling", "Normalize"}:
        raise UserError(
            f"{directory / MODULES}: a module {min(unknown)} is not computed here; give model.pooling and "
            "model.normalize cls or mean, none or cosine, to do without it"
        )
    pooling = _json(directory / POOLING, dict)
    found = dict(AUTO, normalize="cosine" if "Normalize" in kinds else "none")
    if pooling:
        found["pooling"] = _mode(directory / POOLING, pooling)
    prompts = _json(directory / PROMPTS, dict).get("prompts") or {}
    for option, names in (("query_prefix", QUERY), ("passage_prefix", PASSAGE)):
        given = [prompts[name] for name in names if isinstance(prompts, dict) and prompts.get(name)]
        if given and not isinstance(given[0], str):
            raise UserError(f"{directory / PROMPTS}: prompt {given[0]!r} is no text; give model.{option}")
        if given and pooling.get("include_prompt") is False:
            raise UserError(
                f"{directory / POOLING}: include_prompt is false, which is not computed here; give model.{option}"
            )
        found[option] = given[0] if given else ""
    return found


def _mode(path: Path, pooling: dict[str, Any]) -> str:
    named = pooling.get("pooling_mode")
    prefix = "pooling_mode_"
    modes = (
        [named] if named else [key.removeprefix(prefix) for key in pooling if key.startswith(prefix) and pooling[key]]
    )
    if len(modes) != 1 or modes[0] not in MODES:
        raise UserError(
            f"{path}: vectors are pooled by {', '.join(map(str, modes)) or 'nothing'}; only cls and mean, one of them, "
            "are computed here: give model.pooling"
        )
    return MODES[modes[0]]


def _json(path: Path, kind: type) -> Any:
    """The content of a file; an empty `kind` where it is not there."""
    try:
        values = from_json(path.read_bytes())
    except FileNotFoundError:
        return kind()
    except (OSError, BadJson) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(values, kind):
        raise UserError(f"{path}: holds no JSON {'list' if kind is list else 'object'}; fetch the file again")
    return values
