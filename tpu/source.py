"""The source that is sent to the slices: exactly the commit, unless the user wants otherwise."""

import os
import subprocess
import tarfile
from pathlib import Path

from realm_jax.config import experiment_file
from realm_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def commit(allow_dirty: bool) -> str:
    """Name of the output of `pack`: the commit, with `-dirty` where the work tree is another.

    Raises:
      UserError: there are uncommitted changes, and they are not allowed.
    """
    name = _git("rev-parse", "--short=12", "HEAD").strip()
    changed = _git("status", "--porcelain").splitlines()
    if changed and not allow_dirty:
        shown = "\n".join(changed[:10])
        raise UserError(
            f"the work tree has uncommitted changes, which no commit could tell of later:\n{shown}\nrun `git commit`, "
            "or give --allow-dirty to send the tree as it is"
        )
    return name + ("-dirty" if changed else "")


def within(path: Path) -> str:
    """The experiment file's path within the source."""
    file = experiment_file.find(path).resolve()
    if not file.is_relative_to(ROOT) or str(file.relative_to(ROOT)) not in files():
        raise UserError(f"{path}: is no part of {ROOT}, which alone is sent; copy it to experiments/ and `git add` it")
    return str(file.relative_to(ROOT))


def pack(archive: Path) -> None:
    """Writes every file of the work tree that git knows or does not ignore: in a clean tree those of the commit."""
    with tarfile.open(archive, "w:gz") as tar:
        for name in files():
            if os.path.lexists(ROOT / name):  # a link is sent as it is
                tar.add(ROOT / name, name)


def files() -> list[str]:
    """The files that `pack` sends, within the work tree."""
    return _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").rstrip("\0").split("\0")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("git: not found on the PATH; install it: the commit says what runs on the slices") from None
    if done.returncode:
        raise UserError(f"`git {' '.join(arguments)}` failed in {ROOT}: {done.stderr.strip()}")
    return done.stdout
