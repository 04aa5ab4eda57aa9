"""The text of passages, by row of the store."""

import dataclasses

import numpy as np

from realm_jax.corpus import tfds_files
from realm_jax.workdir import DataDir


@dataclasses.dataclass(frozen=True)
class PassageText:
    title: str
    text: str
    where: str = ""
    """The file that the article comes from, and its line or byte there."""
    article: int = dataclasses.field(default=-1, compare=False)
    """Number of the article; its passages are neighbouring rows."""


class PassageTexts:
    """Titles and bodies, read one at a time: nothing is held in memory. The null passage is empty."""

    def __init__(self, data: DataDir):
        """Raises UserError where the passages are not prepared."""
        self._records = tfds_files.read(data.tfds, "passages", "train", raw=True)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int | np.integer) -> PassageText:
        if row == len(self):
            return PassageText("", "")
        fields = tfds_files.Fields(self._records[int(row)])
        texts = (fields[name][0].decode() for name in ("title", "text", "where"))
        return PassageText(*texts, article=int(fields["article"][0]))
