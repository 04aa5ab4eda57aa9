"""How many of the virtual devices a test has."""

import jax
import pytest


def have(patch: pytest.MonkeyPatch, count: int) -> None:
    """Lets JAX have so many devices."""
    found = jax.devices()[:count]
    for name in ("devices", "local_devices"):
        patch.setattr(jax, name, lambda *_: found)
    patch.setattr(jax, "local_device_count", lambda: count)
