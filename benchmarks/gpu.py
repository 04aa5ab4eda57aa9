"""The cost of retrieval in a step of BERT-base's size on one accelerator, with all of Wikipedia's passages in its
memory.

    python benchmarks/gpu.py            # on a GPU, under 8 minutes, unattended
    python benchmarks/gpu.py --tiny     # the same program with small sizes, on any machine: shows that it runs

A bare machine that has JAX with CUDA and NumPy, and reaches no package index, needs the rest as wheels for its Python:

    pip wheel --wheel-dir wheels .                                    # where there is an index
    pip install --no-index --find-links wheels realm_jax              # on that machine; its JAX stays

13,353,718 made-up passages: vectors of 128 bfloat16 numbers and rows of 288 uint16 tokens, searched and gathered by the
code that trains (`ExactIndex`, `DeviceStore`, the pre-training task and its step). It prints:

- a step as the loop dispatches it (embed queries, search, gather, train), and the part of search and gather alone
- the search against its floor: bytes of the vectors over the rate at which this device copies
- model FLOP utilisation of the step and of embedding passages: operations of the matrix products (nothing counted that
  is computed twice), over the rate that one large bfloat16 product reaches here
"""

import argparse
import dataclasses
import functools
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import CLS, SEP, NullStore, machine, masked_queries, seconds, step_operations, trunk_operations, words

from realm_jax.config import Bert, Config, Data, Index, Model, Pretrain
from realm_jax.index.device_store import DeviceStore
from realm_jax.index.exact import ExactIndex
from realm_jax.training.checkpoints import State
from realm_jax.training.jitted_models import Models
from realm_jax.training.loop import make_step
from realm_jax.training.mesh import WHOLE, local_mesh, put_params, put_rows, shardings
from realm_jax.training.optimizer import bert_optimizer
from realm_jax.training.snapshot_follower import InUse
from realm_jax.training.tasks.pretrain import Pretrain as PretrainTask
from realm_jax.training.tasks.pretrain import Retrieval
from realm_jax.workdir import Workdir

PASSAGES = 13_353_718
BASE = Bert(hidden_size=768, num_layers=12, num_heads=12, intermediate_size=3072, dropout=0.0)
"""Without dropout, as fused attention wants it."""
FULL = Config(
    name="gpu",
    data=Data(passage_length=288, query_length=64, joint_length=352),
    model=Model(weights="random", bert=BASE),
    index=Index(kind="exact", dtype="bfloat16", store="device", rows_per_batch=512),
    pretrain=Pretrain(steps=100, batch_size=32, candidates=8),
)
TINY = dataclasses.replace(
    FULL,
    data=Data(passage_length=24, query_length=24, joint_length=40),
    model=Model(
        weights="random",  # and few wordpieces: `words` draws from 1000 on
        bert=Bert(vocab_size=1200, hidden_size=24, num_layers=1, num_heads=2, intermediate_size=48, dropout=0.0),
    ),
    index=dataclasses.replace(FULL.index, rows_per_batch=8),
    pretrain=dataclasses.replace(FULL.pretrain, batch_size=8),
)
BLOCK = 1 << 20


class Always:
    """Follows no builder: one index for all steps."""

    waited_s = 0.0

    def __init__(self, index: ExactIndex):
        self._in_use = InUse(0, index)

    def at(self, step: int) -> InUse:
        return self._in_use


