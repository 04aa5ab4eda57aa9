"""Fine-tune retriever and span reader on the questions.

Starts from the checkpoint that pre-training left (or the warm start, without it); passage vectors stay fixed. Reads the
prepared data, writes <workdir>/finetune; a job that was stopped goes on from its last checkpoint.
"""

from realm_jax.config import Config
from realm_jax.runtime.peers import Processes as Arguments
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Arguments | None = None) -> None:
    from realm_jax.training.stages import train

    train("finetune", config, workdir)
