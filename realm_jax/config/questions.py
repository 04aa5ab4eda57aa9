"""Options `questions`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.errors import UserError
from realm_jax.settings import Added, InputFile, Machine, Part, ShapesData

QUESTION_SPLITS = ("train", "dev", "dev_new_kinds", "test", "test_new_kinds")
"""Of a set of questions; options of `Questions` name files for each."""


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
    dev_new_kinds: Annotated[tuple[str, ...], InputFile(), ShapesData(), Added()] = ()
    """The same of a second development set, of kinds of question that training does not have."""
    test_new_kinds: Annotated[tuple[str, ...], InputFile(), ShapesData(), Added()] = ()
    """The same of a second test set: it tells how far the learned forms carry. Its figures end in `_new_kinds`."""
    by_kind: Annotated[bool, ShapesData(), Added()] = False
    """Whether the questions that data.source brings are split by kind as well as by subject: training, dev and test
    share their kinds, dev_new_kinds and test_new_kinds have kinds of their own."""

    @property
    def files(self) -> dict[str, tuple[str, ...]]:
        """{split: its files}, of the splits that have any."""
        return {split: names for split in QUESTION_SPLITS if (names := getattr(self, split))}

    @property
    def has_own_folder(self) -> bool:
        """Whether the set lies beside the one that the corpus is prepared with."""
        return bool(self.files) or self.by_kind

    def check(self, name: str) -> None:
        if self.by_kind and self.files:
            raise UserError(
                f"{name}by_kind: splits the questions that data.source brings, but {name}{next(iter(self.files))} "
                f"names files; leave one out, or name files for {name}test_new_kinds"
            )
