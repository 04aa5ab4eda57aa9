"""Answer a question, or fill the [MASK] of a sentence, and show the passages read.

Prints the answer, the passages read with p(z|x), the score of each reading, and with --truth what each passage gains in
training when the truth is that: r(z) = [p(y|z,x) / p(y|x) - 1] p(z|x).

    realm ask experiments/factbook.py "What is the capital of Chad?"
    realm ask experiments/factbook.py "The capital of Chad is [MASK]." --truth "N'Djamena"
"""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.jobs.job import Job
from realm_jax.workdir import Workdir


@dataclass(frozen=True)
class Arguments:
    """What is asked."""

    text: Annotated[Positional[str], arg(metavar="TEXT")]
    """A question, or a sentence in which [MASK] stands for what to find: one wordpiece each, or all of --truth's."""
    truth: str = ""
    """The right answer; shows r(z)."""
    passages: int = 5
    """Passages shown."""

    def __post_init__(self):
        if not self.text.strip():
            raise UserError("TEXT is empty; ask a question, or write a sentence with [MASK]")
        if "[MASK]" not in self.text and "[mask]" in self.text.lower():
            raise UserError(f"TEXT: {self.text!r}: the words to find are written [MASK], in capitals")
        if self.passages < 1:
            raise UserError(f"passages: {self.passages} is out of range; it must be at least 1")


def main(config: Config, workdir: Workdir, arguments: Arguments) -> None:
    from realm_jax.evaluation.ask import ask

    ask(config, workdir, arguments)


JOB = Job("ask", __doc__, main, Arguments, begins=False)
