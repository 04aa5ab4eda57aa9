"""Ways to find the passages with the largest inner products, side by side on the same vectors, at equal recall.

    make bench        # or: pip install -e '.[bench]'; python benchmarks/mips.py

The exact index (on this machine's devices), ScaNN as snapshots hold it and with SOAR, and FAISS: its flat index, which
is exact too, HNSW, a graph, and IVF-PQ, whose best 200 are scored again as ScaNN's are. Each is built, on all cores,
and searched in a process of its own, one after the other; queries come 64 at once.

- queries/s at a recall: each approximate index looks as far as that takes, as `index.recall` has a build do it
  (`realm_jax/index/effort.py`); recall is the share of the 10 found that are among the 10 best by inner product
- threads: as many searches at a time, on as many cores
- memory: the growth of the process by the build, without files; of an accelerator, the memory in use there

Vectors are made up (clusters of 35, 128 numbers each), or real: `--workdir RUN` takes the passages' vectors of a run's
newest snapshot, and its questions, embedded. With `--output NAME` the table goes to NAME.txt and a plot to NAME.svg.
A million vectors take most of the time: the graph and ScaNN's tree are slow to build.
"""

import argparse
import contextlib
import copy
import dataclasses
import functools
import gc
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from _common import clustered, machine, near, seconds

import realm_jax
from realm_jax.index.base import Index, Retriever
from realm_jax.index.effort import reach
from realm_jax.index.exact import ExactIndex, Recall
from realm_jax.index.scann import ScannIndex, choose_parameters
from realm_jax.qa.questions import load_questions, prepared_set
from realm_jax.training.mesh import local_mesh
from realm_jax.training.open_run import OpenRun

SIZES, SIZE, FOUND, AT_ONCE = (10_000, 100_000, 1_000_000), 128, 10, 64
RECALLS, THREADS = (0.90, 0.95, 0.98, 0.99), (1, 2)
EDGES, SOAR, RESCORED = 32, 1.5, 20
"""Neighbours of a vector in the graph; lambda of SOAR; passages that IVF-PQ scores again, for each that it finds."""
FORM = "{:>10}  {:<16} {:>7} {:>9} {:>12}" + " {:>7}" * len(RECALLS)
HEADS = ("passages", "index", "threads", "build, s", "memory, MiB", *(f"q/s {recall:.2f}" for recall in RECALLS))


class Result(NamedTuple):
    """One row of the table."""

    passages: int
    index: str
    threads: int
    build_s: float
    memory: int
    rates: tuple[float | None, ...]
    """Queries per second at each of `RECALLS`; None where it is out of reach."""

    def __str__(self) -> str:
        rates = ("-" if rate is None else f"{rate:,.0f}" for rate in self.rates)
        built = f"{self.build_s:.1f}", f"{self.memory / 2**20:,.0f}"
        return FORM.format(f"{self.passages:,}", self.index, self.threads, *built, *rates)


class FaissIndex(Index):
    """An index of FAISS, as the interface has it; `effort` is the value of its option `option`."""

    def __init__(self, vectors: np.ndarray, recipe: str, option: str = "", most: int = 0):
        import faiss

        self.num_passages, self.dimension = vectors.shape
        self.faiss = faiss.index_factory(self.dimension, recipe, faiss.METRIC_INNER_PRODUCT)
        vectors = np.ascontiguousarray(vectors)
        self.faiss.train(vectors)
        self.faiss.add(vectors)
        self.approximate, self._option, self.effort, self.most_effort = bool(option), option, 1, most
        if recipe.endswith("RFlat"):
            self.faiss.k_factor = RESCORED

    def with_effort(self, effort: int) -> "FaissIndex":
        import faiss

        faiss.ParameterSpace().set_index_parameter(self.faiss, self._option, effort)
        other = copy.copy(self)
        other.effort = effort
        return other

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, ids = self.faiss.search(queries, k)
        return scores, ids.astype(np.int32)


def ivf(vectors: np.ndarray) -> FaissIndex:
    """As many leaves as ScaNN has, and as many bits a vector."""
    leaves = choose_parameters(len(vectors)).leaves
    return FaissIndex(vectors, f"IVF{leaves},PQ{vectors.shape[1] // 2}x4fs,RFlat", "nprobe", leaves)


def soar(vectors: np.ndarray) -> ScannIndex:
    return ScannIndex(vectors, dataclasses.replace(choose_parameters(len(vectors)), soar=SOAR))


SYSTEMS: dict[str, Callable[[np.ndarray], Index]] = {
    "exact": lambda vectors: ExactIndex(vectors, local_mesh()),
    "exact, bfloat16": lambda vectors: ExactIndex(vectors, local_mesh(), "bfloat16"),
    "ScaNN": ScannIndex,
    f"ScaNN, SOAR {SOAR}": soar,
    "FAISS flat": lambda vectors: FaissIndex(vectors, "Flat"),
    "FAISS HNSW": lambda vectors: FaissIndex(vectors, f"HNSW{EDGES}", "efSearch", 2048),
    "FAISS IVF-PQ": ivf,
}


