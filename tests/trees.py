"""Pytrees of arrays, compared."""

from typing import Any

import jax
import numpy as np


def same(a: Any, b: Any) -> bool:
    """Whether two are equal bit for bit."""
    return jax.tree.all(jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), np.asarray(y)), a, b))
