"""The store on the devices gives the rows that the passage store gives, without the host."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from realm_jax.errors import UserError
from realm_jax.index import placement
from realm_jax.index.device_store import DeviceStore

COUNT, P = 21, 5


@pytest.fixture(params=[1, 3, 8])
def mesh(request):
    return Mesh(np.array(jax.devices()[: request.param]), ("x",))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_gathers_rows_without_the_host(mesh, dtype):
    tokens = np.random.default_rng(0).integers(0, 1 << 16, (COUNT, P)).astype(dtype)
    store = DeviceStore(tokens, mesh)
    assert store.tokens.dtype == dtype and store.tokens.sharding.device_set == set(mesh.devices.flat)
    ids = np.array([[0, COUNT - 1, 7], [7, 3, 20]], np.int32)
    placed = jax.device_put(ids, NamedSharding(mesh, PartitionSpec()))
    store.rows(placed)
    with jax.transfer_guard("disallow"):
        rows = store.rows(placed)
        again = jax.jit(lambda store, ids: store.rows(ids))(store, placed)
    np.testing.assert_array_equal(rows, tokens[ids])
    np.testing.assert_array_equal(again, rows)
    assert rows.dtype == np.int32


def test_what_does_not_fit_is_refused(monkeypatch, mesh):
    monkeypatch.setattr(placement, "free", lambda device: 10)
    with pytest.raises(UserError, match="21 passages .*tokens .*--index.store host"):
        DeviceStore(np.zeros((COUNT, P), np.uint16), mesh)
