"""Options `questions`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.errors import UserError
from realm_jax.settings import Added, First, InputFile, Machine, Part, ShapesData

QUESTION_SPLITS = ("train", "dev", "dev_new_kinds", "test", "test_new_kinds")
"""Of a set of questions; options of `Questions` name files for each."""


@dataclasses.dataclass(frozen=True)
class Questions(Part):
    """The questions of fine-tuning and evaluation; docs/questions.md has the formats. If you name no file, they are
    those that data.source brings."""

    train: Annotated[tuple[str, ...], InputFile(), ShapesData(), First()] = ()
    """Files of training questions: JSON lines, SQuAD's or WebQuestions' JSON, CuratedTREC's .tsv, or
    FOLDER:SPLIT of a data set that TFDS has prepared."""
    dev: Annotated[tuple[str, ...], InputFile(), ShapesData()] = ()
    """Files of development questions, likewise. Without any, a tenth of the training questions is taken, as in ORQA."""
    test: Annotated[tuple[str, ...], InputFile(), ShapesData()] = ()
    """Files of test questions, likewise. Without any, another tenth of the training questions is taken; public sets
    have a file."""
    match: Annotated[Literal["nq_open", "squad", "no_accents", "regex"], ShapesData()] = "nq_open"
    """When a predicted answer is right. `nq_open` (ORQA, REALM): it equals an answer but for case, punctuation and
    articles; `squad` (SQuAD, DPR): likewise, and accents must be encoded alike; `no_accents`: likewise, but for
    accents; `regex` (CuratedTREC): answers are regular expressions, and one matches from the first character on."""
    skip_faulty: Annotated[bool, Machine()] = False
    """Whether to leave out and count faulty records; otherwise they are an error."""
    dev_new_kinds: Annotated[tuple[str, ...], InputFile(), ShapesData(), Added()] = ()
    """Files of a second development set, with kinds of question that training does not have."""
    test_new_kinds: Annotated[tuple[str, ...], InputFile(), ShapesData(), Added()] = ()
    """Files of a second test set, which tells you how far the learned forms carry. Its figures end in `_new_kinds`."""
    by_kind: Annotated[bool, ShapesData(), Added()] = False
    """Whether to split the questions that data.source brings by kind as well as by subject. Training, dev and test
    share their kinds; dev_new_kinds and test_new_kinds have kinds of their own."""

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
