"""The file of a small sweep, as the tests of what runs it have."""

from tests.runtime.conftest import experiment, one_seed

__all__ = ["experiment", "one_seed"]
