"""The exact index equals brute force, whatever the blocks and devices; ties go to the lower row; nothing leaves the
devices."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from realm_jax.errors import UserError
from realm_jax.index import exact, placement
from realm_jax.index.base import Index
from realm_jax.index.exact import ExactIndex, recall_against_exact


def brute_force(vectors, queries, k):
    """Rows of the k largest products; of equal ones the lower row first."""
    products = queries.astype(np.float64) @ vectors.astype(np.float64).T
    ids = np.argsort(-products, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(products, ids, axis=1), ids


def mesh(*shape):
    devices = np.array(jax.devices()[: int(np.prod(shape))])
    return Mesh(devices.reshape(shape), ("a", "b")[: len(shape)])


@pytest.mark.parametrize(
    ("count", "k", "block_rows", "shape"),
    [
        (1, 1, 8192, ()),
        (127, 5, 100, ()),
        (129, 101, 8192, ()),
        (700, 5, 256, ()),
        (700, 700, 128, ()),
        (5, 5, 8192, (8,)),  # most devices hold nothing but padding
        (1025, 3, 128, (8,)),  # as even as can be is not even
        (2900, 101, 128, (2, 4)),
        (2900, 1500, 8192, (3,)),  # more than one device holds
    ],
)
def test_equals_brute_force_with_many_ties(count, k, block_rows, shape):
    generator = np.random.default_rng(count + k)
    # Small integers: products are exact, and ties abound.
    vectors = generator.integers(-2, 3, (count, 3)).astype(np.float32)
    queries = generator.integers(-2, 3, (4, 3)).astype(np.float32)
    expected_scores, expected_ids = brute_force(vectors, queries, k)
    for dtype in ("float32", "bfloat16"):
        index = ExactIndex(vectors, mesh(*shape) if shape else None, dtype, block_rows)
        scores, ids = index.search(queries, k)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_array_equal(scores, expected_scores)
        assert scores.dtype == np.float32 and ids.dtype == np.int32
        assert index.vectors.dtype == dtype and len(index.vectors.sharding.device_set) == np.prod(shape)


def test_equals_brute_force_on_real_numbers():
    generator = np.random.default_rng(0)
    vectors, queries = generator.standard_normal((1003, 32)), generator.standard_normal((5, 32))
    vectors, queries = vectors.astype(np.float32), queries.astype(np.float32)
    scores, ids = ExactIndex(vectors, block_rows=128).search(queries, 17)
    expected_scores, expected_ids = brute_force(vectors, queries, 17)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5)


def test_all_products_negative_still_finds_real_rows_only():
    vectors = np.ones((9, 2), np.float32)
    _, ids = ExactIndex(vectors).search(-np.ones((1, 2), np.float32), 9)
    np.testing.assert_array_equal(ids, [np.arange(9)])


def test_stays_on_the_devices_and_traces_once():
    devices = mesh(2, 4)
    first, second = (ExactIndex(sign * np.eye(12, dtype=np.float32), devices) for sign in (1, -1))
    traces = []

    @jax.jit
    def search(index, queries):
        traces.append(1)
        return index.search_device(queries, 2)

    queries = jax.device_put(np.eye(12, dtype=np.float32)[:3], NamedSharding(devices, PartitionSpec()))
    search(first, queries)
    with jax.transfer_guard("disallow"):
        scores, ids = search(first, queries)
        others, _ = search(second, queries)
        first.search_device(queries, 2)
    assert isinstance(ids, jax.Array) and len(traces) == 1, "another snapshot's index is no other program"
    np.testing.assert_array_equal(ids[:, 0], [0, 1, 2])
    np.testing.assert_array_equal(scores[:, 0], [1, 1, 1])
    np.testing.assert_array_equal(others, np.zeros((3, 2)))


def test_many_queries_from_the_host_are_searched_in_parts():
    generator = np.random.default_rng(0)
    vectors, queries = generator.integers(-5, 6, (50, 4)), generator.integers(-5, 6, (300, 4))
    vectors, queries = vectors.astype(np.float32), queries.astype(np.float32)
    _, ids = ExactIndex(vectors).search(queries, 3)
    np.testing.assert_array_equal(ids, brute_force(vectors, queries, 3)[1])


def test_score_matrix_is_never_whole():
    index = ExactIndex(np.zeros((4096, 2), np.float32), block_rows=256)
    lowered = jax.jit(lambda queries: index.search_device(queries, 3)).lower(jnp.zeros((64, 2)))
    assert lowered.compile().memory_analysis().temp_size_in_bytes < 64 * 4096 * 4 / 2


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
def test_each_platform_picks_groups_its_own_way(platform):
    """Lowered, not run, for the devices that are not here."""
    index = ExactIndex(np.zeros((300, 4), np.float32), dtype="bfloat16")
    search = jax.jit(lambda index, queries: index.search_device(queries, 3))
    program = search.trace(index, jnp.zeros((2, 4))).lower(lowering_platforms=(platform,)).as_text()
    assert ("ApproxTopK" in program) == (platform == "tpu")


MILLION = """
import threading, time
import jax
jax.config.update("jax_num_cpu_devices", 8)
import numpy as np
from jax.sharding import Mesh
from realm_jax.index.exact import ExactIndex

