"""Parts that several benchmarks share: made-up rows, operations of a step, and a stopwatch."""

import os
import statistics
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

try:
    from realm_jax.config import Config
    from realm_jax.training.masked_queries import MaskedBatch
except ImportError as error:
    sys.exit(f"{error.name} is not installed: pip install -e . (benchmarks/gpu.py tells how, without a package index)")

CLS, SEP, MASK, FIRST_WORD = 101, 102, 103, 1000


def machine() -> str:
    """The origin of the figures, in one line."""
    devices = jax.devices()
    kind = f"{len(devices)} x {devices[0].device_kind}" if devices[0].platform != "cpu" else "no accelerator"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    now = time.strftime("%Y-%m-%d")
    return f"{now}, {cores} CPU cores, {memory:.0f} GiB, {kind}, JAX {jax.__version__}, load {os.getloadavg()[0]:.1f}"


def seconds(run: Callable[[], object], times: int, warm_up: int = 0) -> float:
    """Median time of `run`."""
    taken = []
    for _ in range(warm_up + times):
        start = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[warm_up:])


def clustered(count: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """float32 [count, size] in clusters of 35, as passages of one subject are."""
    centres = generator.standard_normal((max(1, count // 35), size), np.float32)
    vectors = generator.standard_normal((count, size), np.float32)
    for start in range(0, count, 1 << 16):
        part = vectors[start : start + (1 << 16)]
        part += centres[generator.integers(len(centres), size=len(part))]
    return vectors


def near(vectors: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Queries: vectors of a sample, with noise."""
    chosen = vectors[generator.choice(len(vectors), count, replace=False)]
    return chosen + 0.5 * generator.standard_normal(chosen.shape, np.float32)


def words(config: Config, generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return generator.integers(FIRST_WORD, config.model.bert.vocab_size, shape).astype(np.int32)


class NullStore:
    """As much of a passage store as the pre-training task asks for where tokens come from elsewhere."""

    def __init__(self, config: Config, null_id: int = 0):
        self.null_id, self.null_row = null_id, np.zeros(config.data.passage_length, np.int32)
        self.null_row[:3] = CLS, SEP, SEP


def masked_queries(config: Config, generator: np.random.Generator) -> MaskedBatch:
    """A batch of queries with three hidden wordpieces each, without their passages."""
    b, m, length = config.pretrain.batch_size, config.masking.max_masks, config.data.query_length
    query = words(config, generator, (b, length))
    query[:, 0], query[:, length * 5 // 8], query[:, length * 5 // 8 + 1 :] = CLS, SEP, 0
    positions = np.tile(np.arange(10, 10 + m, dtype=np.int32), (b, 1))
    targets = np.take_along_axis(query, positions, 1)
    np.put_along_axis(query, positions, MASK, 1)
    weights = (np.arange(m) < 3).astype(np.float32) * np.ones((b, 1), np.float32)
    masks = {"mask_positions": positions, "mask_targets": targets, "mask_weights": weights}
    known = {"origin": np.zeros(b, np.int32), "holders": np.full((b, 16), -1, np.int32)}
    return MaskedBatch(query=query, mask_spans=np.zeros((b, m), np.int32), **masks, **known)


def trunk_operations(config: Config, rows: int, length: int) -> float:
    """Floating-point operations of a BERT trunk's matrix products, forwards."""
    h, i = config.model.bert.hidden_size, config.model.bert.intermediate_size
    return 2.0 * rows * length * config.model.bert.num_layers * (4 * h * h + 2 * h * i + 2 * length * h)


def step_operations(config: Config) -> float:
    """Floating-point operations of a step's matrix products, forwards and (twice as many) backwards."""
    bert, data, b, k = config.model.bert, config.data, config.pretrain.batch_size, config.pretrain.candidates
    h = bert.hidden_size
    embedded = b * (k - 1) + 1  # the null passage is embedded once
    vectors = 2.0 * (b + embedded) * (h * h + h * config.model.vector_size)
    head = 2.0 * b * k * config.masking.max_masks * (h * h + h * bert.vocab_size)
    lengths = (b, data.query_length), (embedded, data.passage_length), (b * k, data.joint_length)
    return 3 * (sum(trunk_operations(config, *shape) for shape in lengths) + vectors + head)
