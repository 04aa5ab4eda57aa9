"""Run every variant of an experiment with every seed; stages that runs share are made once.

EXPERIMENT is a Python file with get_sweep(), the name of a shipped one, or the folder of a sweep. Each run has a
workdir of its own, DIR/runs/<variant>/<seed>, with its log; prepared data, stages of training that are equal, and
compiled programs are shared. A finished run is never done again, and a sweep that was stopped goes on by the same
command.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from realm_jax.config import Sweep
from realm_jax.config.experiment_file import load_sweep, shipped
from realm_jax.errors import UserError, near_miss
from realm_jax.jobs.job import Job
from realm_jax.locks import owner, sole_owner
from realm_jax.runtime.launches import launches
from realm_jax.runtime.settings_record import differences, missing_file, read_record, settle
from realm_jax.settings import Range, check
from realm_jax.workdir import OF_SWEEP, SweepDir, Workdir, write_json


@dataclass(frozen=True)
class Options:
    experiment: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="EXPERIMENT")]
    """Python file with get_sweep(), a name that `realm experiments` lists, or the folder of a sweep that was begun."""
    sweep_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the sweep; runs/<name of the file> by default."""
    variants: tuple[str, ...] = ()
    """Run these alone, all by default; the report shows the others as not finished."""
    seeds: tuple[int, ...] = ()
    """Run these alone, all by default."""
    jobs: Annotated[int, Range(1, 4096)] = 1
    """Runs at the same time, on this machine, each on its share of the CPU cores and GPUs."""
    keep: Literal["all", "result", "figures"] = "result"
    """Files that stay on disk. `all`; `result`: of the checkpoints of a stage that is done, the parameters that later
    stages start from; `figures`: not these either, once no unfinished run of the sweep needs them."""
    print: bool = False
    """Prepare the folders, print one command per run that is not finished, and run nothing."""
    cluster: Literal["none", "slurm", "tpu"] = "none"
    """`slurm`: submit one job per run, through submitit; `tpu`: print the command that launches each run on Cloud TPU
    VMs."""
    cluster_options: tuple[str, ...] = ()
    """NAME=VALUE. Of submitit's executor: timeout_min=600 slurm_partition=gpu gpus_per_node=1; of tpu.launch:
    type=v5e-8 zone=us-west4-a bucket=gs://BUCKET spot=true; and config=FILE, the experiment that variants differ from,
    where the sweep's file has no get_config()."""


def command(argv: list[str]) -> int:
    """`realm sweep`, given the rest of its command line."""
    options = tyro.cli(Options, args=argv, prog="realm sweep", description=__doc__, use_underscores=True)
    check(options, "--")
    given = dict(_pair(text) for text in options.cluster_options)
    if given and options.cluster == "none":
        raise UserError("--cluster_options: goes with --cluster slurm or tpu")
    if options.print and options.cluster == "slurm":
        raise UserError("--print: does not go with --cluster slurm; leave out --print to submit, or --cluster to print")
    if options.keep == "figures" and (options.print or options.cluster != "none"):
        raise UserError("--keep: figures is for runs on this machine; elsewhere nobody knows which are unfinished")
    source = options.experiment
    if source.is_dir() and not SweepDir(source).manifest.exists():
        source = shipped().get(str(source), source)
    if source.is_dir() and options.sweep_dir not in (None, source):
        raise UserError(f"--sweep_dir: {options.sweep_dir} is not {source}, the sweep that is named; leave it out")
    folder = SweepDir(source if source.is_dir() else options.sweep_dir or Path("runs") / source.stem)
    for path in (source, folder.root):
        SweepDir(path).check_local()
    if source.is_dir():
        from realm_jax.reports.sweep_record import read_settings

        sweep = read_settings(folder)
    else:
        check_folder(folder)
        sweep = load_sweep(source)
    for option, asked, there in (
        ("variants", options.variants, sweep.variants),
        ("seeds", options.seeds, sweep.seeds),
    ):
        if unknown := [str(value) for value in asked if value not in there]:
            known = [str(value) for value in there]
            hint = near_miss(unknown[0], known, "it has")
            raise UserError(f"--{option}: {', '.join(unknown)} not in this sweep; {hint}")
    if options.cluster == "tpu":
        lines = launches(sweep, folder.root.resolve().name, source, given)
        asked = [run for run in lines if is_asked(*run, options)]
        print_commands([lines[run] for run in asked if not folder.run(*run).is_finished], len(asked))
        return 0
    check_files(sweep, folder, options)
    with sole_owner(folder.root, "sweep"):
        return carry_out(sweep, folder, options, given)


def check_folder(folder: SweepDir) -> None:
    """Raises UserError where something else than a sweep is in it; nothing is then written."""
    root, another = folder.root, "name another folder, or one to be made"
    if root.exists() and not root.is_dir():
        raise UserError(f"--sweep_dir: {root} is a file; {another}")
    if Workdir(root).config.exists():
        raise UserError(f"--sweep_dir: {root} is the workdir of a run; {another}")
    if folder.manifest.exists():
        from realm_jax.reports.sweep_record import read_manifest

        read_manifest(folder)
        return
    for path in sorted(root.iterdir()) if root.exists() else ():
        # What a sweep that was stopped early leaves: folders, its lock, a manifest half written.
        if not (path.name in OF_SWEEP and path.is_dir() or path.name.startswith(".sweep.")):
            raise UserError(f"--sweep_dir: {root} is no sweep's and holds {path.name}; {another}")


