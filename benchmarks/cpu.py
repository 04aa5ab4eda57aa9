"""The cost of the default models on this machine, each figure beside a named baseline measured in the same run.

    make bench        # or: python benchmarks/cpu.py

1. Embedding passages in buckets of like length (`embed_all`), against whole rows of P wordpieces in the store's order.
2. A step of pre-training, against its floor: the matrix products that it cannot do without, at the rate that plain
   matrix products of its own shapes reach here; and against the same step with glibc's own settings of memory, in
   place of `jobs/run.py: KEEP_MEMORY`.
3. ScaNN, against the exact index.

Models are of MiniLM's size with random weights, rows are random wordpieces of the lengths that the Factbook's passages
have: nothing needs to be prepared or fetched. Times are medians. Takes some three minutes on two idle cores.
"""

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import CLS, SEP, NullStore, clustered, machine, masked_queries, near, seconds, step_operations, words

from realm_jax.config import Bert, Config, Data, Model, Pretrain
from realm_jax.index.embed_passages import embed_all
from realm_jax.index.exact import ExactIndex, recall_against_exact
from realm_jax.index.scann import ScannIndex
from realm_jax.jobs.run import KEEP_MEMORY
from realm_jax.training.checkpoints import State
from realm_jax.training.jitted_models import Models
from realm_jax.training.loop import make_step
from realm_jax.training.masked_queries import ReadBatch
from realm_jax.training.optimizer import bert_optimizer
from realm_jax.training.tasks.pretrain import Pretrain as PretrainTask
from realm_jax.training.tasks.pretrain import Retrieval
from realm_jax.workdir import Workdir

CONFIG = Config(
    name="bench",
    data=Data(passage_length=64, query_length=64, joint_length=112),
    model=Model(weights="random", bert=Bert(dropout=0.0)),
    pretrain=Pretrain(steps=100, batch_size=6, candidates=4),
)
ROWS = 768
PASSAGES = 8_900
FOUND = 10
LENGTHS = (22, 29, 34, 43, 52, 59, 62, 63, 64)
"""Wordpieces of the Factbook's passages at these shares of them:"""
SHARES = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 1.0)
MEMORY = "GLIBC_TUNABLES"
STEP = "--step"
"""Prints the seconds of a step, no more."""
Row = tuple[str, str, str, str]


def passage_rows(count: int, generator: np.random.Generator) -> np.ndarray:
    """int32 [count, P]: `[CLS] title [SEP] body [SEP] PAD...`."""
    lengths = np.interp(generator.random(count), SHARES, LENGTHS).astype(int)
    rows = words(CONFIG, generator, (count, CONFIG.data.passage_length))
    rows[:, 0], rows[:, 6] = CLS, SEP
    rows[np.arange(count), lengths - 1] = SEP
    rows[np.arange(rows.shape[1]) >= lengths[:, None]] = 0
    return rows


def embedding(models: Models, embedder: dict, generator: np.random.Generator) -> Iterator[Row]:
    rows, batch = passage_rows(ROWS, generator), CONFIG.index.rows_per_batch
    embed = models.embed_with(embedder)

    def whole_rows():
        return np.concatenate([embed(rows[i : i + batch]) for i in range(0, len(rows), batch)])

    def bucketed():
        return embed_all(embed, rows, batch)

    difference = np.abs(whole_rows() - bucketed()).max()  # compiles both, too
    if difference > 1e-3:
        sys.exit(f"vectors of the two ways differ by {difference}")
    pairs = [(seconds(whole_rows, 1), seconds(bucketed, 1)) for _ in range(3)]  # in turns: other load hits both
    slow, fast = map(statistics.median, zip(*pairs))
    yield f"embed passages, whole rows of {rows.shape[1]}", f"{ROWS / slow:.0f} rows/s", "baseline", "1.00"
    yield "embed passages, in buckets", f"{ROWS / fast:.0f} rows/s", "speed, over whole rows", f"{slow / fast:.2f}"