def anonymous():  # what a file gives, as a snapshot's vectors, is not counted
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))

def watch():
    global peak
    while watching:
        peak = max(peak, anonymous())
        time.sleep(0.005)

generator = np.random.default_rng(0)
np.save("vectors.npy", generator.integers(-8, 9, (1_000_000, 128), np.int8).astype(np.float32))
queries = generator.integers(-8, 9, (64, 128)).astype(np.float32)
vectors = np.load("vectors.npy", mmap_mode="r")
mesh = Mesh(np.array(jax.devices()).reshape(8, 1, 1), ("data", "fsdp", "tensor"))
ExactIndex(vectors[:100], mesh).search(queries, 10)
watching, peak, before = True, 0, anonymous()
watcher = threading.Thread(target=watch)
watcher.start()
scores, ids = ExactIndex(vectors, mesh).search(queries, 10)
watching = False
watcher.join()
for query, found, products in zip(queries, ids, scores, strict=True):
    expected = vectors @ query  # of small integers: exact
    best = np.argsort(-expected.astype(np.int16), kind="stable")[:10]
    assert (found == best).all() and (products == expected[best]).all(), (found, best)
print(peak - before - vectors.nbytes >> 20)
"""


def test_a_million_passages_on_eight_devices(tmp_path):
    """Equal to brute force, ties and all; memory beyond the vectors, their copying included, stays under 512 MiB."""
    done = subprocess.run([sys.executable, "-c", MILLION], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert -64 < int(done.stdout) < 512


def test_what_does_not_fit_is_refused_before_anything_is_allocated(monkeypatch):
    def never(*_):
        raise AssertionError("allocated")

    free = {device: 4096 for device in jax.devices()} | {jax.devices()[5]: 1500}
    monkeypatch.setattr(placement, "free", free.get)
    vectors = np.zeros((1000, 3), np.float32)
    ExactIndex(vectors, mesh(8), "bfloat16")  # 750 bytes on each
    monkeypatch.setattr(jax, "device_put", never)
    with pytest.raises(
        UserError, match=r"1,000 passages over 1 devices need 0\.00 GB \(12,000 bytes\) on each"
    ) as refused:
        ExactIndex(vectors)
    assert "has 0.00 GB (4,096 bytes) free" in str(refused.value) and "--index.kind scann" in str(refused.value)
    with pytest.raises(UserError, match=r"8 devices need .*1,500 bytes.*cpu:5 has .*1,499 bytes"):
        free[jax.devices()[5]] = 1499
        ExactIndex(vectors, mesh(8))


def test_a_device_that_says_what_it_has_is_believed():
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 100, "bytes_in_use": 30}

    assert placement.free(Device()) == 70
    assert placement.free(jax.devices()[0]) > 1 << 20


def test_errors_name_what_is_wrong():
    index = ExactIndex(np.zeros((4, 3), np.float32))
    with pytest.raises(UserError, match="5 passages: the index holds 4"):
        index.search(np.zeros((1, 3), np.float32), 5)
    with pytest.raises(ValueError, match="size 2 do not fit vectors of size 3"):
        index.search(np.zeros((1, 2), np.float32), 1)


def test_recall_counts_products_not_rows(monkeypatch):
    vectors = np.repeat(np.arange(1, 4, dtype=np.float32), 5)[:, None]  # rows 10 to 14 are alike

    class Last(Index):
        num_passages, dimension = vectors.shape

        def _search(self, queries, k):
            ids = np.tile(np.arange(14, 14 - k, -1, dtype=np.int32), (len(queries), 1))
            return queries @ vectors[ids[0]].T, ids

    queries = np.ones((2, 1), np.float32)
    for at_once in (1 << 20, 7, 2):  # of an index past the device's memory, a part is measured at a time
        monkeypatch.setattr(exact, "MEASURED_AT_ONCE", at_once)
        assert recall_against_exact(Last(), vectors, queries, 3) == 1.0
        assert recall_against_exact(Last(), vectors, -queries, 3) == 0.0