def check_files(sweep: Sweep, folder: SweepDir, options: Options) -> None:
    """Raises UserError where runs that are asked for, and were never started, name files that are not there."""
    missing = {
        variant: f"  {variant}: {found}"
        for variant in sweep.variants
        for seed in sweep.seeds
        if is_asked(variant, seed, options) and not folder.run(variant, seed).usage.exists()
        if (found := missing_file(sweep.run(variant, seed), folder.run(variant, seed)))
    }
    if missing:
        raise UserError(
            "variants name files that are not there:\n" + "\n".join(missing.values()) + "\n"
            "Nothing was begun: mend the names, or run other variants alone, by --variants."
        )


def carry_out(sweep: Sweep, folder: SweepDir, options: Options, given: dict[str, str]) -> int:
    """Plans all runs, then prints, submits or runs those that you asked for and that are not finished."""
    runs = plan(sweep, folder)
    write_json(
        folder.manifest, {"reference": sweep.reference, "variants": list(sweep.variants), "seeds": list(sweep.seeds)}
    )
    others = {path.parent for path in folder.root.glob("runs/*/*/config.json")} - {run.workdir.root for run in runs}
    if others:
        names = ", ".join(sorted(str(path.relative_to(folder.root / "runs")) for path in others))
        print(f"sweep: no longer part of this sweep and its report, but kept: {names}", file=sys.stderr)
    asked = [run for run in runs if is_asked(run.variant, run.seed, options)]
    unfinished = [run for run in asked if not run.workdir.is_finished]
    if options.print:
        print_commands([with_log(run, options.keep) for run in unfinished], len(asked))
        return 0
    if options.cluster == "slurm":
        from realm_jax.runtime.slurm import submit

        submit(unfinished, lambda run: with_log(run, options.keep), folder.root / "slurm", given)
        return 0
    from realm_jax.runtime.devices import Share, parts
    from realm_jax.runtime.grid import Run, run_all, say
    from realm_jax.runtime.processes import Child

    def start(run: Run, share: Share) -> Child:
        return Child("run", run_command(run, options.keep), share.env, log=run.workdir.log, cores=share.cores)

    failed = run_all(asked, parts(options.jobs), start, keep_for=runs if options.keep == "figures" else None)
    say(f"its tables: realm report --sweep {folder.root}")
    return 1 if failed else 0


def print_commands(commands: list[str], asked: int) -> None:
    print(*commands, sep="\n", end="\n" if commands else "", flush=True)
    done = asked - len(commands)
    print(f"sweep: runs asked for: {asked}, finished already: {done}, commands: {len(commands)}", file=sys.stderr)


def is_asked(variant: str, seed: int, options: Options) -> bool:
    return variant in (options.variants or [variant]) and seed in (options.seeds or [seed])


def plan(sweep: Sweep, folder: SweepDir) -> list:
    """All runs, with their workdirs begun; the first seed of every variant comes first.

    Raises:
      UserError: runs were begun with other settings; nothing is then written.
    """
    from realm_jax.runtime.grid import Run
    from realm_jax.runtime.sharing import link

    runs = [
        Run(variant, seed, sweep.run(variant, seed), folder.run(variant, seed))
        for seed in sweep.seeds
        for variant in sweep.variants
    ]
    records = [read_record(run.workdir) for run in runs]
    changed: dict[str, list[str]] = {}
    for i, (run, record) in enumerate(zip(runs, records, strict=True)):
        if record and (changes := differences(record.config, run.config, "there", "now")):
            if not run.workdir.usage.exists() and missing_file(record.config, run.workdir):
                records[i] = None  # it was not asked for, and could not start
            else:
                changed.setdefault(changes, []).append(str(run.workdir.root))
    if changed:
        each = (f"begun with other settings: {', '.join(roots)}\n{changes}" for changes, roots in changed.items())
        raise UserError(
            "\n".join(each)
            + "\nA run is never overwritten: give the variant another name, use another --sweep_dir, or "
            "delete these folders, if nobody needs what is in them; stages that they share with others stay."
        )
    for run, record in zip(runs, records, strict=True):
        settle(record, run.config, run.config, run.workdir)
        if not run.workdir.is_finished and owner(run.workdir.root, "run") is None:
            link(run.config, run.workdir, folder)
    return runs


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UserError(f"--cluster_options: {text!r} is not NAME=VALUE, such as timeout_min=600 or spot=true")
    return name, value


def run_command(run, keep: str) -> list[str]:
    keep = "all" if keep == "all" else "result"
    return [sys.executable, "-m", "realm_jax", "run", str(run.workdir.root.absolute()), "--keep", keep]


def with_log(run, keep: str) -> str:
    """One run as a line for a shell."""
    return f"{shlex.join(run_command(run, keep))} >> {shlex.quote(str(run.workdir.log.absolute()))} 2>&1"


JOB = Job("sweep", __doc__, command=command)
