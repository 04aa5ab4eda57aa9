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
    has_columns: bool = False
    """Whether `data.columns` names its fields."""


@dataclasses.dataclass(frozen=True)
class DocumentKind(Kind):
    """How a file with some suffix is read: a function of its bytes that gives a `corpus.documents.Document`."""

    package: str = ""
    """The package that it needs ..."""
    extra: str = ""
    """... and the extra that brings it."""


@dataclasses.dataclass(frozen=True)
class IndexKind(Kind):
    """A choice of `index.kind`: an `index.base.Retriever`."""

    on_devices: bool = False
    """Whether its search is a program of the devices that it is divided over."""
    is_program: bool = False
    """Whether that is all of its search, so that `index.store device` can make it a part of another program."""
    embeds: bool = True
    """Whether it searches with the embedder's vectors, so that the embedder can learn."""


@dataclasses.dataclass(frozen=True)
class MaskingKind(Kind):
    """A choice of `masking.kind`: a `text.masking.Hide`."""

    hides_salient: bool = False
    """Whether it hides a salient span that the filters allow, so that its holders are known."""
    learns: bool = False
    """Whether the kind of span to hide is drawn by its measured utility."""


SOURCES = {
    "factbook": SourceKind("factbook.source:Factbook", brings_questions=True),
    "wikipedia": SourceKind("corpus.wikipedia:dump_or_excerpt", has_plain_files=True),
    "wikiextractor": SourceKind("corpus.files:WikiExtractor", has_plain_files=True),
    "jsonl": SourceKind("corpus.files:JsonLines", is_text=True, has_plain_files=True, has_columns=True),
    "folder": SourceKind("corpus.folder:Folder", is_text=True, has_plain_files=True),
    "table": SourceKind("corpus.table_files:TableFiles", is_text=True, has_columns=True),
    "squad": SourceKind("qa.squad:SquadFiles", brings_questions=True, is_text=True, has_plain_files=True),
    "tfds_wikipedia": SourceKind("corpus.tensorflow_corpora:TfdsArticles"),
    "salient_span_wikipedia": SourceKind("corpus.tensorflow_corpora:TfdsArticles"),
    "orqa": SourceKind("corpus.tensorflow_corpora:OrqaBlocks", has_plain_files=True),
    "published": SourceKind("corpus.source:nothing_to_cut"),
}

DOCUMENTS = {
    ".txt": DocumentKind("corpus.documents:plain"),
    ".text": DocumentKind("corpus.documents:plain"),
    ".md": DocumentKind("corpus.documents:markdown"),
    ".markdown": DocumentKind("corpus.documents:markdown"),
    ".html": DocumentKind("corpus.html_document:html"),
    ".htm": DocumentKind("corpus.html_document:html"),
    ".xhtml": DocumentKind("corpus.html_document:html"),
    ".rst": DocumentKind("corpus.rst_document:rst", package="docutils", extra="rst"),
    ".pdf": DocumentKind("corpus.pdf_document:pdf", package="pypdf", extra="pdf"),
}
"""Files that the source `folder` reads, by suffix."""

INDEXES = {
    "scann": IndexKind("index.scann:ScannIndex"),
    "exact": IndexKind("index.exact:ExactIndex", on_devices=True, is_program=True),
    "hybrid": IndexKind("index.hybrid:HybridIndex", on_devices=True),
    "bm25": IndexKind("index.bm25:Bm25Index", embeds=False),
}

MASKINGS = {
    "salient": MaskingKind("text.masking:salient_span", hides_salient=True),
    "learned": MaskingKind("text.masking:salient_span", learns=True),  # of those of the kind that was drawn
    "spans": MaskingKind("text.masking:random_spans"),
    "words": MaskingKind("text.masking:random_words"),
    "tokens": MaskingKind("text.masking:random_tokens"),
}

QUESTION_FORMATS = {
    "trec": Kind("qa.question_files:TREC"),
    "squad": Kind("qa.question_files:SQUAD"),
    "array": Kind("qa.question_files:ARRAY"),
    "lines": Kind("qa.question_files:LINES"),
}
"""Forms of question files (`qa.question_files.Format`); the first that fits a file is taken."""
