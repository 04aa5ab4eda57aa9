"""Folders in an object store (`gs://...`) in place of local ones.

An object is written whole or not at all, so a file needs no other name first; but nothing can be renamed, appended to,
memory-mapped or locked. Hence: a folder is complete once its last file is there (`LAST`), files to be memory-mapped are
copied to local disk first, and a lock is an object that its owner writes anew all the time.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from etils import epath

from realm_jax import disk
from realm_jax.errors import UserError, from_json

AnyPath: TypeAlias = Path | epath.Path
LAST = ("manifest.json", "index.html")
"""Files that say that a folder is complete: copied last, removed first."""
LEASE_S = 60.0
"""Seconds after which a lock that is not written anew is nobody's."""


def path_of(text: str | AnyPath) -> AnyPath:
    """A local path, or one in an object store, where nothing that was listed before is believed."""
    if "://" not in str(text):
        return Path(text)
    import fsspec

    scheme = str(text).partition("://")[0]
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError):
        raise UserError(
            f"{text}: nothing is installed that reads {scheme}://; for gs:// run `pip install 'realm_jax[gcs]'`"
        ) from None
    for protocol in ("gs", "gcs"):
        fsspec.config.conf.setdefault(protocol, {}).setdefault("use_listings_cache", False)
    return epath.Path(text)


def is_remote(path: AnyPath) -> bool:
    return "://" in str(path)


def mirror(path: AnyPath) -> Path:
    """Where a remote folder has its local copy."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "realm_jax" / "remote"
    return cache / str(path).replace("://", "/")


def _names(folder: Path, leave_out: tuple[str, ...]) -> list[Path]:
    """The files of a local folder, but for dotted names and those of `leave_out`; the file that makes it complete is
    last."""
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [name for name in names if not name.parts[0].startswith(".") and name.parts[0] not in leave_out]
    return sorted(names, key=lambda name: str(name) in LAST)


def digest(folder: Path, leave_out: tuple[str, ...] = ()) -> str:
    """Of the names and bytes of the files that `copy_up` copies, except the one that makes it complete."""
    found = hashlib.sha256()
    for name in _names(folder, (*leave_out, *LAST)):
        with open(folder / name, "rb") as file:
            found.update(f"{name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\0".encode())
    return found.hexdigest()[:32]


def copy_up(folder: Path, target: AnyPath, leave_out: tuple[str, ...] = ()) -> None:
    """Copies a local folder, whose last file makes it complete; dotted names and those of `leave_out` stay here."""
    for name in _names(folder, leave_out):
        (target / str(name)).write_bytes((folder / name).read_bytes())


def copy_down(source: AnyPath, folder: Path, last: str = LAST[0], keep: tuple[str, ...] = ()) -> None:
    """Brings the local copy of a remote folder to its state, if it has another; of several processes one does it.

    Args:
      keep: patterns of files that are the local copy's own and stay.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(folder.with_name(f".{folder.name}.copying")):
        manifest = (source / last).read_bytes()
        if (folder / last).exists() and (folder / last).read_bytes() == manifest:
            return
        kept = {path for pattern in keep for path in folder.glob(pattern)}
        for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
            if not path.is_dir():
                if path not in kept:
                    path.unlink(missing_ok=True)
            elif not any(path.iterdir()):
                path.rmdir()
        for path in files(source):
            target = folder / str(path.relative_to(source))
            if target.name != last or path.parent != source:
                target.parent.mkdir(parents=True, exist_ok=True)
                with path.open("rb") as remote, open(target, "wb") as local:
                    shutil.copyfileobj(remote, local, 1 << 24)
        (folder / last).write_bytes(manifest)


def files(folder: AnyPath) -> list[AnyPath]:
    """All files below a folder, remote or not."""
    if not folder.is_dir():
        return []
    found = []
    for path in folder.iterdir():
        found += files(path) if path.is_dir() else [path]
    return found


def remove(folder: AnyPath) -> None:
    """Removes a folder, its completeness first; does nothing where there is none."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in sorted(files(folder), key=lambda path: path.name not in LAST):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Waits, and says so, until no other process of this machine holds the file."""
    with open(file, "a", encoding="utf-8") as lock:
        if not disk.lock(lock):
            print(f"{file}: waiting for another process, which is at work there", file=sys.stderr, flush=True)
            while not disk.lock(lock):
                time.sleep(0.1)
        yield


class Lease:
    """A lock in an object store: of two that want it at the same moment both may get it, so it guards against mistakes
    and not against races. Clocks of the machines must agree to well below `LEASE_S`."""

    def __init__(self, path: AnyPath):
        self._path, self._end = path, threading.Event()
        self._me = [socket.gethostname(), os.getpid()]

    def holder(self) -> int | None:
        """The process that holds it, on any machine."""
        try:
            found = from_json(self._path.read_bytes())
            host, process = found["owner"]
        except FileNotFoundError:
            return None
        except (UserError, LookupError, TypeError, ValueError):
            raise UserError(f"{self._path}: damaged, it names no owner; delete it if no job is at work there") from None
        gone = host == self._me[0] and not os.path.exists(f"/proc/{process}")
        return None if gone or time.time() - found["at"] > LEASE_S else process

    def hold(self) -> None:
        self._write()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        self._end.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._path.write_text(json.dumps({"owner": self._me, "at": time.time()}), encoding="utf-8")

    def _renew(self) -> None:
        while not self._end.wait(LEASE_S / 4):
            with contextlib.suppress(Exception):  # whatever the store raises: it comes back, or the lease ends
                self._write()
