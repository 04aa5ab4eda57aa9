"""Options `questions`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.settings import InputFile, Machine, Part, ShapesData


@dataclasses.dataclass(frozen=True)
class Questions(Part):
    """The questions of fine-tuning and evaluation; docs/questions.md has the formats. Without any file: those that
    data.source brings."""

    train: Annotated[tuple[str, ...], InputFile(), ShapesData()] = ()
    """Files of training questions: JSON lines, WebQuestions' JSON, CuratedTREC's .tsv, or FOLDER:SPLIT of a data set
    that TFDS has prepared."""
    dev: Annotated[tuple[str, ...], InputFile(), ShapesData()] = ()
    """The same of development questions. None takes a tenth out of the training questions, as ORQA does."""
    test: Annotated[tuple[str, ...], InputFile(), ShapesData()] = ()
    """The same of test questions. None takes another tenth out of the training questions; public sets have a file."""
    match: Annotated[Literal["nq_open", "squad", "no_accents", "regex"], ShapesData()] = "nq_open"
    """When a predicted answer is right. `nq_open` (ORQA, REALM): it equals an answer but for case, punctuation and
    articles; `squad` (SQuAD, DPR): likewise, and accents must be encoded alike; `no_accents`: likewise, but for
    accents; `regex` (CuratedTREC): answers are regular expressions, and one matches from the first character on."""
    skip_faulty: Annotated[bool, Machine()] = False
    """Whether faulty records are left out and counted; otherwise they are an error."""
