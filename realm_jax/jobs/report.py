"""Write the page of the run, with its curves, results and examples.

Reads metrics and <workdir>/evaluation, writes <workdir>/report/index.html (one file, opens without a network) and
summary.json.
"""

from typing import Any

from realm_jax.config import Config
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Any = None) -> None:
    from realm_jax.evaluation.report import write_report

    write_report(config, workdir)
