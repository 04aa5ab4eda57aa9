"""The tensors in a file, memory-mapped: safetensors, or torch's own format (read without torch, and without its pickle
being run)."""

import struct
import zipfile
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors

from realm_jax.errors import BadJson, UserError, from_json
from realm_jax.published import pickles

SAFETENSORS, TORCH = "model.safetensors", "pytorch_model.bin"
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
TYPES = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": BFLOAT16, "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1",
    "U8": "u1", "BOOL": "?",
}  # fmt: skip
STORAGES = {
    "Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": BFLOAT16, "Long": "i8", "Int": "i4", "Short": "i2",
    "Char": "i1", "Byte": "u1", "Bool": "?",
}  # fmt: skip
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""The start of a file saved by torch before 1.6, a pickle of its own."""
Tensors = dict[str, np.ndarray]


def read(directory: Path) -> tuple[Tensors, Path]:
    """Tensors of the weights in a folder, and the file that says which they are.

    Raises:
      UserError: there is no such file, or it is damaged or of another format.
    """
    for name, reader in ((SAFETENSORS, read_safetensors), (TORCH, read_torch)):
        index = directory / f"{name}.index.json"
        if (directory / name).is_file():
            return reader(directory / name), directory / name
        if index.is_file():
            return _read_parts(index, reader), index
    raise UserError(f"{directory}: holds neither {SAFETENSORS} nor {TORCH}")


def _read_parts(index: Path, reader: Callable[[Path], Tensors]) -> Tensors:
    """Tensors spread over several files by {"weight_map": {tensor: file}}."""
    try:
        files = from_json(index.read_bytes())["weight_map"]
        parts = {name: reader(index.parent / Path(name).name) for name in sorted(set(files.values()))}
        return {name: parts[file][name] for name, file in files.items()}
    except (BadJson, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: names no tensors of its files ({error!r}); fetch the folder again") from None


def read_safetensors(path: Path) -> Tensors:
    try:
        with safetensors.safe_open(path, framework="np"):
            pass  # the library checks that the header is whole and fits the file
        with open(path, "rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = from_json(file.read(size))
    except (safetensors.SafetensorError, OSError, struct.error, BadJson) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error}); fetch the file again") from None
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] not in TYPES:
            raise UserError(f"{path}: {name} is of type {entry['dtype']}; it must be one of {', '.join(TYPES)}")
        offset = 8 + size + entry["data_offsets"][0]
        tensors[name] = _mapped(path, TYPES[entry["dtype"]], offset, tuple(entry["shape"]))
    return tensors


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    count: int


class _Slice(NamedTuple):
    """A tensor: part of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _storage(reference: tuple) -> _Storage:
    kind, dtype, key, _, count = reference[:5]
    if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(count, int):
        raise ValueError(f"a reference to {kind!r}")
    return _Storage(str(key), dtype, count)


TORCH_TABLE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): lambda: {},
    ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, strides, *_: _Slice(
        storage, offset, shape, strides
    ),
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
} | {("torch", f"{name}Storage"): np.dtype(kind) for name, kind in STORAGES.items()}


def read_torch(path: Path) -> Tensors:
    """The tensors of a state dict, saved in a zip archive or in the format before torch 1.6."""
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
            slices, offsets = _read_zip(file, path) if is_zip else _read_legacy(file, path)
            end = file.seek(0, 2)
    except (OSError, zipfile.BadZipFile, struct.error) as error:
        raise UserError(f"{path}: cannot be read as what torch saves ({error}); fetch the file again") from None
    if not isinstance(slices, dict) or not all(isinstance(part, _Slice) for part in slices.values()):
        raise UserError(f"{path}: holds no dict of tensors; it must be what torch.save(model.state_dict()) writes")
    tensors = {}
    for name, part in slices.items():
        storage, size = part.storage, part.storage.dtype.itemsize
        if storage.key not in offsets or offsets[storage.key] + storage.count * size > end:
            raise UserError(f"{path}: {name}: its numbers are not in the file; fetch the file again")
        last = part.offset + sum((n - 1) * step for n, step in zip(part.shape, part.strides, strict=True))
        if min(part.offset, *part.strides, 0) < 0 or min(part.shape, default=1) < 1 or last >= storage.count:
            raise UserError(f"{path}: {name}: shape {part.shape}, strides {part.strides} leave its storage")
        flat = _mapped(path, storage.dtype, offsets[storage.key], (storage.count,))
        tensors[name] = _shaped(flat, part)
    return tensors


