"""All stages of the experiment in order, from data to report; goes on where it was stopped.

Each stage is its own process: prepare, ict, warm_up, pretrain with build_index beside it, finetune, closed_book,
evaluate, report. Stages of 0 steps are left out (pretrain of 0 steps still makes the index), complete ones are skipped.
Ctrl-C stops everything cleanly, and the same command goes on. <workdir>/run.json has time and memory of all processes.

With --coordinator, start it once on each machine. Stages of training are then one job of all machines; the first does
everything else while the others wait.
"""

import dataclasses
import os
import sys
from typing import Literal

from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.jobs.job import Job
from realm_jax.qa.needed import require_training_questions
from realm_jax.runtime import peers
from realm_jax.runtime.devices import check_batches, must_share, shares
from realm_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Arguments(peers.Processes):
    """Arguments of `run`, beside the experiment."""

    builder: Literal["here", "elsewhere", "only"] = "here"
    """Where build_index runs. `here`: beside pretrain on this machine, the first of several. `elsewhere`: on other
    machines, where you start `run` with the same workdir and `only`, which does nothing but follow the trainer."""
    keep: Literal["all", "result"] = "all"
    """Checkpoints that stay on disk when a stage is done. `result`: only the parameters that later stages start from, a
    tenth of all."""


KEEP_MEMORY = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "arena_max": 1, "mmap_max": 0, "trim_threshold": 1 << 40}.items()
)
"""A step on the CPU takes gigabytes and gives them back, and the kernel clears each page that it hands out anew, which
takes up to a fifth of the step. So pages are huge, and freed memory stays with the process for the next step;
from one arena, as the others hold 64 MiB each at most. (`benchmarks/cpu.py` compares.)"""


def label(arguments: Arguments) -> str:
    """Trainer and builder are two runs in one workdir."""
    return "run_builder" if arguments.builder == "only" else "run"


def main(config: Config, workdir: Workdir, arguments: Arguments = Arguments()) -> int:
    from realm_jax.runtime.pipeline import Pipeline, steps_of, steps_of_builder
    from realm_jax.runtime.sharing import prune

    me, count = peers.resolve(arguments) if arguments.coordinator else (0, 1)
    os.environ.pop(peers.WORKER, None)  # what this process starts has supervisors of its own
    if not workdir.data(config.data.directory).done.exists():
        require_training_questions(config)
    if count == 1 and arguments.builder != "only":  # a pod's devices start only where all its machines ask for them
        check_batches(config, workdir)
    together = ("--coordinator", arguments.coordinator, "--process_count", str(count), "--process_id", str(me))
    if count > 1 and arguments.builder == "here" and must_share(config):
        raise UserError(
            "index.refresh: beside a trainer of several processes there is no device left for build_index; use "
            "`--index.refresh inline`, `--index.mesh.platform cpu`, or `--builder elsewhere`"
        )
    # Jobs are given the workdir in place of the experiment file, which may be edited while they run.
    pipeline = Pipeline(
        workdir,
        command=lambda job: [sys.executable, "-m", "realm_jax", job, str(workdir.root)],
        environment=environment(workdir),
        shares=lambda: shares(config),
        finish=lambda job: prune(workdir, job) if arguments.keep == "result" else None,
        label=label(arguments),
        first=me == 0,
        together=(*together, "--peer_timeout_s", str(arguments.peer_timeout_s)) if count > 1 else (),
        peer_timeout_s=arguments.peer_timeout_s,
    )
    if arguments.builder == "only":
        return pipeline.run(steps_of_builder(config, workdir))
    return pipeline.run(steps_of(config, workdir, builder_is_here=arguments.builder == "here"))


def environment(workdir: Workdir) -> dict[str, str]:
    """Environment variables of the jobs, unless the user has set them."""
    defaults = {
        "GLIBC_TUNABLES": KEEP_MEMORY,
        # A job that is started again need not compile again.
        "JAX_COMPILATION_CACHE_DIR": str(workdir.jax_cache.resolve()),
    }
    return {name: value for name, value in defaults.items() if name not in os.environ}


JOB = Job("run", __doc__, main, Arguments, joins=False, label=label)
