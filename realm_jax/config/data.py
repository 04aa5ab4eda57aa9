"""Options `data`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.errors import UserError
from realm_jax.kinds import SOURCES
from realm_jax.settings import Count, Fraction, InputFile, Machine, Part, Positive, Range, ShapesData

TEXT_SOURCES = tuple(name for name, kind in SOURCES.items() if kind.is_text)
TAGGERS = ("rules", "dates", "links", "ner")


@dataclasses.dataclass(frozen=True)
class Data(Part):
    """The corpus and how it becomes tokens."""

    source: Annotated[Literal[*SOURCES], ShapesData()] = "factbook"
    """Where articles come from; docs/own_documents.md and docs/corpora.md have the formats. `published`: the passages
    that `import_weights` brought."""
    path: Annotated[str, InputFile(words=("excerpt",)), ShapesData()] = ""
    """File or folder of the source; `factbook` and `published` need none."""
    text_source: Annotated[Literal["", *TEXT_SOURCES], ShapesData()] = ""
    """Pre-training text X, where it is not the knowledge corpus Z itself: as in the paper, which masks CC-News and
    retrieves from Wikipedia. ICT draws from the knowledge corpus all the same."""
    text_path: Annotated[str, InputFile(), ShapesData()] = ""
    """File or folder of the pre-training text."""
    taggers: Annotated[tuple[str, ...], ShapesData()] = ("rules",)
    """What finds salient spans, where the source brings none; the first has precedence. `rules`: dates, numbers, names
    by their capitals; `dates`; `links`: what the article links to, and its title; `ner`: a BERT token classifier. The
    paper: `dates` and `ner`."""
    tagger_weights: Annotated[str, InputFile(), ShapesData()] = ""
    """Folder of the classifier `ner`: a BERT for CoNLL-2003 entities in Hugging Face's format."""
    holders: Annotated[bool, ShapesData()] = True
    """Whether to look up which other passages hold each salient span: masking.min_holders, pretrain.oversample,
    warm-up and probe need it. Takes memory in proportion to the corpus; turn it off for millions of passages."""
    processes: Annotated[Count, Machine()] = 0
    """Processes that read and cut articles; 0 is one for each CPU core."""
    skip_faulty: Annotated[bool, Machine()] = False
    """Whether faulty records of the source are left out and counted; otherwise they are an error."""
    directory: str = ""
    """Folder of the prepared data; empty means <workdir>/data. Several workdirs may share one."""
    passage_length: Annotated[int, Range(8, 512), ShapesData()] = 64
    """Wordpieces of a passage, P: [CLS] title [SEP] body [SEP] (the paper: 288)."""
    query_length: Annotated[int, Range(8, 512)] = 64
    """Wordpieces of a masked query or a question, Q: [CLS] query [SEP]."""
    joint_length: Annotated[int, Range(8, 512)] = 112
    """Wordpieces of what the reader reads, J: [CLS] query [SEP] body [SEP]; the body is cut to fit."""
    answer_length: Positive = 12
    """Wordpieces of the longest answer that is trained on; questions with no such answer are left out of training."""
    max_answers: Positive = 8
    """Answers kept per question, A."""
    heldout_fraction: Annotated[Fraction, ShapesData()] = 0.05
    """Share of articles whose sentences are never masked in training, for the probe and the evaluation."""

    def check(self, name: str) -> None:
        if unknown := set(self.taggers) - set(TAGGERS):
            raise UserError(f"data.taggers: {min(unknown)!r} is none of {', '.join(TAGGERS)}")
        if ("ner" in self.taggers) != bool(self.tagger_weights):
            raise UserError("data.tagger_weights: name a folder of weights with the tagger `ner`, and without it none")
        if bool(self.text_source) != bool(self.text_path):
            raise UserError("data.text_path: goes with data.text_source; give both or neither")
