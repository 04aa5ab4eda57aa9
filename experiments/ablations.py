"""The paper's ablations, and some of ours: functions that change one thing in an experiment of any size.

`variants` applies them all to one; `factbook_sweep.py` runs that. The numbers of the paper beside each are NQ dev exact
match and, where it prints it, zero-shot recall@5 (arXiv v1, table 2; REALM itself: 38.2 and 38.5).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from realm_jax.config import Bm25, Config

REFERENCE = "reference"


def change(config: Config, **parts: dict[str, Any]) -> Config:
    """The experiment with fields of its parts replaced: change(config, pretrain={"candidates": 8})."""
    return replace(config, **{name: replace(getattr(config, name), **values) for name, values in parts.items()})


# What pre-training is worth


def no_pretraining(config: Config) -> Config:
    """The ORQA baseline: the warm start, with ICT where the experiment has it, is fine-tuned (31.3, 13.9)."""
    return change(config, warm_up={"steps": 0}, pretrain={"steps": 0})


def no_pretraining_equal_steps(config: Config) -> Config:
    """`no_pretraining`, fine-tuned for as many gradient steps as REALM's warm-up, pre-training and fine-tuning have."""
    steps = config.warm_up.steps + config.pretrain.steps + config.finetune.steps
    return change(no_pretraining(config), finetune={"steps": steps})


def warm_up_only(config: Config) -> Config:
    """The reader's warm-up, but no REALM: the warm-up's share of the gain."""
    return change(config, pretrain={"steps": 0})


def warm_up_only_equal_steps(config: Config) -> Config:
    """`warm_up_only`, fine-tuned for as many gradient steps as REALM's pre-training and fine-tuning have."""
    return change(warm_up_only(config), finetune={"steps": config.pretrain.steps + config.finetune.steps})


def realm_retriever_baseline_encoder(config: Config) -> Config:
    """Only the embedder comes out of pre-training; the reader is that of `no_pretraining` (37.4, 38.5)."""
    return change(config, finetune={"reader": "weights"})


def realm_retriever_warmed_up_encoder(config: Config) -> Config:
    """Only the embedder comes out of pre-training; the reader is that of `warm_up_only`."""
    return change(config, finetune={"reader": "start" if config.warm_up.steps else "weights"})


def baseline_retriever_realm_encoder(config: Config) -> Config:
    """Only the reader comes out of pre-training (35.3, 13.9)."""
    return change(config, finetune={"embedder": "start"})


def no_ict(config: Config) -> Config:
    """The embedder starts pre-training as the weights give it."""
    return change(config, ict={"steps": 0})


def no_warm_up(config: Config) -> Config:
    """The reader starts pre-training as the weights give it."""
    return change(config, warm_up={"steps": 0})


def refreshed_passages(config: Config) -> Config:
    """Passages are embedded anew while fine-tuning goes on; in the paper their vectors stay."""
    return change(config, finetune={"refresh": "inline"})


# What is hidden


def random_uniform_masks(config: Config) -> Config:
    """Wordpieces at random, as BERT hides them (32.3, 24.2); to be compared with `last_checkpoint`, too."""
    return _random_masks(config, "tokens")


def random_span_masks(config: Config) -> Config:
    """Spans at random, as SpanBERT hides them (35.3, 26.1); to be compared with `last_checkpoint`, too."""
    return _random_masks(config, "spans")


def _random_masks(config: Config, kind: str) -> Config:
    """No passage is known to hold the hidden words: no oversampling. Nor does the probe, of salient spans, choose the
    checkpoint: on the Factbook it took the start, and the arm was the warm-up alone."""
    return change(config, masking={"kind": kind}, pretrain={"oversample": 1, "probe_queries": 0})


def no_oversampling(config: Config) -> Config:
    """Every query drawn is trained on: random masks must do without it, too."""
    return change(config, pretrain={"oversample": 1})


def all_salient_masks(config: Config) -> Config:
    """Any salient span is hidden, whether other passages hold it or not, as in the paper."""
    masking = {"types": (), "min_holders": 0, "max_holders": 0}
    return change(config, masking=masking, pretrain={"oversample": 1})


