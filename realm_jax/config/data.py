"""Options `data`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.errors import UserError
from realm_jax.kinds import SOURCES
from realm_jax.settings import Added, First, Fraction, InputFile, Machine, Part, Range, ShapesData, Width

TEXT_SOURCES = tuple(name for name, kind in SOURCES.items() if kind.is_text)
COLUMNS = ("title", "text", "id")
TAGGERS = ("rules", "dates", "links", "ner")


@dataclasses.dataclass(frozen=True)
class Data(Part):
    """The corpus and how it becomes tokens."""

    source: Annotated[Literal[*SOURCES], ShapesData(), First()] = "factbook"
    """Where articles come from; docs/own_documents.md and docs/corpora.md have the formats. `published`: the passages
    that `import_weights` brought."""
    path: Annotated[str, InputFile(words=("excerpt",)), ShapesData(), First()] = ""
    """File or folder of the source; `factbook` and `published` need none."""
    text_source: Annotated[Literal["", *TEXT_SOURCES], ShapesData()] = ""
    """Source of the pre-training text X, if you mask another text than the knowledge corpus Z. The paper masks CC-News
    and retrieves from Wikipedia. ICT still draws from the knowledge corpus."""
    text_path: Annotated[str, InputFile(), ShapesData()] = ""
    """File or folder of the pre-training text."""
    taggers: Annotated[tuple[str, ...], ShapesData()] = ("rules",)
    """Taggers that find salient spans, if the source brings none; the first has precedence. `rules`: dates, numbers,
    names by their capitals; `dates`; `links`: names that the article links to, and its title; `ner`: a BERT token
    classifier. The paper: `dates` and `ner`."""
    tagger_weights: Annotated[str, InputFile(), ShapesData()] = ""
    """Folder of the classifier `ner`: a BERT for CoNLL-2003 entities in Hugging Face's format."""
    holders: Annotated[bool, ShapesData()] = True
    """Whether to look up which other passages hold each salient span. masking.min_holders, pretrain.oversample, warm-up
    and probe need it. It takes memory in proportion to the corpus: turn it off for millions of passages."""
    processes: Annotated[int, Range(0, 4096), Machine()] = 0
    """Processes that read and cut articles; 0 is one for each CPU core."""
    skip_faulty: Annotated[bool, Machine()] = False
    """Whether to leave out and count faulty records of the source; otherwise they are an error."""
    directory: str = ""
    """Folder of the prepared data; empty means <workdir>/data. Your workdirs may share one."""
    passage_length: Annotated[int, Range(8, 512), ShapesData()] = 64
    """Wordpieces of a passage, P: [CLS] title [SEP] body [SEP] (the paper: 288)."""
    query_length: Annotated[int, Range(8, 512)] = 64
    """Wordpieces of a masked query or a question, Q: [CLS] query [SEP]."""
    joint_length: Annotated[int, Range(8, 512)] = 112
    """Wordpieces of the reader's input, J: [CLS] query [SEP] body [SEP]; the body is cut to fit."""
    answer_length: Annotated[int, Range(1, 512)] = 12
    """Wordpieces of the longest answer that is trained on; questions with no such answer are left out of training."""
    max_answers: Width = 8
    """Answers kept per question, A."""
    heldout_fraction: Annotated[Fraction, ShapesData()] = 0.05
    """Share of articles whose sentences are never masked in training, for the probe and the evaluation."""
    columns: Annotated[str, ShapesData(), Added()] = ""
    """Columns of the tables, or fields of the JSON lines, of data.path, where they have other names than `title`,
    `text` and `id`: title=NAME,text=NAME,id=NAME, or some of these."""

    @property
    def named_columns(self) -> dict[str, str]:
        """{"title", "text" or "id": its column}, of those that are named."""
        pairs = [pair.partition("=") for pair in self.columns.split(",") if pair.strip()]
        return {part.strip(): name.strip() for part, _, name in pairs}

    def check(self, name: str) -> None:
        for part, column in self.named_columns.items():
            if part not in COLUMNS or not column:
                raise UserError(
                    f"data.columns: {self.columns!r} is none of title=NAME, text=NAME, id=NAME, with commas between"
                )
        if self.columns and not SOURCES[self.source].has_columns:
            which = ", ".join(source for source, kind in SOURCES.items() if kind.has_columns)
            raise UserError(f"data.columns: data.source {self.source!r} has no columns to name; {which} have")
        if unknown := set(self.taggers) - set(TAGGERS):
            raise UserError(f"data.taggers: {min(unknown)!r} is none of {', '.join(TAGGERS)}")
        if ("ner" in self.taggers) != bool(self.tagger_weights):
            raise UserError("data.tagger_weights: name a folder of weights with the tagger `ner`, and without it none")
        if bool(self.text_source) != bool(self.text_path):
            raise UserError("data.text_path: goes with data.text_source; give both or neither")
