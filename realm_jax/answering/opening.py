"""Opens a run, or published weights, as a Model."""

import hashlib
import sys
from os import PathLike
from pathlib import Path
from urllib.parse import quote

from realm_jax.answering.model import Model
from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.importing import published_run, weight_folders
from realm_jax.packages import cache_directory
from realm_jax.published.sizes import CONFIG
from realm_jax.remote import AnyPath, path_of
from realm_jax.runtime.settings_record import read_record, settle
from realm_jax.training.mesh import require
from realm_jax.training.open_run import OpenRun
from realm_jax.workdir import IMPORTED, Workdir, read_json

SAMPLE = 64
"""Blocks of passages that are compared with their checksums: all of a small corpus."""


def load(source: str | PathLike[str]) -> Model:
    """The model of a run, or of published weights with their passages.

    Args:
      source: a workdir (a folder, or `gs://BUCKET/FOLDER`); or a folder of published weights, or OWNER/NAME on the
        Hugging Face Hub. Weights are imported into your cache when you first name them, and found there again.

    Raises:
      UserError: it is none of these, its data are not prepared, or the weights are faulty.
    """
    path = path_of(str(source))
    if path.is_dir():
        return _load(_imported(path) if _is_published(path) else Workdir(path), source)
    # A folder that is misspelt looks like a name on the Hub; what lies beside others is a folder.
    if weight_folders.HUB_ID.fullmatch(str(source)) and not path.parent.exists():
        return _load(_imported(str(source)), source)
    raise UserError(f"{source}: no such folder; name the workdir of a run, such as runs/factbook, or published weights")


def open_model(config: Config, workdir: Workdir) -> Model:
    """Of a run whose settings are known."""
    require(config.mesh.platform)
    return Model(OpenRun(config, workdir, compared=SAMPLE))


def _load(workdir: Workdir, source: str | PathLike[str]) -> Model:
    record = read_record(workdir)
    if record is None:
        raise UserError(f"{source}: neither the workdir of a run, which has a config.json, nor published weights")
    workdir.check_imported()
    return open_model(record.config, workdir)


def _is_published(folder: AnyPath) -> bool:
    """Whether a folder holds weights, and not a run, whose config.json is the record of an experiment."""
    if (folder / CONFIG).exists():
        return "experiment" not in read_json(folder / CONFIG)
    return any(path for pattern in weight_folders.FILES for path in folder.glob(pattern))


def _imported(source: str | AnyPath) -> Workdir:
    """The workdir that weights are imported into: another one, where the files of a folder have changed."""
    if isinstance(source, Path):
        source = source.resolve()
        files = sorted(path for path in source.rglob("*") if path.is_file())
        state = [(str(path.relative_to(source)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        name = f"{source.name}-{hashlib.sha256(f'{source} {state}'.encode()).hexdigest()[:16]}"
    else:
        name = quote(str(source), safe="")
    workdir, given = Workdir(cache_directory() / "imported" / name), (str(source),)
    try:
        published_run.clear_failed(workdir)
        record = read_record(workdir)
        if record is not None:
            config = record.config
        else:
            config = published_run.settings_of_sources(None, given, workdir)
            published_run.check_import(config, workdir, given)
            settle(None, config, config, workdir)
        if record is None or not workdir.stage(IMPORTED).done.exists():
            published_run.import_weights(config, workdir, given, lambda line: print(line, file=sys.stderr, flush=True))
    except UserError as error:
        raise UserError(str(error).removeprefix("--source: ")) from None
    return workdir