def learned_salience(config: Config) -> Config:
    """Any span or word is hidden, in proportion to the retrieval utility that the model measured for such ones."""
    return change(config, masking={"kind": "learned"}, pretrain={"oversample": max(4, config.pretrain.oversample)})


def last_checkpoint(config: Config) -> Config:
    """Pre-training takes all its steps and its last checkpoint goes on, however the probe of retrieval fell out."""
    return change(config, pretrain={"probe_queries": 0})


# The index


def stale_index(config: Config) -> Config:
    """A new snapshot thirty times as seldom (28.7, 15.1); on the Factbook, whose pre-training is shorter, never."""
    return change(config, index={"refresh_every": 30 * config.index.refresh_every})


def fresh_index(config: Config) -> Config:
    """The trainer waits for the snapshot of each checkpoint, and searches it at once."""
    return change(config, index={"refresh": "inline"})


def scann(config: Config) -> Config:
    """Approximate search."""
    return change(config, index={"kind": "scann", "store": "host"})


def exact(config: Config) -> Config:
    """A full scan."""
    return change(config, index={"kind": "exact"})


# The retriever and its candidates


def frozen_retriever(config: Config) -> Config:
    """Pre-training teaches the reader alone; no probe of retrieval chooses its checkpoint."""
    return change(config, pretrain={"embedder_rate": 0.0, "probe_queries": 0})


def bm25(config: Config) -> Config:
    """BM25 retrieves, from pre-training to the answer; only readers learn.

    It counts as the baseline of `evaluate` does, tuned on dev questions of the Factbook.
    """
    tuned = Bm25(stopwords="en_plus", title_weight=16, k1=2.4, b=0.0)
    change_of_retriever = change(frozen_retriever(config), ict={"steps": 0})
    return change(change_of_retriever, index={"kind": "bm25", "store": "host", "bm25": tuned})


def no_null_passage(config: Config) -> Config:
    """The passages retrieved share all of p(z|x)."""
    return change(config, pretrain={"null_passage": False})


def no_trivial_retrieval_ban(config: Config) -> Config:
    """The passage that a sentence comes from may be retrieved for it."""
    return change(config, pretrain={"ban_origin": False})


def candidates_2(config: Config) -> Config:
    """K = 2: the null passage and one more."""
    return change(config, pretrain={"candidates": 2})


def candidates_4(config: Config) -> Config:
    """K = 4."""
    return change(config, pretrain={"candidates": 4})


def candidates_8(config: Config) -> Config:
    """K = 8, as in the paper."""
    return change(config, pretrain={"candidates": 8})


def span_marginal(config: Config) -> Config:
    """Passages are summed over per span, as the paper's equation has it, not per wordpiece as its code does."""
    return change(config, pretrain={"marginalize": "span"})


def token_marginal(config: Config) -> Config:
    """Passages are summed over per wordpiece, as the paper's code does."""
    return change(config, pretrain={"marginalize": "token"})


ABLATIONS: dict[str, Callable[[Config], Config]] = {
    function.__name__: function
    for function in (
        no_pretraining,
        no_pretraining_equal_steps,
        warm_up_only,
        warm_up_only_equal_steps,
        realm_retriever_baseline_encoder,
        realm_retriever_warmed_up_encoder,
        baseline_retriever_realm_encoder,
        no_ict,
        no_warm_up,
        random_uniform_masks,
        random_span_masks,
        no_oversampling,
        all_salient_masks,
        learned_salience,
        last_checkpoint,
        stale_index,
        fresh_index,
        scann,
        exact,
        frozen_retriever,
        bm25,
        no_null_passage,
        no_trivial_retrieval_ban,
        candidates_2,
        candidates_4,
        candidates_8,
        span_marginal,
        token_marginal,
    )
}


def variants(base: Config) -> dict[str, Config]:
    """The experiment itself as `reference`, and every ablation of it that changes something and no earlier one
    already is: without a warm-up, `no_warm_up` is the experiment itself."""
    found: dict[Config, str] = {base: REFERENCE}
    for name, function in ABLATIONS.items():
        found.setdefault(function(base), name)
    return {name: config for config, name in found.items()}