def step_seconds(models: Models, params: dict, generator: np.random.Generator) -> float:
    b, k = CONFIG.pretrain.batch_size, CONFIG.pretrain.candidates
    passages, store = passage_rows(b * k, generator).reshape(b, k, -1), NullStore(CONFIG)
    passages[:, 0] = store.null_row
    batch = ReadBatch(**vars(masked_queries(CONFIG, generator)), passages=passages)

    task = PretrainTask(CONFIG, models, Retrieval(None, store), batches=None, start=None, probe=None)
    optimizer = bert_optimizer(CONFIG.pretrain)
    take_step = make_step(task, optimizer, jax.random.key(0))
    state, number = State(params, optimizer.init(params)), 0

    def step():
        nonlocal state, number
        state, figures = take_step(state, batch, np.int32(number))
        number += 1
        return figures["loss/total"]

    return seconds(step, 7, warm_up=2)


def training(models: Models, params: dict, generator: np.random.Generator) -> Iterator[Row]:
    b, k = CONFIG.pretrain.batch_size, CONFIG.pretrain.candidates
    plain = float(subprocess.check_output([sys.executable, __file__, STEP], env=os.environ | {MEMORY: ""}))
    taken, operations = step_seconds(models, params, generator), step_operations(CONFIG)
    rate = matmul_rate(b * k * CONFIG.data.joint_length)
    floor = operations / rate
    yield "matrix products of the step's shapes", f"{rate / 1e9:.0f} GFLOP/s", "rate of the floor", ""
    yield f"floor: {operations / 1e9:.0f} GFLOP of them", f"{floor:.3f} s", "baseline", "1.00"
    yield f"pre-training step, B={b} K={k}", f"{taken:.3f} s", "time, over the floor", f"{taken / floor:.2f}"
    yield "the same, glibc's own settings of memory", f"{plain:.3f} s", "time, over memory kept", f"{plain / taken:.2f}"


def matmul_rate(rows: int) -> float:
    """Operations per second of the two largest products of a layer, one after the other."""
    h, i = CONFIG.model.bert.hidden_size, CONFIG.model.bert.intermediate_size
    x, up, down = (jnp.ones(shape, jnp.float32) for shape in ((rows, h), (h, i), (i, h)))
    times = 10

    @jax.jit
    def chain(x):
        for _ in range(times):
            x = (x @ up) @ down * (1.0 / (h * i))
        return x

    chain(x).block_until_ready()
    return times * 4.0 * rows * h * i / seconds(lambda: chain(x), 5)


def search(generator: np.random.Generator) -> Iterator[Row]:
    """Vectors in clusters, as passages of one subject are; queries are vectors with noise."""
    size = CONFIG.model.vector_size
    vectors = clustered(PASSAGES, size, generator)
    queries = near(vectors, 512, generator)
    exact, scann = ExactIndex(vectors), ScannIndex(vectors)
    recall = recall_against_exact(scann, vectors, queries, FOUND)
    for count in (CONFIG.pretrain.batch_size, len(queries)):
        slow, fast = (
            seconds(functools.partial(index.search, queries[:count], FOUND), 30, warm_up=3) for index in (exact, scann)
        )
        of = f"{count} queries, {FOUND} of {PASSAGES:,} x {size}"
        yield f"exact: {of}", f"{slow * 1e3:.2f} ms", "baseline", "1.00"
        yield f"ScaNN: {of}", f"{fast * 1e3:.2f} ms", "speed, over exact", f"{slow / fast:.2f}"
    yield "ScaNN", f"{recall:.3f}", "recall, of exact", ""


def main() -> None:
    if MEMORY not in os.environ:  # read when a process starts: start again, as `realm run` starts its jobs
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {MEMORY: KEEP_MEMORY})
    start, generator = time.perf_counter(), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        models = Models(CONFIG, Workdir(Path(folder)))
    key, rows = jax.random.key(0), passage_rows(32, generator)
    params = {"embedder": models.embedder(key, rows), "reader": models.reader(key, rows)}
    if sys.argv[1:] == [STEP]:
        print(step_seconds(models, params, generator))
        return
    print(machine())
    form = "{:<46} {:>14}   {:<24} {:>5}"
    print(form.format("what", "measured", "compared", "ratio"))
    print("-" * 92)
    for part in (
        embedding(models, params["embedder"], generator), training(models, params, generator), search(generator),
    ):  # fmt: skip
        for row in part:
            print(form.format(*row), flush=True)
    print(f"took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
