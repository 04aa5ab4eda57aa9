"""Stages that runs of a sweep have in common are made once: a stage's folder is named by a digest of all it is made
from.

A run's workdir has links to such folders in place of folders of its own; nothing else knows of them. A stage is made
from the part of the settings that it reads, the files those name, and the stages it starts from. So of two runs that
differ in fine-tuning alone, all before it is the same folder.
"""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from realm_jax import remote
from realm_jax.config import INPUT_FILES, Config, decisive
from realm_jax.settings import file_and_split
from realm_jax.stages import DATA, STAGES, of_run
from realm_jax.workdir import StageDir, SweepDir, Workdir, read_json, write_json

PLACE = "data.directory"
"""Where data are prepared, not which."""


def made_from(config: Config) -> dict[str, dict[str, Any]]:
    """{stage: all that its content depends on}, of the stages that an experiment has, in order."""
    made: dict[str, dict[str, Any]] = {}
    for stage in (DATA, *of_run(config)):
        read, starts = reads(stage, config), STAGES[stage].starts_from if stage in STAGES else ()
        options = {name: value for name, value in decisive(config).items() if _is_read(name, read)}
        if stage == DATA:  # most sets of questions lie beside each other; the source's own is made with it
            options["questions"] = "files" if config.questions.has_own_folder else "of the source"
        made[stage] = {
            "options": options,
            "files": {name: found for name in INPUT_FILES if name in options and (found := _stamps(options[name]))},
            "stages": {before: key(made[before]) for before in starts if before in made},
        }
    return made


def reads(name: str, config: Config) -> tuple[str, ...]:
    """Parts of the settings that the data or a stage are made from, beside those that the stages read which it starts
    from."""
    if name == DATA:
        return ("data", "model.weights", "model.vocab")
    stage, own = STAGES[name], getattr(config, name)
    further = (parts for option, parts in stage.reads_where.items() if own.steps and getattr(own, option))
    return ("seed", "model", name, *stage.reads, *itertools.chain(*further))


def stages(config: Config, workdir: Workdir) -> list[StageDir]:
    """Folders of the stages of training that an experiment has."""
    return [workdir.stage(stage) for stage in made_from(config) if stage != DATA]


def key(made: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]


def link(config: Config, workdir: Workdir, sweep: SweepDir) -> None:
    """Makes the folders of the workdir's stages links to those that are shared; anything but a link is left as it is.

    Where a stage's key has changed, as by a file that it is made from, the run has another folder of it from now on,
    and the measurements of the old one are removed.
    """
    places = {workdir.jax_cache: sweep.jax_cache}
    for stage, made in made_from(config).items():
        folder = sweep.shared(stage, key(made))
        if stage != DATA:
            places[workdir.stage(stage).root] = folder
        elif not config.data.directory:
            places[workdir.data("").root] = folder
        else:
            continue
        if not (folder / "made_from.json").exists():
            write_json(folder / "made_from.json", made)
    for place, folder in places.items():
        folder.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(folder.resolve(), place.parent.resolve())
        if place.is_symlink() and os.readlink(place) != target:
            place.unlink()
            shutil.rmtree(workdir.evaluation, ignore_errors=True)
        if not (place.is_symlink() or place.exists()):
            place.symlink_to(target)


def prune(workdir: Workdir, job: str) -> None:
    """Removes all checkpoints of the stage that `job` completed, but for the parameters of its result."""
    stage = workdir.stage_of(job)
    if stage is None or (job in STAGES and STAGES[job].beside):  # that job needs its checkpoints, and comes after it
        return
    done = read_json(stage.done, step=int)
    if "stage" in done:  # its result lies in another one
        return
    result = stage.checkpoints / str(done["step"])
    for path in (*stage.checkpoints.glob("[0-9]*"), result / "optimizer"):
        if path != result:
            remote.remove(path)


def forget(stage: StageDir) -> None:
    """Removes everything of a stage but its metrics: a run that needs it later makes it again."""
    if stage.done.exists():
        stage.done.replace(stage.forgotten)
    for folder in (stage.checkpoints, stage.snapshots):
        forgotten = folder.with_name(f".{folder.name}.forgotten")
        shutil.rmtree(forgotten, ignore_errors=True)  # of a time before, which was killed here
        if folder.exists():
            shutil.rmtree(folder.rename(forgotten))  # at once: never half a stage


def _is_read(option: str, reads: tuple[str, ...]) -> bool:
    return option != PLACE and any(option == part or option.startswith(f"{part}.") for part in reads)


def _stamps(value: str | tuple[str, ...]) -> dict[str, list[int]]:
    """Size and time of change of each file that an option names, at any depth; {} where it names none."""
    names = [value] if isinstance(value, str) else value
    paths = [path for name in names if name for path in _files(file_and_split(name)[0])]
    return {str(path): [(found := path.stat()).st_size, found.st_mtime_ns] for path in paths}


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        yield path
