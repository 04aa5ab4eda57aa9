"""Who is at work in a folder, and waits that have a limit."""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from realm_jax import disk, remote
from realm_jax.errors import UserError
from realm_jax.remote import AnyPath, is_remote

T = TypeVar("T")


@contextlib.contextmanager
def sole_owner(folder: AnyPath, job: str, wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds `folder` for one process of `job`; the kernel lets go when the process ends, however it ends.

    Args:
      wait: is told once that another process holds it, whose end is then waited for.

    Raises:
      UserError: another process holds it, and nobody waits; or it is no folder that can be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder") from None
    path = folder / f".{job}.lock"
    if is_remote(folder):
        lease = remote.Lease(path)
        if (holder := lease.holder()) is not None:
            raise UserError(
                f"{folder}: {job} is already running there (process {holder}); stop it first, or wait "
                f"{remote.LEASE_S:.0f} s if it was killed"
            )
        lease.hold()
        try:
            yield
        finally:
            lease.release()
        return
    with open(path, "a+", encoding="utf-8") as file:
        for tries in itertools.count(1):
            if disk.lock(file):
                break
            time.sleep(0.05 if tries <= 10 else 0.5)
            if tries == 10:  # `owner` holds the lock for an instant
                file.seek(0)
                holder = file.read().strip()
                if wait is None:
                    raise UserError(f"{folder}: {job} is already running there (process {holder}); stop it first")
                wait(f"{folder}: waiting for process {holder}, which is at work there")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def wait_for(
    poll: Callable[[], T | None],
    what: str,
    *,
    stop_after_s: float,
    warn_after_s: float | None = None,
    warn: Callable[[str], None] = print,
    hint: Callable[[], str] = str,
    got_on: Callable[[], bool] = bool,
) -> T:
    """Calls `poll` until it returns something.

    Raises:
      UserError: for `stop_after_s` seconds nothing came, nor did those `got_on` who are waited for.
    """
    start = time.monotonic()
    while (result := poll()) is None:
        waited = time.monotonic() - start
        if waited > stop_after_s and not got_on():
            raise UserError(f"waited {waited:.0f} s for {what}, in vain. {hint()}".rstrip())
        start = start if waited <= stop_after_s else time.monotonic()
        if warn_after_s is not None and waited > warn_after_s:
            warn(f"warning: waiting for {what} since {waited:.0f} s. {hint()}".rstrip())
            warn_after_s = None
        time.sleep(0.2)
    return result


def owner(folder: AnyPath, job: str) -> int | None:
    """Process that holds `folder` for `job` right now, or None."""
    if is_remote(folder):
        return remote.Lease(folder / f".{job}.lock").holder()
    try:
        with open(folder / f".{job}.lock", encoding="utf-8") as file:
            if not disk.lock(file, shared=True):
                return int(file.read().strip() or 0)
    except FileNotFoundError:
        pass
    return None
