"""Rebuild the index from checkpoints of pretrain as they are due, until that job is done.

Waits for a checkpoint, restores the embedder alone, embeds all passages, builds the index and publishes it as a
snapshot, whole or not at all, in <workdir>/pretrain/snapshots. Old ones are removed. You may start it before the
trainer, and again at any time.
"""

from realm_jax.config import Config
from realm_jax.jobs.job import Job, keep_programs
from realm_jax.runtime.peers import Processes
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Processes | None = None) -> None:
    keep_programs(workdir)
    from realm_jax.training.index_builder import follow_and_build

    follow_and_build(config, workdir)


JOB = Job("build_index", __doc__, main, Processes)
