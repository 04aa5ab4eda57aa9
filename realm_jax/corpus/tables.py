"""Tables of all sentences and salient spans, by which SentenceSource chooses without reading the text; and of the
places of the sentences of passages, which is all that ICT reads if the text is another corpus."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from realm_jax import disk
from realm_jax.corpus.shards import Record
from realm_jax.corpus.store import GrowingArray
from realm_jax.errors import UserError
from realm_jax.workdir import DataDir

SPLITS = ("train", "heldout")
_TYPES = {
    "sentences": np.dtype([("record", "<i4"), ("sentence", "<i4"), ("pieces", "<i4")]),
    "spans": np.dtype([("record", "<i4"), ("sentence", "<i4"), ("pieces", "<i4"), ("holders", "<i4")]),
}
"""One row per sentence or span, in the corpus's order. `sentence` counts within the record, `pieces` are wordpieces.
Rows of spans end with their `kind`, as many bytes as the longest type of the corpus has."""
_PLACE = np.dtype([("row", "<i4"), ("first", "<i4"), ("limit", "<i4")])
"""Row of a sentence's passage; the sentence's first and past-the-last position in that row."""


def tables(data: DataDir) -> Path:
    return data.root / "sentences"


_ROWS_AT_ONCE = 1 << 18
_PLACES = "places.npy"
COUNTS = "counts.json"
REMEDY = "delete its folder and run `prepare` again"


def are_written(data: DataDir, with_places: bool) -> bool:
    """Whether the tables are there, every one of them."""
    names = [COUNTS, *(f"{split}_{name}.npy" for split in SPLITS for name in _TYPES), *[_PLACES] * with_places]
    return all((tables(data) / name).exists() for name in names)


def read_blocks(data: DataDir, split: str, name: str) -> Iterator[np.ndarray]:
    """A table in blocks, one in memory at a time (memory-mapped blocks would count once they were touched).

    Raises:
      UserError: the data are not prepared, or have no such split.
    """
    path = tables(data) / f"{split}_{name}.npy"
    if not path.exists():
        raise UserError(f"{path}: not there; run `prepare` first (splits are {', '.join(SPLITS)})")
    with disk.reading(path, REMEDY), open(path, "rb") as file:
        np.lib.format.read_magic(file)
        (rows,), _, dtype = np.lib.format.read_array_header_1_0(file)
        for start in range(0, rows, _ROWS_AT_ONCE):
            yield np.fromfile(file, dtype, min(_ROWS_AT_ONCE, rows - start))


def write_places(folder: Path, knowledge: Iterable[Record]) -> None:
    """The places of all sentences of the knowledge corpus, if the masked text is another corpus."""
    array, first_row = GrowingArray(folder / _PLACES, _PLACE), 0
    for record in knowledge:
        places = np.zeros(len(record["origins"]), _PLACE)
        places["row"] = np.array(record["origins"], np.int32) + np.int32(first_row)
        places["first"], places["limit"] = np.array(record["places"], np.int32).reshape(-1, 2).T
        array.append(places)
        first_row += len(record["passages"])
    array.close()


def read_places(data: DataDir) -> np.ndarray:
    """The output of `write_places`, memory-mapped.

    Raises:
      UserError: there is none.
    """
    path = tables(data) / _PLACES
    if not path.exists():
        raise UserError(
            f"{path}: not there, but ict.steps needs it where data.text_source is another corpus; run `prepare` first"
        )
    return disk.read_array(path, REMEDY)


class TableWriter:
    """Writes the tables of all splits, as they grow."""

    def __init__(self, folder: Path, type_bytes: int):
        kind = ("kind", f"S{max(type_bytes, 1)}")
        self._types = _TYPES | {"spans": np.dtype([*_TYPES["spans"].descr, kind])}
        self._arrays = {
            (split, name): GrowingArray(folder / f"{split}_{name}.npy", dtype)
            for split in SPLITS
            for name, dtype in self._types.items()
        }
        self._records = dict.fromkeys(SPLITS, 0)

    def __enter__(self) -> "TableWriter":
        return self

    def append(self, split: str, example: dict[str, Any]) -> None:
        """Adds the sentences and spans of a record as the builder `queries` gets it."""
        sentences = np.zeros(len(example["origin"]), self._types["sentences"])
        sentences["sentence"] = np.arange(len(sentences))
        sentences["pieces"] = example["places"][:, 1] - example["places"][:, 0]
        spans = np.zeros(len(example["holder_count"]), self._types["spans"])
        spans["sentence"] = np.searchsorted(
            [sentence["limit"] for sentence in example["sentences"]], [span["limit"] for span in example["spans"]]
        )
        spans["pieces"], spans["holders"] = example["span_pieces"], example["holder_count"]
        spans["kind"] = [span["type"].encode() for span in example["spans"]]
        for name, rows in (("sentences", sentences), ("spans", spans)):
            rows["record"] = self._records[split]
            self._arrays[split, name].append(rows)
        self._records[split] += 1

    def __exit__(self, kind, *_) -> None:
        for array in self._arrays.values():
            array.close()
