"""Options `questions`."""

import dataclasses
from typing import Literal

from realm_jax.settings import Part


@dataclasses.dataclass(frozen=True)
class Questions(Part):
    """The questions of fine-tuning and evaluation; docs/questions.md has the formats. Without any file: those that
    data.source brings."""

    train: tuple[str, ...] = ()
    """Files of training questions: JSON lines, WebQuestions' JSON, CuratedTREC's .tsv, or FOLDER:SPLIT of a data set
    that TFDS has prepared."""
    dev: tuple[str, ...] = ()
    """The same of development questions. None takes a tenth out of the training questions, as ORQA does."""
    test: tuple[str, ...] = ()
    """The same of test questions. None takes another tenth out of the training questions; public sets have a file."""
    match: Literal["nq_open", "squad", "no_accents", "regex"] = "nq_open"
    """When a predicted answer is right. `nq_open` (ORQA, REALM): it equals an answer but for case, punctuation and
    articles; `squad` (SQuAD, DPR): likewise, and accents must be encoded alike; `no_accents`: likewise, but for
    accents; `regex` (CuratedTREC): answers are regular expressions, and one matches from the first character on."""
    skip_faulty: bool = False
    """Whether faulty records are left out and counted; otherwise they are an error."""