def measure(system: str, folder: Path) -> list[Result]:
    """Builds and searches one system; in a process of its own."""
    vectors, queries = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    batches = [queries[i : i + AT_ONCE] for i in range(0, len(queries), AT_ONCE)]
    ExactIndex(vectors[:AT_ONCE], local_mesh()).search(batches[0], 1)  # the devices are awake before anything is timed
    before, start = in_use(), time.perf_counter()
    index = SYSTEMS[system](vectors)
    build_s, memory = time.perf_counter() - start, in_use() - before
    recall_of = Recall(vectors, queries, FOUND)
    rates: dict[int, list[float | None]] = {threads: [] for threads in THREADS}
    for target in RECALLS if index.approximate else RECALLS[:1]:
        found, recall = reach(index.with_effort(1), recall_of, target) if index.approximate else (index, 1.0)
        for threads, row in rates.items():
            row.append(rate(found, batches, threads) if recall >= target else None)
    if not index.approximate:  # as fast at any recall
        rates = {threads: row * len(RECALLS) for threads, row in rates.items()}
    return [Result(len(vectors), system, threads, build_s, memory, tuple(row)) for threads, row in rates.items()]


def rate(index: Retriever, batches: list[np.ndarray], threads: int) -> float:
    """Queries per second of `threads` callers, on as many cores."""
    cores = sorted(os.sched_getaffinity(0))
    try:
        use(cores[:threads])
        with ThreadPoolExecutor(threads) as callers:
            search = functools.partial(index.search, k=FOUND)
            return sum(map(len, batches)) / seconds(lambda: list(callers.map(search, batches)), times=3, warm_up=1)
    finally:
        use(cores)


def use(cores: list[int]) -> None:
    """Keeps all threads of this process to these cores."""
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread), cores)


def in_use() -> int:
    """Bytes of this process that no file gives, and of the accelerators."""
    gc.collect()  # JAX lets go of what it has copied to a device when Python next cleans up
    with open("/proc/self/status") as file:
        host = next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))
    return host + sum((device.memory_stats() or {}).get("bytes_in_use", 0) for device in jax.local_devices())


def of_run(workdir: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of a run's passages, and of its questions, by its pre-trained embedder."""
    model = realm_jax.load(workdir).at("pretrain")
    folder, step = model.workdir.result("pretrain")
    vectors = np.load(folder.snapshots / str(step) / "vectors.npy", mmap_mode="r")
    questions = prepared_set(model.config.questions, OpenRun(model.config, model.workdir).data)
    asked = itertools.chain.from_iterable(load_questions(questions, split) for split in ("test", "train"))
    return vectors[:-1], model.embed([question.question for question in itertools.islice(asked, count)])


def plot(results: list[Result], path: Path) -> None:
    """Rate over recall, at the largest number of passages; and time of the build over the number of passages."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    most = max(result.passages for result in results)
    for name in dict.fromkeys(result.index for result in results):
        rows = [result for result in results if result.index == name and result.threads == 1]
        left.plot(RECALLS, [rate for row in rows if row.passages == most for rate in row.rates], marker="o", label=name)
        right.plot([row.passages for row in rows], [row.build_s for row in rows], marker="o", label=name)
    left.set(yscale="log", xlabel=f"recall@{FOUND}, {most:,} passages", ylabel="queries per second, one thread")
    right.set(xscale="log", yscale="log", xlabel="passages", ylabel="build, seconds")
    left.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of vectors to measure with")
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--workdir", help="a run, whose passages and questions take the place of made-up vectors")
    parser.add_argument("--output", type=Path, help="write NAME.txt and NAME.svg")
    parser.add_argument("--note", default="", help="said in the head, such as: machine shared")
    options = parser.parse_args()
    systems = list(SYSTEMS)
    if jax.default_backend() == "cpu":
        systems.remove("exact, bfloat16")  # CPUs have no such products: it would only be slow
    try:
        import faiss  # noqa: F401
    except ImportError:
        sys.exit("mips.py: FAISS is not installed: pip install -e '.[bench]'")

    head = [f"$ python benchmarks/mips.py {' '.join(sys.argv[1:])}".rstrip()]
    head += [f"{machine()}{', ' * bool(options.note)}{options.note}", FORM.format(*HEADS), "-" * 92]
    print(*head, sep="\n", flush=True)
    given = options.workdir and of_run(options.workdir, options.queries)
    results: list[Result] = []
    for count in [len(given[0])] if given else options.sizes:
        generator = np.random.default_rng(0)
        vectors = given[0] if given else clustered(count, SIZE, generator)
        queries = given[1] if given else near(vectors, min(options.queries, count), generator)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.save(folder / "vectors.npy", vectors)
            np.save(folder / "queries.npy", queries)
            del vectors
            for system in systems:
                # A process each: the next one starts from nothing, and the libraries' threads do not meet.
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    rows = process.submit(measure, system, folder).result()
                print(*rows, sep="\n", flush=True)
                results += rows
    if options.output is not None:
        options.output.with_suffix(".txt").write_text("".join(f"{line}\n" for line in [*head, *results]))
        plot(results, options.output.with_suffix(".svg"))


if __name__ == "__main__":
    main()
