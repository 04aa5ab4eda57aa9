"""`block_records.npy`, an object array of the passages' bytes: a stream, read without running its pickle."""

import functools
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from realm_jax.errors import UserError
from realm_jax.published import pickles

RECORDS = "block_records.npy"
_ARRAY = {
    (module, name): (lambda *_: None)
    for module, name in (
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    )
}
"""The names in the pickle of an object array. The array is not made: its items are all that is wanted."""
_AT_ONCE = 1000


class Records(Sequence):
    """The items of an object array of bytes in a .npy file. Iterating reads the file once and keeps nothing."""

    def __init__(self, path: Path):
        """Raises UserError where the file is missing or holds another kind of array."""
        self.path = path
        try:
            with open(path, "rb") as file:
                version = np.lib.format.read_magic(file)
                header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, _, dtype = header[version](file)
                self._start = file.tell()
        except FileNotFoundError:
            raise UserError(f"{path}: is missing; it holds the text of the passages") from None
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UserError(f"{path}: cannot be read as a .npy file ({error}); fetch the file again") from None
        if dtype != np.dtype("O") or len(shape) != 1:
            raise UserError(
                f"{path}: {dtype} {list(shape)}; it must be an array of objects [N], each a passage's bytes"
            )
        self._count = shape[0]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return (item.data for item in self._items())

    def __getitem__(self, i):
        """Any passage, or a slice of them. The first call reads through the file for the places of all."""
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"passage {i} of {len(self)}")
        offset, size = self._places[i]
        with open(self.path, "rb") as file:
            file.seek(int(offset))
            return file.read(int(size))

    @functools.cached_property
    def _places(self) -> np.ndarray:
        """int64 [N, 2]: where each item begins, and how long it is."""
        places = np.empty((len(self), 2), np.int64)
        for i, item in enumerate(self._items()):
            places[i] = item.offset, len(item.data)
        return places

    def _items(self) -> Iterator[pickles.Item]:
        count = 0
        with open(self.path, "rb", buffering=1 << 20) as file:
            file.seek(self._start)
            for items in pickles.stream(file, str(self.path), _ARRAY):
                count += len(items)
                if count > len(self):
                    break
                yield from items
        if count != len(self):
            raise UserError(f"{self.path}: its header says {len(self)} passages, but it holds {count} or more")


def write_records(path: Path, passages: Iterable[bytes], count: int) -> None:
    """The output of np.save(path, np.array(passages, object), allow_pickle=True), without holding them all."""
    with open(path, "wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": (count,)}
        np.lib.format.write_array_header_1_0(file, header)
        # Protocol 3. array = _reconstruct(ndarray, (0,), b"b"); array.__setstate__((1, (count,), dtype, False, [...]))
        file.write(b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R")
        file.write(b"(K\x01J" + struct.pack("<i", count) + b"\x85cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R")
        file.write(b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89](")
        for i, passage in enumerate(passages, 1):
            file.write(b"B" + struct.pack("<I", len(passage)) + passage)
            if i % _AT_ONCE == 0:
                file.write(b"e(")
        file.write(b"etb.")
