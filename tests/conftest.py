"""Strictness for every test: shapes in signatures are checked, ranks never promoted silently, keys never used twice."""

import os
import signal
from pathlib import Path

from tests.xla import known

os.environ["JAX_PLATFORMS"] = "cpu"
# Tests of several files, the processes they start, and the next call of pytest compile the same programs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers, as all processes that tests start, inherit the flags
    flags = (
        # Virtual devices share the cores, and a busy machine may keep one from its turn for long. XLA's limit, 40 s,
        # ends the whole process; pytest's own comes first.
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
        # Compiles in a third of the time, here and, so that the same is computed, in the processes that tests start.
        # XLA of JAX 0.12 has no such choice.
        "--xla_cpu_use_fusion_emitters=false",
    )
    os.environ["XLA_FLAGS"] = " ".join((*known(flags), os.environ.get("XLA_FLAGS", "")))

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

# A shell ignores Ctrl-C for what it runs in the background, and processes inherit that; those of tests must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before any import of realm_jax: only what is imported afterwards is checked. An int will do for a float, as elsewhere.
install_import_hook("realm_jax", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

jax.config.update("jax_num_cpu_devices", 8)  # for what is divided over devices; all else uses the first
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
# Tests compile much and compute little. Real processes, as the pipeline's tests start them, are not touched by this.
jax.config.update("jax_disable_most_optimizations", True)

# The first example of a shape compiles: no deadline.
hypothesis.settings.register_profile("realm_jax", deadline=None, max_examples=20, derandomize=True)
hypothesis.settings.load_profile("realm_jax")

LONGEST = (
    *(
        "test_end_to_end",
        "test_wheel",
        "test_mesh",
        "test_ablations",
        "test_pretrain",
        "test_start",
        "test_train_stage",
        "test_launch",
        "test_launch_mistakes",
    ),
    *("test_published_run", "test_finetune", "test_excerpt", "test_loop", "test_grid", "test_object_store"),
)


def pytest_collection_modifyitems(items):
    """The longest files first, for where several are run at once: else one of them is all that runs at the end.

    Naming them before the folder, on the command line, would do nothing: pytest drops what the folder contains.
    """
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Prepared data of a toy corpus with questions, and tiny settings for them (`tests/world.py`)."""
    from tests import world

    return world.make(tmp_path_factory.mktemp("world"))


@pytest.fixture
def one_device(monkeypatch):
    """For jobs that a test runs in its own process, as on a machine with one device."""
    from tests.devices import have

    have(monkeypatch, 1)
