"""The commands that launch the runs of a sweep on Cloud TPU VMs; a run starts there from an experiment file."""

import collections
import hashlib
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from realm_jax.config import Config, Sweep
from realm_jax.config.experiment_file import load_experiment
from realm_jax.errors import UserError
from realm_jax.settings import changes

VALUES = ("type", "builder-type", "on-existing", "zone", "bucket", "max-hours")
FLAGS = ("spot", "queued", "allow-dirty", "dry-run")
"""Options of tpu.launch that a sweep may give; `config` is the place of its CONFIG, and each run has its own --name."""
LONGEST_NAME = 40
"""That tpu.launch takes."""


def launches(sweep: Sweep, name: str, source: Path, given: Mapping[str, str]) -> dict[tuple[str, int], str]:
    """One command for each variant and seed.

    Args:
      name: of the sweep.
      source: its file, or its folder.
      given: the launcher's options; and `config`, the experiment file that variants differ from, if not `source`.

    Raises:
      UserError: no such experiment; an option that the launcher lacks, or one that it needs is missing.
    """
    launch = _launcher_words({option: value for option, value in given.items() if option != "config"})
    file = Path(given.get("config", source))
    try:
        base = load_experiment(file)
    except UserError as error:
        if "config" in given:
            raise
        raise UserError(
            f"--cluster_options: config is missing ({error}). A launch starts from an experiment file: name the one "
            "that the variants differ from, such as config=experiments/factbook.py"
        ) from None
    commands = {}
    for (variant, seed), called in _names(sweep, name).items():
        options = option_words(base, sweep.run(variant, seed))
        words = ["python", "-m", "tpu.launch", str(file), "--name", called, *launch, "--", *options]
        commands[variant, seed] = shlex.join(words)
    return commands


def _launcher_words(given: Mapping[str, str]) -> list[str]:
    words = []
    for name, value in given.items():
        option = name.replace("_", "-")
        if option in VALUES and value:
            words += [f"--{option}", value]
        elif option in FLAGS and value in ("true", "false"):
            words += [f"--{option}"] if value == "true" else []
        elif option in FLAGS:
            raise UserError(f"--cluster_options: {name}={value} must be {name}=true or {name}=false")
        elif option not in VALUES:
            known = ", ".join(("config", *VALUES, *FLAGS))
            raise UserError(f"--cluster_options: a launch of a sweep has no option {name}; there are {known}")
    if not re.match("gs://[^/]", bucket := given.get("bucket", "gs://BUCKET")):
        raise UserError(f"--cluster_options: bucket={bucket} must be bucket=gs://BUCKET")
    needed = {"type or on-existing": {"--type", "--on-existing"}, "zone": {"--zone"}, "bucket": {"--bucket"}}
    if missing := [what for what, options in needed.items() if not options & set(words)]:
        raise UserError(
            f"--cluster_options: tpu.launch also needs {', '.join(missing)}; such as type=v5e-8 zone=us-west4-a "
            "bucket=gs://BUCKET"
        )
    return words


def _names(sweep: Sweep, sweep_name: str) -> dict[tuple[str, int], str]:
    """The launch of each run: <sweep>-<variant>-<seed> in the launcher's letters; where that is too long, or two
    runs' are the same, a digest ends it."""
    names = {}
    for seed in sweep.seeds:
        for variant in sweep.variants:
            name = re.sub("[^a-z0-9]+", "-", f"{sweep_name}-{variant}-{seed}".lower()).strip("-")
            names[variant, seed] = name if name[0].isalpha() else f"sweep-{name}"
    counts = collections.Counter(names.values())
    for (variant, seed), name in names.items():
        if len(name) > LONGEST_NAME or counts[name] > 1:
            digest = hashlib.sha256(f"{sweep_name}/{variant}/{seed}".encode()).hexdigest()[:6]
            names[variant, seed] = f"{name[: LONGEST_NAME - 7].rstrip('-')}-{digest}"
    return names


def option_words(base: Config, config: Config) -> list[str]:
    """The command line's options that make one experiment of another."""
    words = []
    for name, (_, value) in changes(base, config).items():
        if isinstance(value, bool):
            path, dot, last = name.rpartition(".")
            words.append(f"--{path}{dot}{'' if value else 'no_'}{last}")
        else:
            words += [f"--{name}", *map(str, value if isinstance(value, tuple) else [value])]
    return words
