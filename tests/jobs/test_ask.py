import pytest

from realm_jax.errors import UserError
from realm_jax.jobs.ask import Arguments


def test_at_least_one_passage():
    assert Arguments("Who?", passages=1).passages == 1
    with pytest.raises(UserError, match="passages: 0 is out of range; it must be at least 1"):
        Arguments("Who?", passages=0)
