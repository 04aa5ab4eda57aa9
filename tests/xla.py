"""Flags of XLA, which come and go with its versions."""

import os
import subprocess
import sys


def known(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `flags` that the installed XLA takes: it ends a process that brings others, naming them."""
    command = (sys.executable, "-c", "import jax; jax.devices()")
    environment = {**os.environ, "XLA_FLAGS": " ".join(flags)}
    asked = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    if not asked.returncode:
        return flags
    left = tuple(flag for flag in flags if flag not in asked.stderr)
    if left == flags:
        raise RuntimeError(f"JAX does not start: {asked.stderr}")
    return left
