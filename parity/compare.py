"""Compares realm_jax with the output of parity/port.py, number by number.

    python parity/compare.py FOLDER...

Prints the largest difference of every quantity over all folders and exits with 1 where one is beyond its bound. A
difference is |ours - theirs| / (1 + |theirs|), so that a bound holds relative plus absolute; integers must be equal.
The computation is that of training: `candidate_logits`, `read_spans` and `objectives` on parameters from
`published.load`. Beside that, FOLDER/saved receives every model as `published.save` writes it, for
`parity/port.py --reload`.
"""

import argparse
import dataclasses
import functools
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from realm_jax import objectives, published
from realm_jax.config import Config, Data, Finetune
from realm_jax.index.exact import ExactIndex
from realm_jax.models.span_reader import OUTSIDE
from realm_jax.text import features
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.jitted_models import Models
from realm_jax.training.open_qa import read_spans
from realm_jax.training.tasks.pretrain import candidate_logits
from realm_jax.workdir import Workdir

BOUNDS = {"float32": 5e-5, "float64": 1e-9}
QUANTITIES = {
    "embedder vectors": "embedder/",
    "scores": "(scorer|encoder|openqa/.*)/scores$",
    "masked-LM logits": "encoder/logits$",
    "marginal loss": "encoder/loss$",
    "its gradient, scores": "gradient/scores$",
    "its gradient, all embedder parameters": "gradient/embedder/",
    "its gradient, all encoder parameters": "gradient/encoder/",
    "word gradients, padding_idx taken out of the port": "without_padding_idx/",
    "passages retrieved": "openqa/.*/rows$",
    "joint rows and segments": "openqa/.*/(joint|segments)$",
    "passages and spans that are an answer": "openqa/.*/(hits|labels)$",
    "reader logits": "openqa/.*/logits$",
    "retriever loss": "openqa/.*/retriever_loss$",
    "reader loss": "openqa/.*/reader_loss$",
    "their sum": "openqa/.*/loss$",
    "its gradient, all question embedder parameters": "gradient/openqa/embedder/",
    "its gradient, all reader parameters": "gradient/openqa/reader/",
    "predicted spans": "openqa/.*/span$",
    "predicted answers": "openqa/.*/answer$",
    "empty masks: loss": "empty/loss$",
}
"""The compared figures, and their names in the port's files."""
MODELS = ("embedder", "scorer", "encoder", "reader", "openqa")
PADDING_IDX = 1
"""The wordpiece whose input gradient the port drops."""
KNOWN = {"empty/gradient"}
"""Where the port gives NaN; here it is 0, which `tests/published/test_parity.py` holds."""
WORD = "embeddings.word_embeddings.weight"
Arrays = dict[str, np.ndarray]


def ours(folder: Path, dtype: str) -> Arrays:
    """The outputs of realm_jax for the weights and inputs in a folder, by the port's names."""
    with jax.enable_x64(dtype == "float64"):
        inputs = dict(np.load(folder / "inputs.npz"))
        out = _pretraining(folder, inputs, dtype) | _openqa(folder, inputs, np.load(folder / f"{dtype}.npz"), dtype)
    return {name: np.asarray(value) for name, value in out.items()}


def differences(theirs: Arrays, got: Arrays) -> dict[str, float]:
    """{quantity: largest difference}; infinite where integers or shapes differ, or where one side lacks something."""
    worst = {}
    for quantity, pattern in QUANTITIES.items():
        names = {name for name in {*theirs, *got} if re.match(pattern, name)}
        values = [_difference(name, got[name], theirs[name]) if name in theirs and name in got else np.inf
                  for name in names]  # fmt: skip
        worst[quantity] = max(values, default=np.inf)
    left = {name for name in {*theirs, *got} - KNOWN if not any(re.match(p, name) for p in QUANTITIES.values())}
    if left:
        raise ValueError(f"nothing says what to do with {', '.join(sorted(left))}")
    return worst


def _difference(name: str, got: np.ndarray, want: np.ndarray) -> float:
    if name.startswith("gradient/") and name.endswith(WORD):
        got, want = (np.delete(array, PADDING_IDX, axis=0) for array in (got, want))
    if got.shape != want.shape or got.dtype.kind != want.dtype.kind:
        return np.inf
    if want.dtype.kind != "f":
        return 0.0 if np.array_equal(got, want) else np.inf
    difference = np.abs(got - want) / (1 + np.abs(want))
    return float(difference.max()) if np.isfinite(difference).all() and got.dtype == want.dtype else np.inf


