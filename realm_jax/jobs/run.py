"""All stages of the experiment in order, from data to report; goes on where it was stopped.

Each stage is a process of its own: prepare, ict, warm_up, pretrain with build_index beside it, finetune, closed_book,
evaluate, report. Stages of 0 steps are left out, complete ones are skipped. Ctrl-C stops everything cleanly; the same
command goes on. Time and memory of all processes together are written to <workdir>/run.json.
"""

import os
import sys
from dataclasses import dataclass
from typing import Literal

from realm_jax.config import Config
from realm_jax.jobs.devices import check, shares
from realm_jax.workdir import Workdir


@dataclass(frozen=True)
class Arguments:
    keep: Literal["all", "result"] = "all"
    """What stays on disk of a stage's checkpoints when the stage is done. `result`: the parameters that later stages
    start from, which is a tenth of all."""


def main(config: Config, workdir: Workdir, arguments: Arguments = Arguments()) -> int:
    from realm_jax.jobs.pipeline import Pipeline, steps_of
    from realm_jax.jobs.sharing import prune

    check(config)
    # Jobs are given the workdir in place of the experiment file, which may be edited while they run.
    pipeline = Pipeline(
        workdir,
        command=lambda job: [sys.executable, "-m", "realm_jax", job, str(workdir.root)],
        environment=environment(workdir),
        shares=lambda: shares(config),
        finish=lambda job: prune(workdir, job) if arguments.keep == "result" else None,
    )
    return pipeline.run(steps_of(config, workdir))


def environment(workdir: Workdir) -> dict[str, str]:
    """What jobs are run with, unless the user has set it."""
    defaults = {
        # Huge pages make a step on the CPU a quarter faster.
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        # A job that is started again need not compile again.
        "JAX_COMPILATION_CACHE_DIR": str(workdir.jax_cache.resolve()),
    }
    return {name: value for name, value in defaults.items() if name not in os.environ}
