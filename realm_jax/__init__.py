"""REALM, retrieval-augmented language model pre-training (Guu et al. 2020, arXiv 2002.08909), in JAX.

    model = realm_jax.load("runs/factbook")
    model.answer("What is the capital of Chad?")

docs/python.md has more. Nothing is imported before it is used: `import realm_jax` loads no JAX.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_WHERE = {
    "load": "answering.opening",
    "Model": "answering.model",
    **dict.fromkeys(
        ("Answer", "Explanation", "Filling", "Passage", "Retrieved", "Stored", "Word"), "answering.results"
    ),
    "UserError": "errors",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