def _pretraining(folder: Path, inputs: Arrays, dtype: str) -> Arrays:
    embedder, scorer, encoder = (published.load(folder / name) for name in ("embedder", "scorer", "encoder"))
    config = _config(embedder, inputs)
    models = Models(config, Workdir(folder))
    params = {"embedder": _cast(embedder.params, dtype), "reader": _cast(encoder.params, dtype)}
    query, passages, weights = inputs["query"], inputs["passages"], inputs["weights"].astype(dtype)
    joint, segments, _ = _join(query, passages, config.data.joint_length)
    for name, rows in (("joint", joint), ("joint_segments", segments)):
        if not np.array_equal(rows, inputs[name]):
            raise ValueError(f"{folder}: {name} of the port are not those that the query and its passages give here")
    (b, k, j), p = joint.shape, passages.shape[-1]
    positions, targets = (np.repeat(inputs[name], k, axis=0) for name in ("positions", "targets"))

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def loss(params, change, weights):
        """`change` is added to the scores, so that its gradient is theirs."""
        rows = (query, passages, inputs["positions"], None, passages[0, 0])
        f, logits = candidate_logits(config, models, params, *rows, None)
        log_p_y = objectives.target_log_probs(logits, targets).reshape(b, k, -1)
        return objectives.marginal_loss(objectives.retrieval_log_probs(f + change), log_p_y, weights), f

    (value, scores), (gradient, of_scores) = jax.device_get(loss(params, np.zeros((b, k), dtype), weights))
    (empty, _), of_nothing = jax.device_get(loss(params, np.zeros((b, k), dtype), 0 * weights))
    logits = models.read(params["reader"], joint.reshape(b * k, j), segments.reshape(b * k, j), positions)

    def vectors(embedder) -> tuple[np.ndarray, np.ndarray]:
        """Of queries [B,E] and of passages [B,K,E], embedded together."""
        rows = np.concatenate([np.pad(query, ((0, 0), (0, p - query.shape[1]))), passages.reshape(b * k, p)])
        out = np.asarray(models.embed(_cast(embedder, dtype), rows))
        return out[:b], out[b:].reshape(b, k, -1)

    of_queries, of_passages = vectors(embedder.params)
    asked, _ = vectors(scorer.params["query_embedder"])
    _, candidates = vectors(scorer.params["embedder"])
    out = {
        "embedder/queries": of_queries,
        "embedder/passages": of_passages,
        "scorer/scores": np.einsum("be,bke->bk", asked, candidates),
        "encoder/scores": scores,
        "encoder/logits": np.asarray(logits).reshape(b, k, *logits.shape[1:]),
        "encoder/loss": value,
        "gradient/scores": of_scores,
        "empty/loss": empty,
        "empty/gradient": np.max([np.abs(leaf).max() for leaf in jax.tree.leaves(of_nothing)]),
    }
    for name, model, part in (("embedder", embedder, "embedder"), ("encoder", encoder, "reader")):
        gradients = _by_tensor(model, gradient[part])
        out |= {f"gradient/{name}/{tensor}": value for tensor, value in gradients.items()}
        out[f"without_padding_idx/{name}/realm.{WORD}"] = gradients[f"realm.{WORD}"]
    return out


