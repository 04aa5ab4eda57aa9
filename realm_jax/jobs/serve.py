"""Serve a page and a JSON API that answer questions.

Prints the address when the first answer is ready. Newer results in the workdir are taken over without a restart.

    realm serve runs/factbook
    realm serve runs/factbook --port 8080
"""

import importlib.util
from dataclasses import dataclass
from typing import Annotated

from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.jobs.job import Job, check_imported, keep_programs
from realm_jax.settings import Range
from realm_jax.workdir import Workdir

NEEDED = ("starlette", "uvicorn", "prometheus_client")
"""Packages of the extra."""


@dataclass(frozen=True)
class Arguments:
    """Where it listens, and its limits."""

    host: str = "127.0.0.1"
    """Address to listen at. The default is seen by this machine alone; 0.0.0.0 by all that reach it."""
    port: Annotated[int, Range(0, 65535)] = 8000
    """Port to listen at; 0 takes one that is free."""
    names: tuple[str, ...] = ()
    """Other names by which requests may come to this machine, such as the one of a proxy in front of it."""
    waiting: Annotated[int, Range(1, 1 << 16)] = 128
    """Requests that may wait. Others are told to come again (503)."""
    seconds: Annotated[float, Range(0.01, 86400.0)] = 30.0
    """Seconds that a request may take. After that it is told to come again (503)."""


def check(config: Config, workdir: Workdir, arguments: Arguments) -> None:
    """Raises UserError where the server cannot be started."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"serve needs {', '.join(missing)}; run `pip install 'realm_jax[serve]'`")
    check_imported(config, workdir, arguments)


def main(config: Config, workdir: Workdir, arguments: Arguments) -> None:
    keep_programs(workdir)
    from realm_jax.answering.opening import open_model
    from realm_jax.serving.app import Limits
    from realm_jax.serving.server import HERE, serve

    hosts = (*HERE, *(name.lower() for name in arguments.names)) if arguments.host in HERE else ()
    limits = Limits(arguments.waiting, arguments.seconds, hosts)
    serve(lambda: open_model(config, workdir), arguments.host, arguments.port, limits)


JOB = Job("serve", __doc__, main, Arguments, begins=False, check=check)
