"""Shows what the model makes of one question, or of one sentence with [MASK]: what it reads, believes and would
learn."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from realm_jax import objectives
from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.index import snapshots
from realm_jax.index.candidates import search_candidates
from realm_jax.text import features
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.mesh import local_mesh, require
from realm_jax.training.open_qa import answer_text, read_spans
from realm_jax.training.open_run import OpenRun
from realm_jax.training.question_arrays import query_row
from realm_jax.training.results import finetuned_snapshot, restore_result, result_step
from realm_jax.training.tasks.pretrain import read_candidates
from realm_jax.workdir import Workdir

MASK = "[MASK]"


def ask(config: Config, folder: Workdir, arguments: Any) -> None:
    """Prints the answer, the passages read with p(z|x), each one's reading, and r(z) where the truth is given.

    Raises:
      UserError: a stage that is needed is not finished, or the text does not fit.
    """
    require(config.mesh.platform)
    run = OpenRun(config, folder)
    pieces, room = len(run.tokenizer.encode(arguments.text)), config.data.query_length - 2
    if pieces > room:
        print(f"of the text's {pieces} wordpieces the first {room} are read (data.query_length {room + 2})")
    show = fill_masks if MASK in arguments.text else answer_question
    print(show(run, arguments.text, arguments.truth, arguments.passages), flush=True)


def fill_masks(run: OpenRun, text: str, truth: str, count: int) -> str:
    """The pre-trained model on a sentence: the null passage and the best `count` passages are read and marginalised
    over.

    With a truth, a single [MASK] stands for all its wordpieces.
    """
    config, tokenizer, models, store = run.config, run.tokenizer, run.models, run.store
    targets = _pieces(tokenizer, truth)
    if truth and text.count(MASK) == 1:
        text = text.replace(MASK, MASK * len(targets))
    row = query_row(config, tokenizer, text)
    places = np.flatnonzero(row == tokenizer.mask_id)
    if len(places) < text.count(MASK):
        raise UserError(
            f"text: [MASK] stands past the query's {config.data.query_length} wordpieces; shorten the sentence"
        )
    if truth and len(targets) != len(places):
        raise UserError(
            f"--truth: {truth!r} is {len(targets)} wordpieces, but {len(places)} [MASK] fit; write one [MASK]"
        )
    params = {part: restore_result(run.folder, "pretrain", part, models) for part in ("embedder", "reader")}
    index = _index(run, result_step(run.folder, "pretrain"))
    encoded = index.encode(functools.partial(models.embed, params["embedder"]), row[None])
    rows = search_candidates(index, encoded, np.full((1, 1), -1), count + 1, store.null_id)[0]

    def log_p_of(pieces: np.ndarray) -> tuple[jax.Array, jax.Array]:
        """log p(z|x) [1,K] and log p(y|z,x) [1,K,M] of these wordpieces at the masks."""
        batch = {
            "query": row[None],
            "passages": store.rows(rows)[None],
            "mask_positions": places[None],
            "mask_targets": pieces[None],
            "scores": index.own_scores(encoded, rows[None]),
        }
        return _log_probs(params, batch, store.null_row, config, models)

    joint, segments, _ = features.join(row[None], store.rows(rows)[None], config.data.joint_length)
    logits = models.read(params["reader"], joint[0], segments[0], np.repeat(places[None], len(rows), 0))
    # Neighbouring masks are one span, where training takes a span's wordpieces together.
    spans = np.cumsum(np.diff(places, prepend=places[0]) > 1)[None] if config.pretrain.marginalize == "span" else None
    log_p_z, _ = log_p_of(np.zeros_like(places))
    mixture = jax.nn.logsumexp(log_p_z[0][:, None, None] + jax.nn.log_softmax(logits), axis=0)
    best = np.asarray(mixture.argmax(-1))
    _, log_p_best = log_p_of(best)
    weights = np.ones((1, len(places)), np.float32)

    def marginal(log_p_y: jax.Array) -> float:
        """log p(y|x) of all masks together."""
        return float(objectives.marginal_log_likelihood(log_p_z, log_p_y, weights, spans).sum())

    utility = float(objectives.retrieval_utility(log_p_z, log_p_best, weights, spans))
    lines = [
        f"answer: {tokenizer.decode(best)}   (log p(y|x) {marginal(log_p_best):.2f})",
        f"worth of retrieval for it: {utility:+.2f} nats per mask",
    ]
    gains = np.full(len(rows), np.nan)
    if truth:
        _, log_p_truth = log_p_of(targets)
        gains = np.asarray(objectives.candidate_gain(log_p_z, log_p_truth, weights, spans))[0]
        lines.append(f"truth: {truth}   (log p(y|x) {marginal(log_p_truth):.2f})")
    fillings = [tokenizer.decode(pieces) for pieces in np.asarray(logits.argmax(-1))]
    readings = [
        f"reads {filling!r}, log p(answer|z,x) {float(log_p.sum()):.2f}"
        for filling, log_p in zip(fillings, log_p_best[0], strict=True)
    ]
    return "\n".join(lines + _passages(run, rows, np.exp(np.asarray(log_p_z[0])), readings, gains))


@functools.partial(jax.jit, static_argnames=("config", "models"))
def _log_probs(params, batch, null_row, config, models):
    scores, log_p_y = read_candidates(config, models, params, batch, null_row, None)
    return objectives.retrieval_log_probs(scores), log_p_y


_read_spans = jax.jit(read_spans, static_argnums=(0, 1, 6))


def answer_question(run: OpenRun, text: str, truth: str, count: int) -> str:
    """The fine-tuned model on a question; p(z|x) is over the `count` passages read."""
    config, tokenizer, models, store = run.config, run.tokenizer, run.models, run.store
    params = {
        "embedder": restore_result(run.folder, "finetune", "embedder", models),
        "reader": restore_result(run.folder, "finetune", "reader", models, "span_reader"),
    }
    row, pieces = query_row(config, tokenizer, text), _pieces(tokenizer, truth)
    index = _index(run, finetuned_snapshot(config, run.folder))
    products, rows = index.retrieve(functools.partial(models.embed, params["embedder"]), row[None], count)
    scores = config.finetune.score_scale * products
    logits, places, joint, is_body = _read_spans(
        config, models, params["reader"], row[None], store.rows(rows), jnp.asarray(scores), count
    )
    order, logits, joint, is_body = np.asarray(places[0]), logits[0], joint[0], is_body[0]
    rows, table = rows[0][order], features.span_table(config.finetune.joint_length, config.model.max_span_width)
    log_p = np.asarray(jax.nn.log_softmax(logits.reshape(-1)).reshape(logits.shape))
    spans = []
    for k in range(len(rows)):
        first, last = table[log_p[k].argmax()] - int(is_body[k].argmax())
        spans.append(answer_text(tokenizer, run.texts[rows[k]].text, int(first), int(last)))
    best = int(log_p.max(1).argmax())
    lines = [f"answer: {spans[best]}   (p {np.exp(log_p[best].max()):.2f} among all spans)"]
    gains = np.full(len(rows), np.nan)
    if truth:
        labels = np.asarray(features.span_labels(joint, pieces[None, None], is_body, config.model.max_span_width))
        mass = np.where(labels, np.exp(log_p), 0.0).sum(1)
        lines.append(f"truth: {truth}   (p {mass.sum():.2f} among all spans)")
        if mass.sum() > 0:
            gains = mass / mass.sum() - np.exp(log_p).sum(1)
        else:
            lines.append("the truth stands in none of the passages read: r(z) is not defined")
    readings = [f"reads {span!r}, p {np.exp(log_p[k].max()):.3f}" for k, span in enumerate(spans)]
    p_z = np.asarray(jax.nn.softmax(jnp.asarray(scores[0])))[order]
    return "\n".join(lines + _passages(run, rows, p_z, readings, gains))


def _pieces(tokenizer: Tokenizer, truth: str) -> np.ndarray:
    """Wordpieces of the truth; none where none is given."""
    pieces = tokenizer.encode(truth).ids
    if truth and not len(pieces):
        raise UserError(f"--truth: {truth!r} has no wordpieces; give the words of the answer, or leave it out")
    return pieces


def _index(run: OpenRun, step: int):
    where = run.folder.stage("pretrain").snapshots
    return snapshots.load_index(where, step, run.store.fingerprint, run.config.index, local_mesh())


def _passages(run: OpenRun, rows: np.ndarray, p_z: np.ndarray, readings: list[str], gains: np.ndarray) -> list[str]:
    lines = []
    for row, p, reading, gain in zip(rows, p_z, readings, gains, strict=True):
        passage = run.texts[int(row)]
        shown = [part for part in (passage.title, passage.text) if part] or ["(the null passage)"]
        lines.append(f"\np(z|x) {p:.3f}" + ("" if np.isnan(gain) else f"  r(z) {gain:+.3f}") + f"  {reading}")
        lines.append("\n".join(f"  {part}" for part in shown))
    return lines