def _openqa(folder: Path, inputs: Arrays, theirs: Arrays, dtype: str) -> Arrays:
    """All questions at once; cut back to the port's width of rows, which differs from question to question."""
    model = published.load(folder / "openqa")
    beam, read, length = (model.settings[key] for key in ("searcher_beam_size", "reader_beam_size", "reader_seq_len"))
    finetune = Finetune(beam=beam, read=read, joint_length=length, truncation="longest_first")
    config = _config(model, inputs, finetune)
    models, params, width = Models(config, Workdir(folder)), _cast(model.params, dtype), config.model.max_span_width
    tokenizer = Tokenizer.from_vocab(model.vocab)
    questions = [tokenizer.encode(str(text)).ids for text in inputs["questions"]]
    query = _rows([[tokenizer.cls_id, *ids, tokenizer.sep_id] for ids in questions])
    bodies = [tokenizer.encode(record.decode()).ids for record in model.passages]
    store = _rows([[tokenizer.cls_id, tokenizer.sep_id, *ids, tokenizer.sep_id] for ids in bodies])

    _, rows = ExactIndex(model.vectors).search(models.embed(params["embedder"], query), beam)
    passages, vectors = store[rows], np.asarray(model.vectors)[rows].astype(dtype)
    joint, segments, is_body = _join(query, passages, length, finetune.truncation)
    answers = inputs["answers"][:, None].astype(np.int32)
    labels = np.asarray(jax.jit(features.span_labels, static_argnums=3)(joint, answers, is_body, width))
    hits, labels = labels.any(-1), labels[:, :read]

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(params):
        scores = objectives.scores(models.embed(params["embedder"], query), vectors)
        logits, places, *_ = read_spans(config, models, params["reader"], query, passages, scores, read)
        retriever, reader = objectives.early_loss(scores, hits), objectives.span_loss(logits, labels)
        value = ((retriever + reader) * labels.any((1, 2))).sum()  # of the questions of which the port's gradient is
        return value, (scores, places, logits, retriever, reader)

    (_, (scores, places, logits, retriever, reader)), gradient = jax.device_get(loss(params))
    if not np.array_equal(places, np.broadcast_to(np.arange(read), places.shape)):
        raise ValueError(f"{folder}: the best passages of the beam are not its first")

    table = [tuple(span) for span in features.span_table(length, width)]
    out = {}
    for i in range(len(query)):
        port_length = theirs[f"openqa/{i}/joint"].shape[1]
        spans = [table.index(tuple(span)) for span in features.span_table(port_length, width)]
        k, span = np.unravel_index(np.argmax(logits[i]), logits[i].shape)
        first, last = table[span]
        found = {
            "rows": rows[i],
            "scores": scores[i],
            "joint": joint[i, :read, :port_length],
            "segments": segments[i, :read, :port_length],
            "hits": hits[i],
            "labels": labels[i][:, spans],
            # Outside the body the port's are the least number there is, whatever is added.
            "logits": np.where(logits[i] > OUTSIDE / 2, logits[i], np.finfo(dtype).min)[:, spans],
            "retriever_loss": retriever[i],
            "reader_loss": reader[i],
            "loss": retriever[i] + reader[i],
            "span": np.array([k, first, last]),
            "answer": joint[i, k, first : last + 1],
        }
        out |= {f"openqa/{i}/{key}": value for key, value in found.items()}
    by_tensor = _by_tensor(model, gradient)
    return out | {f"gradient/openqa/{name.replace('.', '/', 1)}": value for name, value in by_tensor.items()}


def _config(model: published.Published, inputs: Arrays, finetune: Finetune | None = None) -> Config:
    lengths = {f"{key}_length": inputs[rows].shape[-1] for key, rows in (
        ("query", "query"), ("passage", "passages"), ("joint", "joint"))}  # fmt: skip
    sizes = dataclasses.replace(model.model, bert=model.bert)
    return Config(data=Data(**lengths), model=sizes, finetune=finetune or Finetune())


def _join(query: np.ndarray, passages: np.ndarray, length: int, truncation: str = "passage"):
    join = jax.jit(features.join, static_argnames=("length", "truncation"))
    return jax.device_get(join(query, passages, length=length, truncation=truncation))


def _cast(params, dtype: str):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), params)


def _by_tensor(model: published.Published, gradient) -> Arrays:
    """Gradients by the names of the file, in its layout. Parameters that no forward pass reads have none."""
    out = {}
    for name, (path, _) in model.names().tensors.items():
        if path[0] == "params":
            leaf = gradient
            for key in path[1:]:
                leaf = leaf[key]
            out[name] = leaf.T if path[-1] == "kernel" else leaf
    return out


def _rows(rows: list[list[int]]) -> np.ndarray:
    length = max(map(len, rows))
    return np.array([[*row, *[features.PAD] * (length - len(row))] for row in rows], np.int32)


def main(folders: Iterable[Path]) -> int:
    rows = {dtype: dict.fromkeys(QUANTITIES, 0.0) for dtype in BOUNDS}
    for folder in folders:
        shutil.rmtree(folder / "saved", ignore_errors=True)
        for model in MODELS:
            published.save(folder / "saved" / model, published.load(folder / model))
        for dtype, row in rows.items():
            for quantity, value in differences(dict(np.load(folder / f"{dtype}.npz")), ours(folder, dtype)).items():
                row[quantity] = max(row[quantity], value)
    width = max(map(len, QUANTITIES))
    print(f"| {'largest difference':{width}} | {' | '.join(rows)} |\n|{'-' * (width + 2)}|---------|---------|")
    for quantity in QUANTITIES:
        print(f"| {quantity:{width}} | {' | '.join(f'{row[quantity]:7.1e}' for row in rows.values())} |")
    beyond = [
        f"{quantity}, {dtype}" for dtype, row in rows.items() for quantity in row if row[quantity] > BOUNDS[dtype]
    ]
    bounds = " and ".join(f"{bound:.0e} in {dtype}" for dtype, bound in BOUNDS.items())
    print(f"beyond {bounds}: {'; '.join(beyond) or 'none'}")
    return 1 if beyond else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    sys.exit(main(parser.parse_args().folders))
