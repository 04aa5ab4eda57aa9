"""Flax Linen models, and the values that their parameters start from: plain nested dicts."""

from realm_jax.models.bert import BertTrunk
from realm_jax.models.embedder import Embedder
from realm_jax.models.head import resolve_head
from realm_jax.models.init import embedder_params, reader_params, span_reader_params, token_classifier_params
from realm_jax.models.reader import Reader
from realm_jax.models.span_reader import SpanReader, body_of
from realm_jax.models.token_classifier import TokenClassifier, load_token_classifier
from realm_jax.models.weights import (
    bert_config,
    check_lengths,
    fetch_minilm,
    has_answer_ends,
    reader_model,
    resolve_vocab,
    resolve_weights,
)

__all__ = [
    "BertTrunk",
    "Embedder",
    "Reader",
    "SpanReader",
    "TokenClassifier",
    "bert_config",
    "body_of",
    "check_lengths",
    "embedder_params",
    "fetch_minilm",
    "has_answer_ends",
    "load_token_classifier",
    "reader_model",
    "reader_params",
    "resolve_head",
    "resolve_vocab",
    "resolve_weights",
    "span_reader_params",
    "token_classifier_params",
]
