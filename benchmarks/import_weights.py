"""The cost of importing an open-QA folder of a million passages: peak memory, and passages a second.

    python benchmarks/import_weights.py [PASSAGES]

Passages are random words of BERT's vocabulary, some 105 wordpieces each; vectors are random, of size 128. Each import
is a process of its own, whose peak resident memory the kernel gives. An import of a hundred passages shows the share of
Python, JAX and TFDS. A million need 5 GB of disk in the folder for temporary files; they are deleted afterwards.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PASSAGES, WIKIPEDIA = 1_000_000, 13_353_718
WORDS, SIZE = 85, 128
BLOCK = 1 << 16
DIFFERENT = 10_000
"""Different texts; a passage is one of them behind its own number."""
ALLOWED = 1.5
"""Peak memory that is aimed at, in sizes of the vectors."""


class Texts:
    """Passages that are made when they are read."""

    def __init__(self, count: int, vocab: Path):
        import numpy as np

        generator = np.random.default_rng(0)
        words = [word for word in vocab.read_text().split() if word.isalpha() and len(word) > 2]
        chosen = generator.choice(words, (DIFFERENT, WORDS))
        self._texts, self._count = [" ".join(row) for row in chosen], count

    def __len__(self) -> int:
        return self._count

    def __iter__(self):
        return (f"{i}: {self._texts[i % DIFFERENT]}.".encode() for i in range(self._count))


def make_source(folder: Path, count: int) -> None:
    """An open-QA folder with a small random model."""
    import jax
    import numpy as np

    from realm_jax import models, published
    from realm_jax.config import Bert, Model

    vocab = models.fetch_minilm() / "vocab.txt"
    bert = Bert(hidden_size=128, num_layers=2, num_heads=2, intermediate_size=512)
    model = Model(weights="random", bert=bert, vector_size=SIZE)
    generator, raw = np.random.default_rng(1), folder.with_name("vectors.npy")
    vectors = np.lib.format.open_memmap(raw, "w+", np.float32, (count, SIZE))
    for first in range(0, count, BLOCK):
        vectors[first : first + BLOCK] = generator.standard_normal((min(BLOCK, count - first), SIZE))
    params = {
        "embedder": models.embedder_params(jax.random.key(0), model, None),
        "reader": models.span_reader_params(jax.random.key(1), model, None),
    }
    texts = Texts(count, vocab)
    published.save(
        folder, published.Published("open_qa", bert, model, params, vectors=vectors, passages=texts, vocab=vocab)
    )
    raw.unlink()


def measure(source: Path, workdir: Path) -> tuple[float, float, float]:
    """Seconds of an import, seconds of CPU time, and its peak resident memory in bytes."""
    start = time.monotonic()
    command = [sys.executable, "-m", "realm_jax", "import_weights", "--source", str(source), "--workdir", str(workdir)]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the import of {source} failed")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        peaks = {}
        for passages in (100, count):
            source = root / f"source_{passages}"
            # The kernel counts what a process was before it became another; so this one stays small.
            subprocess.run([sys.executable, __file__, str(passages), str(source)], check=True)
            seconds, cpu_seconds, peaks[passages] = measure(source, root / f"run_{passages}")
    vectors = 4 * SIZE * count
    print(f"import of {count} passages of some 105 wordpieces, with vectors of size {SIZE}:")
    print(
        f"  {seconds:.0f} s, {count / seconds:.0f} passages/s; {WIKIPEDIA} would take "
        f"{WIKIPEDIA / count * seconds / 3600:.1f} h"
    )
    print(f"  {cpu_seconds:.0f} s of CPU time, {count / cpu_seconds:.0f} passages per second and core")
    print(f"  peak memory {peaks[count] / 2**20:.0f} MiB, of which {peaks[100] / 2**20:.0f} MiB for 100 passages too")
    print(
        f"  that is {peaks[count] / vectors:.2f} times the vectors' {vectors / 2**20:.0f} MiB (aim: at most {ALLOWED})"
    )


if __name__ == "__main__":
    if len(sys.argv) > 2:
        make_source(Path(sys.argv[2]), int(sys.argv[1]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else PASSAGES)
