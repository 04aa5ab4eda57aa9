"""One job as several processes: how they come together, and the values that they settle among themselves.

Who is missing or has died is found out by the processes' supervisors (`runtime/peers.py`), which hold no device.
"""

import os
import socket

import jax
import numpy as np
from jax.experimental import multihost_utils

from realm_jax.locks import wait_for


def join(coordinator: str, count: int, process: int, timeout_s: float) -> None:
    """Makes this process one of `count`; to be called before anything else of JAX.

    Args:
      coordinator: host:port of process 0, which opens that port.

    Raises:
      UserError: process 0 does not answer there.
    """
    host, _, port = coordinator.rpartition(":")
    if process:
        wait_for(
            lambda: _answers(host, int(port)),
            f"process 0 at --coordinator {coordinator}",
            stop_after_s=timeout_s,
            hint=lambda: "That must be an address of process 0's machine, and a port that it may open",
        )
    # gRPC would send it through the proxy that http_proxy names; it knows the lower-case name alone.
    direct = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy", "")  # noqa: SIM112
    os.environ["no_grpc_proxy"] = ",".join(filter(None, (direct, host.strip("[]"))))  # noqa: SIM112
    jax.distributed.initialize(
        coordinator,
        count,
        process,
        initialization_timeout=max(1, int(timeout_s)),
        shutdown_timeout_seconds=max(1, int(timeout_s)),
    )


def _answers(host: str, port: int) -> bool | None:
    try:
        socket.create_connection((host.strip("[]"), port), timeout=1.0).close()
        return True
    except OSError:
        return None


def is_first() -> bool:
    """Whether this is the process that prints, and writes files that are written once."""
    return jax.process_index() == 0


def say(message: str) -> None:
    """Prints, in the first process."""
    if is_first():
        print(message, flush=True)


def agree(number: int | None) -> int | None:
    """The first process's number, from 0 on, or None, in all processes; all must call this at the same time."""
    if jax.process_count() == 1:
        return number
    agreed = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if number is None else number)))
    return None if agreed < 0 else agreed


def everywhere(true: bool) -> bool:
    """Whether it is true in every process; all must call this at the same time."""
    return true if jax.process_count() == 1 else bool(multihost_utils.process_allgather(np.int32(true)).all())
