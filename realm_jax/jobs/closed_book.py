"""Train the rival without retrieval on the same questions.

A masked-LM cloze reader that sees no passage. Reads the prepared data, writes <workdir>/closed_book; a job that was
stopped goes on from its last checkpoint.
"""

from realm_jax.config import Config
from realm_jax.runtime.peers import Processes as Arguments
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Arguments | None = None) -> None:
    from realm_jax.training.stages import train

    train("closed_book", config, workdir)
