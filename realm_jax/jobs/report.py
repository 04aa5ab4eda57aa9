"""Write the page of the run, with its curves, results and examples; with --sweep that of a sweep.

Reads metrics and <workdir>/evaluation, writes <workdir>/report/index.html (one file, opens without a network) and
summary.json. `realm report --sweep DIR` reads all runs of a sweep and writes DIR/report: index.html, report.md, CSV;
with `--beside REPORT` also another machine's figures of runs that have not finished here (`realm report
--sweep DIR --help`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from realm_jax.config import Config
from realm_jax.jobs.job import Job
from realm_jax.workdir import Workdir


@dataclass(frozen=True)
class OfSweep:
    sweep: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the sweep."""
    beside: Annotated[
        tuple[tuple[Path, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="REPORT [REPORT ...]")
    ] = ()
    """Reports (folders) of the same sweep from other machines: their runs.csv and scores.csv tell of runs that have not
    finished here."""


def command(argv: list[str]) -> int | None:
    """The report of a sweep; None where it is not asked for."""
    if not any(word.partition("=")[0] in ("--sweep", "--beside") for word in argv):
        return None
    options = tyro.cli(OfSweep, args=argv, prog="realm report", description=__doc__, use_underscores=True)
    from realm_jax.reports.sweep_report import write_sweep_report

    print(f"report: {write_sweep_report(options.sweep, sum(options.beside, ()))}", flush=True)
    return 0


def main(config: Config, workdir: Workdir, arguments: Any = None) -> None:
    from realm_jax.reports.run_report import write_report

    write_report(config, workdir)


JOB = Job("report", __doc__, main, begins=False, command=command)
