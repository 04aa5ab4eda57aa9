"""Ways to find the passages with the largest inner products, side by side on the same vectors.

    make bench        # or: pip install -e '.[bench]'; python benchmarks/mips.py

The exact index (on this machine's devices), ScaNN as snapshots hold it, and FAISS: its flat index, which is exact too,
and HNSW, a graph. Each is built and searched in a process of its own, one after the other; queries come 64 at once.

- recall: share of the 10 found that are among the 10 best, by inner product (`recall_against_exact`)
- memory: what the process holds more of than before, without files; of an accelerator, what is in use there
- ScaNN searches on one thread, as the trainer uses it; the others use all cores

Vectors are made up (clusters of 35, 128 numbers each), or `--vectors FILE.npy`, such as a snapshot's vectors.npy. With
`--output NAME` the table goes to NAME.txt and a plot to NAME.svg. A million vectors take most of the few minutes: the
graph and ScaNN's tree are slow to build.
"""

import argparse
import gc
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from _common import clustered, machine, near, seconds

from realm_jax.index.base import Index
from realm_jax.index.exact import ExactIndex, recall_against_exact
from realm_jax.index.scann import ScannIndex
from realm_jax.training.mesh import local_mesh

SIZES, SIZE, FOUND, AT_ONCE = (10_000, 30_000, 100_000, 300_000, 1_000_000), 128, 10, 64
EDGES, LOOKS = 32, (64, 256)
"""Neighbours of a vector in the graph, and how many of the best are followed in a search (efSearch)."""
FORM = "{:>10}  {:<20} {:>12} {:>10} {:>10} {:>12}"
HEADS = ("passages", "index", "queries/s", "recall@10", "build, s", "memory, MiB")


class Result(NamedTuple):
    """One row of the table."""

    passages: int
    index: str
    rate: float
    recall: float
    build_s: float
    memory: int

    def __str__(self) -> str:
        numbers = f"{self.rate:,.0f}", f"{self.recall:.3f}", f"{self.build_s:.1f}", f"{self.memory / 2**20:,.0f}"
        return FORM.format(f"{self.passages:,}", self.index, *numbers)


class FaissIndex(Index):
    """An index of FAISS, as the interface has it."""

    def __init__(self, vectors: np.ndarray, edges: int = 0):
        """A flat index, or with `edges` a graph."""
        import faiss

        self.num_passages, self.dimension = vectors.shape
        metric = faiss.METRIC_INNER_PRODUCT
        self.faiss = faiss.IndexHNSWFlat(self.dimension, edges, metric) if edges else faiss.IndexFlatIP(self.dimension)
        self.faiss.add(np.ascontiguousarray(vectors))

    def _search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        scores, ids = self.faiss.search(queries, k)
        return scores, ids.astype(np.int32)


def graph(vectors: np.ndarray):
    """The graph once for each depth of search."""
    index = FaissIndex(vectors, EDGES)
    for looks in LOOKS:
        index.faiss.hnsw.efSearch = looks
        yield f"FAISS HNSW, ef {looks}", index


SYSTEMS: dict[str, Callable] = {
    "exact": lambda vectors: [("exact, float32", ExactIndex(vectors, local_mesh()))],
    "exact bfloat16": lambda vectors: [("exact, bfloat16", ExactIndex(vectors, local_mesh(), "bfloat16"))],
    "scann": lambda vectors: [("ScaNN", ScannIndex(vectors))],
    "flat": lambda vectors: [("FAISS flat", FaissIndex(vectors))],
    "graph": graph,
}


def measure(system: str, folder: Path) -> list[Result]:
    """Builds and searches one system; in a process of its own."""
    vectors, queries = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    batches = [queries[i : i + AT_ONCE] for i in range(0, len(queries), AT_ONCE)]
    ExactIndex(vectors[:AT_ONCE], local_mesh()).search(batches[0], 1)  # the devices are awake before anything is timed
    results, before, start = [], in_use(), time.perf_counter()
    for name, index in SYSTEMS[system](vectors):
        built = time.perf_counter() - start if not results else results[0].build_s
        memory = in_use() - before if not results else results[0].memory
        taken = seconds(lambda index=index: [index.search(batch, FOUND) for batch in batches], times=3, warm_up=1)
        recall = recall_against_exact(index, vectors, queries, FOUND)
        results.append(Result(len(vectors), name, len(queries) / taken, recall, built, memory))
    return results


def in_use() -> int:
    """Bytes of this process that no file gives, and of the accelerators."""
    gc.collect()  # JAX lets go of what it has copied to a device when Python next cleans up
    with open("/proc/self/status") as file:
        host = next(int(line.split()[1]) << 10 for line in file if line.startswith("RssAnon"))
    return host + sum((device.memory_stats() or {}).get("bytes_in_use", 0) for device in jax.local_devices())


def plot(results: list[Result], path: Path) -> None:
    """Rate and recall over the number of passages."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in dict.fromkeys(result.index for result in results):
        rows = [result for result in results if result.index == name]
        sizes = [row.passages for row in rows]
        left.plot(sizes, [row.rate for row in rows], marker="o", label=name)
        right.plot(sizes, [row.recall for row in rows], marker="o", label=name)
    left.set(xscale="log", yscale="log", xlabel="passages", ylabel="queries per second")
    right.set(xscale="log", ylim=(0, 1.03), xlabel="passages", ylabel=f"recall@{FOUND}, of exact")
    right.legend()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of vectors to measure with")
    parser.add_argument("--queries", type=int, default=512)
    parser.add_argument("--vectors", type=Path, help="real vectors, [rows, size] float32; as many as the file has")
    parser.add_argument("--output", type=Path, help="write NAME.txt and NAME.svg")
    parser.add_argument("--note", default="", help="said in the head, such as: machine shared")
    options = parser.parse_args()
    systems = list(SYSTEMS)
    if jax.default_backend() == "cpu":
        systems.remove("exact bfloat16")  # CPUs have no such products: it would only be slow
    try:
        import faiss  # noqa: F401
    except ImportError:
        sys.exit("mips.py: FAISS is not installed: pip install -e '.[bench]'")

    head = [f"$ python benchmarks/mips.py {' '.join(sys.argv[1:])}".rstrip()]
    head += [f"{machine()}{', ' * bool(options.note)}{options.note}", FORM.format(*HEADS), "-" * 80]
    print(*head, sep="\n", flush=True)
    given = None if options.vectors is None else np.load(options.vectors, mmap_mode="r")
    results: list[Result] = []
    for count in options.sizes if given is None else [len(given)]:
        generator = np.random.default_rng(0)
        vectors = clustered(count, SIZE, generator) if given is None else np.asarray(given, np.float32)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.save(folder / "vectors.npy", vectors)
            np.save(folder / "queries.npy", near(vectors, min(options.queries, count), generator))
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
