"""Parts that an experiment chooses by name, and where each is; only the one that is asked for is imported.

Adding a part is its file and its row here.
"""

import dataclasses
import importlib
from typing import Any


@dataclasses.dataclass(frozen=True)
class Kind:
    """One choice of an option."""

    where: str
    """`module:attribute` below realm_jax."""

    def load(self) -> Any:
        module, _, attribute = self.where.partition(":")
        return getattr(importlib.import_module(f"realm_jax.{module}"), attribute)


@dataclasses.dataclass(frozen=True)
class SourceKind(Kind):
    """A choice of `data.source`: called with path and option, it gives a `corpus.source.Source`."""

    brings_questions: bool = False
    """Whether its `questions` are there without any file of them."""
    is_text: bool = False
    """Whether `data.text_source` may be it, too."""
    has_plain_files: bool = False
    """Whether a worker of Beam can read a shard that has the bytes of the shard's files alone."""


@dataclasses.dataclass(frozen=True)
class IndexKind(Kind):
    """A choice of `index.kind`: an `index.base.Retriever`."""

    on_devices: bool = False
    """Whether its search is a program of the devices that it is divided over, as `index.store device` needs."""
    embeds: bool = True
    """Whether it searches with the embedder's vectors, so that the embedder can learn."""


SOURCES = {
    "factbook": SourceKind("factbook.source:Factbook", brings_questions=True),
    "wikipedia": SourceKind("corpus.wikipedia:dump_or_excerpt", has_plain_files=True),
    "wikiextractor": SourceKind("corpus.files:WikiExtractor", has_plain_files=True),
    "jsonl": SourceKind("corpus.files:JsonLines", is_text=True, has_plain_files=True),
    "folder": SourceKind("corpus.files:Folder", is_text=True, has_plain_files=True),
    "tfds_wikipedia": SourceKind("corpus.tensorflow_corpora:TfdsArticles"),
    "salient_span_wikipedia": SourceKind("corpus.tensorflow_corpora:TfdsArticles"),
    "orqa": SourceKind("corpus.tensorflow_corpora:OrqaBlocks", has_plain_files=True),
    "published": SourceKind("corpus.source:nothing_to_cut"),
}

INDEXES = {
    "scann": IndexKind("index.scann:ScannIndex"),
    "exact": IndexKind("index.exact:ExactIndex", on_devices=True),
    "bm25": IndexKind("index.bm25:Bm25Index", embeds=False),
}

MASKINGS = {
    "salient": Kind("text.masking:salient_span"),
    "learned": Kind("text.masking:salient_span"),  # of those of the kind that was drawn
    "spans": Kind("text.masking:random_spans"),
    "words": Kind("text.masking:random_words"),
    "tokens": Kind("text.masking:random_tokens"),
}
"""Choices of `masking.kind`: `text.masking.Hide`."""