def made_up_vectors(count: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """One block of random vectors, again and again, each time turned by other signs: quick to make, all different."""
    block = generator.standard_normal((min(BLOCK, count), size), np.float32)
    vectors = np.empty((count, size), np.float32)
    for start in range(0, count, BLOCK):
        part = vectors[start : start + BLOCK]
        np.multiply(block[: len(part)], generator.choice((-1, 1), size).astype(np.float32), out=part)
    return vectors


def made_up_tokens(config: Config, count: int, generator: np.random.Generator) -> np.ndarray:
    """uint16 rows `[CLS] title [SEP] body [SEP]` that fill their whole length."""
    length = config.data.passage_length
    tokens = np.empty((count, length), np.uint16)
    block = words(config, generator, (min(BLOCK, count), length)).astype(np.uint16)
    for start in range(0, count, BLOCK):
        tokens[start : start + BLOCK] = block[: count - start]
    tokens[:, 0], tokens[:, 6], tokens[:, -1] = CLS, SEP, SEP
    return tokens


def product_rate(size: int) -> float:
    """Operations per second of a square bfloat16 product."""
    x = jnp.ones((size, size), jnp.bfloat16)
    times = 20

    @jax.jit
    def chain(x):
        return jax.lax.fori_loop(0, times, lambda _, y: (y @ x) * (1.0 / size), x)

    return times * 2.0 * size**3 / seconds(lambda: chain(x), 5, warm_up=1)


def copy_rate(size: int) -> float:
    """Bytes per second, read and written, of a copy on the device."""
    x = jnp.ones(size // 4, jnp.float32)
    copy = jax.jit(lambda x: x + 1.0)
    return 2.0 * size / seconds(lambda: copy(x), 10, warm_up=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small sizes, for any machine; its figures mean nothing")
    parser.add_argument("--batch", type=int, help="queries per step")
    parser.add_argument("--passages", type=int, help=f"by default {PASSAGES}, the paper's")
    parser.add_argument("--block-rows", type=int, help="rows that the search scans at once")
    parser.add_argument("--output", type=Path, help="write the table to this file too, line by line")
    options = parser.parse_args()
    if jax.default_backend() == "cpu" and not options.tiny:
        print("gpu.py: no accelerator here, nothing measured; `--tiny` shows that it runs")
        return
    config, count = (TINY, 3_000) if options.tiny else (FULL, PASSAGES)
    count = options.passages or count
    pretrain = dataclasses.replace(config.pretrain, batch_size=options.batch or config.pretrain.batch_size)
    config = dataclasses.replace(config, pretrain=pretrain)
    b, k, size = pretrain.batch_size, pretrain.candidates, config.model.vector_size
    began, generator, mesh = time.perf_counter(), np.random.default_rng(0), local_mesh()
    form = "{:<58} {:>16}   {}"

    if options.output is not None:
        options.output.write_text("")

    def line(text: str) -> None:
        print(text, flush=True)
        if options.output is not None:
            with options.output.open("a") as file:
                file.write(f"{text}\n")

    def say(what: str, measured: str, compared: str = "") -> None:
        line(form.format(what, measured, compared).rstrip())

    line(f"$ python benchmarks/gpu.py {' '.join(sys.argv[1:])}".rstrip())
    line(machine() + ", tiny sizes: these figures mean nothing" * options.tiny)
    rate = product_rate(256 if options.tiny else 8192)
    bandwidth = copy_rate(1 << 20 if options.tiny else 1 << 31)
    say("one bfloat16 product", f"{rate / 1e12:.1f} TFLOP/s", "the rate of utilisation")
    say("copy on the device, read and written", f"{bandwidth / 1e9:.0f} GB/s", "the rate of the search's floor")

    index = ExactIndex(made_up_vectors(count, size, generator), mesh, config.index.dtype, options.block_rows)
    store = DeviceStore(made_up_tokens(config, count + 1, generator), mesh)
    say(f"{count:,} passages: vectors", f"{index.vectors.nbytes / 1e9:.2f} GB", f"{config.index.dtype}")
    say("their tokens", f"{store.tokens.nbytes / 1e9:.2f} GB", f"{store.tokens.dtype}, P {config.data.passage_length}")
    say("made and copied, since the start", f"{time.perf_counter() - began:.0f} s")

    queries = put_rows(mesh, generator.standard_normal((b, size)).astype(np.float32))
    search = jax.jit(lambda index, queries: index.search_device(queries, k))  # K - 1 and the origin
    search_s = seconds(functools.partial(search, index, queries), 20, warm_up=2)
    floor = index.vectors.nbytes / mesh.size / bandwidth
    say(
        f"search, {b} queries, {k} best",
        f"{search_s * 1e3:.2f} ms",
        f"{search_s / floor:.2f} of its floor {floor * 1e3:.2f} ms",
    )
    found = jax.block_until_ready(search(index, queries))[1]
    gather_s = seconds(lambda: store.rows(found), 20, warm_up=2)
    say(f"gather, {b} x {k} rows of tokens", f"{gather_s * 1e3:.2f} ms")

    with tempfile.TemporaryDirectory() as folder:
        models = Models(config, Workdir(Path(folder)))
    key, rows = jax.random.key(0), words(config, generator, (32, 24))
    params = put_params(mesh, {"embedder": models.embedder(key, rows), "reader": models.reader(key, rows)})
    n = config.index.rows_per_batch
    passages = put_rows(mesh, made_up_tokens(config, n, generator).astype(np.int32))
    with jax.set_mesh(mesh):
        embed_s = seconds(lambda: models.embed(params["embedder"], passages), 10, warm_up=1)
    used = trunk_operations(config, n, config.data.passage_length) / embed_s / mesh.size / rate
    say(f"embedding, {n} rows at once", f"{n / embed_s:,.0f} passages/s", f"utilisation {used:.1%}")

    retrieval = Retrieval(Always(index), NullStore(config, count), store, mesh)
    task = PretrainTask(config, models, retrieval, batches=None, start=None, probe=None)
    optimizer = bert_optimizer(pretrain)
    moments = shardings(mesh, jax.eval_shape(optimizer.init, params))
    state = State(params, jax.jit(optimizer.init, out_shardings=moments)(params))
    layout = (shardings(mesh, state), jax.sharding.NamedSharding(mesh, WHOLE))
    take_step = make_step(task, optimizer, key, layout=layout)
    placed, number = put_rows(mesh, masked_queries(config, generator)), put_rows(mesh, np.int32(0))

    def retrieved():
        with jax.set_mesh(mesh):
            embedded = task.embed(state.params, placed.query)
        return task.retrieve(embedded, placed, 0)[0]

    def steps(times: int):
        """As the loop does it: queries of the next step are embedded and searched before this step is dispatched."""
        nonlocal state
        ready = retrieved()
        for _ in range(times):
            following = retrieved()
            with jax.set_mesh(mesh):
                state, figures = take_step(state, ready, number)
            ready = following
        return figures["loss/total"]

    jax.block_until_ready(steps(2))
    times = 10
    step_s = seconds(lambda: steps(times), 3) / times
    used = step_operations(config) / step_s / mesh.size / rate
    share = (search_s + gather_s) / step_s
    say(f"pre-training step, B={b} K={k}", f"{step_s * 1e3:.1f} ms", f"utilisation {used:.1%}")
    say("search and gather, of the step", f"{share:.1%}")
    peak = max((device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.local_devices())
    say("memory of a device at its peak", f"{peak / 1e9:.1f} GB" if peak else "not told")
    line(f"took {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
