"""Files and folders of this machine: written whole or not at all, kept through a power cut, and checked when read."""

import contextlib
import errno
import fcntl
import json
import math
import os
import shutil
import socket
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from realm_jax.errors import FULL, BadJson, UserError, from_json

CHECKSUMS = "checksums.json"
"""In a folder whose files are compared when they are read: {path: CRC-32C}."""
_ON_FOLDERS = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES)
"""The error of a file system that syncs no folders."""


@contextlib.contextmanager
def written(target: Path) -> Iterator[Path]:
    """Gives the name of a file to write; on a clean exit it is `target`, which outlasts a power cut from then on.

    Other processes, of other machines too, may write it at the same time. The leftovers of dead writers are swept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    temporary = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with writing(target):
            yield temporary
            rename(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def written_folder(target: Path) -> Iterator[Path]:
    """The same of a folder, which one process alone writes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary, before = target.with_name(f".{target.name}.tmp"), target.with_name(f".{target.name}.before.tmp")
    for leftover in (temporary, before):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        with writing(target):
            yield temporary
            sync(temporary)
        if target.exists():
            os.rename(target, before)
        _put(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if target.exists():
            shutil.rmtree(before, ignore_errors=True)


@contextlib.contextmanager
def made_anew(paths: Sequence[Path], aside: Path, begin: bool = True) -> Iterator[None]:
    """Makes room for files and folders that are made anew together; an error brings the old ones back.

    Args:
      paths: the first of them tells that all are whole.
      aside: where the old ones lie meanwhile. After a kill they still do, so that the next one may bring them back.
      begin: or else what a killed one has made of the new ones stays.
    """
    if begin and paths[0].exists() and not aside.exists():
        aside.mkdir()
        for i, path in enumerate(paths):
            if path.exists():
                os.rename(path, aside / str(i))
    elif begin:
        for path in paths:
            _remove(path)
    try:
        yield
    except Exception:
        if aside.exists():
            for i, path in reversed(list(enumerate(paths))):
                _remove(path)
                if (aside / str(i)).exists():
                    os.rename(aside / str(i), path)
            aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Any) -> Iterator[None]:
    """Names the file or folder in the error of a disk that is full: once a file is open, Python does not."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def rename(path: Path, target: Path) -> None:
    """Publishes the written file: its content is on disk before the new name is, and then the name is, too."""
    sync(path)
    _put(path, target)


def _put(path: Path, target: Path) -> None:
    os.replace(path, target)
    _sync_one(target.parent)


def sync(path: Path) -> None:
    """Returns once a file, or all of a folder, is on disk.

    Raises:
      OSError: an array in a .npy file lacks its end, as NumPy does not notice that there was no room for that.
    """
    for folder, _, names in os.walk(path):
        for name in names:
            _sync_one(Path(folder, name))
        _sync_one(Path(folder))
    if not path.is_dir():
        _sync_one(path)


def seal(folder: Path, but: Collection[str] = ()) -> None:
    """Notes the checksums of all files of a folder that was just made, `but` some, once these are on disk."""
    sync(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in but]
    found = {str(path.relative_to(folder)): _checksum(path) for path in files}
    with written(folder / CHECKSUMS) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    _sync_one(folder.parent)


def damage(folder: Path, parts: Collection[str] = ()) -> str:
    """What is wrong with a sealed folder, or with some parts of it; "" where nothing is, or where it has no seal.

    Args:
      parts: names in it that are looked at, with all that is within; none means all.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return ""
    try:
        sealed = from_json(path.read_bytes())
        for name, expected in sealed.items():
            if (not parts or name.split("/")[0] in parts) and _checksum(folder / name) != expected:
                return f"{folder / name}: damaged, its checksum is not the one in {CHECKSUMS}"
    except FileNotFoundError as error:
        return f"{error.filename}: is missing"
    except (BadJson, AttributeError):
        return f"{path}: damaged, it lists no checksums"
    return ""


@contextlib.contextmanager
def reading(path: Any, remedy: str) -> Iterator[None]:
    """Makes of whatever a library raises that reads a file or folder a UserError: it is damaged, and the remedy."""
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # libraries have many, and no common one
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{path}: damaged ({reason}); {remedy}") from error


def read_array(path: Path, remedy: str) -> Any:
    """What a .npy file holds, memory-mapped. Raises UserError where it is damaged."""
    import numpy as np

    with reading(path, remedy):
        return np.lib.format.open_memmap(path, mode="r")


def checksum(content: bytes, before: int = 0) -> int:
    """CRC-32C, of content that comes after what has the checksum `before`."""
    import google_crc32c

    return google_crc32c.extend(before, content)


def _checksum(path: Path) -> str:
    found = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            found = checksum(block, found)
    return f"{found:08x}"


def _sync_one(path: Path) -> None:
    is_folder = path.is_dir()
    if not is_folder:
        _check_array(path)
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        if not (is_folder and error.errno in _ON_FOLDERS):
            raise OSError(error.errno, error.strerror, str(path)) from None


def _check_array(path: Path) -> None:
    """Raises OSError for a .npy file, under whatever name, that is shorter than it says."""
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            return
        import numpy as np

        file.seek(0)
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            return
        shape, _, dtype = read(file)
        if not dtype.hasobject and os.fstat(file.fileno()).st_size < file.tell() + math.prod(shape) * dtype.itemsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _sweep(target: Path) -> None:
    """Removes the temporary files of dead processes of this machine."""
    start = f".{target.name}."
    for name in os.listdir(target.parent):
        if name.startswith(start) and name.endswith(".tmp"):
            host, _, process = name[len(start) : -len(".tmp")].rpartition(".")
            if host in ("", socket.gethostname()) and process.isdecimal() and not _is_alive(int(process)):
                Path(target.parent, name).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return True


def lock(file: IO, shared: bool = False) -> bool:
    """Whether this process holds a file now, alone or with others that share it; no wait.

    Raises:
      UserError: its file system has no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{file.name}: this file system locks no files ({error.strerror}), so that two jobs could spoil each "
            "other's work; mount it with locks (Lustre: -o flock; NFS: its lock service), or name a folder elsewhere"
        ) from None
    return True
