"""Teach the reader to copy an answer from a passage it is given, before pre-training.

Not in the paper, whose reader starts as a whole BERT; without it a small reader learns to ignore passages. Reads the
prepared data, writes <workdir>/warm_up; a job that was stopped goes on from its last checkpoint.
"""

from realm_jax.config import Config
from realm_jax.runtime.peers import Processes as Arguments
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Arguments | None = None) -> None:
    from realm_jax.training.stages import train

    train("warm_up", config, workdir)