def _shaped(flat: np.ndarray, part: _Slice) -> np.ndarray:
    expected, step = [], 1
    for n in reversed(part.shape):
        expected.append(step)
        step *= n
    if all(s == e or n == 1 for n, s, e in zip(part.shape, part.strides, reversed(expected), strict=True)):
        return _mapped(
            Path(flat.filename), flat.dtype, flat.offset + part.offset * flat.dtype.itemsize, tuple(part.shape)
        )
    strides = [s * flat.dtype.itemsize for s in part.strides]
    return np.lib.stride_tricks.as_strided(flat[part.offset :], part.shape, strides, writeable=False)


def _read_zip(file: BufferedIOBase, path: Path) -> tuple[Any, dict[str, int]]:
    """The pickle `<folder>/data.pkl`, and where in the file each `<folder>/data/<key>` begins."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickled = next((name for name in entries if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise UserError(f"{path}: a zip archive without data.pkl; it must be what torch.save writes")
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in entries and archive.read(f"{folder}byteorder") != b"little":
            raise UserError(f"{path}: its numbers are stored big end first; save it on a little-endian machine")
        with archive.open(pickled) as data:
            slices = pickles.load(data, f"{path}, data.pkl", TORCH_TABLE, persistent=_storage)
    offsets = {}
    for name, entry in entries.items():
        if name.startswith(f"{folder}data/"):
            if entry.compress_type != zipfile.ZIP_STORED:
                raise UserError(f"{path}: {name} is compressed, which torch.save never does; save the file again")
            file.seek(entry.header_offset + 26)
            lengths = struct.unpack("<HH", file.read(4))
            offsets[name.removeprefix(f"{folder}data/")] = entry.header_offset + 30 + sum(lengths)
    return slices, offsets


def _read_legacy(file: BufferedIOBase, path: Path) -> tuple[Any, dict[str, int]]:
    """Pickles of a magic number, a version, the machine, the state dict and the keys; then each key's numbers."""
    storages: dict[str, _Storage] = {}

    def persistent(reference: tuple) -> _Storage:
        storage = _storage(reference)
        return storages.setdefault(storage.key, storage)

    file.seek(0)
    if pickles.load(file, str(path), TORCH_TABLE) != LEGACY_MAGIC:
        raise UserError(f"{path}: neither what torch.save writes nor what it wrote before version 1.6")
    pickles.load(file, str(path), TORCH_TABLE)
    if not pickles.load(file, str(path), TORCH_TABLE).get("little_endian"):
        raise UserError(f"{path}: its numbers are stored big end first; save it on a little-endian machine")
    slices = pickles.load(file, str(path), TORCH_TABLE, persistent=persistent)
    offsets = {}
    for key in pickles.load(file, str(path), TORCH_TABLE):
        (count,) = struct.unpack("<q", file.read(8))
        if key not in storages or storages[key].count != count:
            raise UserError(f"{path}: {count} numbers of storage {key!r}, which no tensor has; fetch the file again")
        offsets[key] = file.tell()
        file.seek(count * storages[key].dtype.itemsize, 1)
    return slices, offsets


def _mapped(path: Path, dtype: Any, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    """Part of a file as a read-only array, whose numbers are read when they are used."""
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape or (1,)).reshape(shape)
