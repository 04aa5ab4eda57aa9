"""The cost of preparing a corpus, per core, on real Wikipedia text, and for the whole of Wikipedia.

    make bench                                    # or: python benchmarks/data.py
    python benchmarks/data.py --memory 100000     # peak memory of preparing and reading so many passages

Text: the 96 articles of the dump's excerpt that `experiments/wikipedia_excerpt.py` uses. Rates are of CPU seconds, so
that other load on the machine does not count. Cutting is done in parallel; writing, by one process.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np

from realm_jax import models
from realm_jax.config import Config, Data, Masking, Pretrain, WarmUp
from realm_jax.corpus import shards
from realm_jax.corpus.articles import Article
from realm_jax.corpus.passages import cut_articles, with_sentences
from realm_jax.corpus.preparation import Corpus, prepare_corpus
from realm_jax.corpus.source import open_source
from realm_jax.corpus.taggers import Dates, Links, spans_of
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.masked_queries import MaskedQueries
from realm_jax.workdir import DataDir

PASSAGES = 13_353_718
"""Of REALM's Wikipedia of 2018-12-20."""
CORES, HOURS = 16, 4
READ_RATE = 2000
LENGTH = 288


def config(**data) -> Config:
    return Config(
        data=Data(passage_length=LENGTH, joint_length=352, holders=False, processes=1, **data),
        masking=Masking(subject=False),
        warm_up=WarmUp(steps=0),
        pretrain=Pretrain(probe_queries=0),
    )


def cpu(run: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def measure(folder: Path) -> None:
    tokenizer = Tokenizer.from_vocab(models.resolve_vocab(config().model))
    source = open_source("wikipedia", "excerpt")
    (shard,) = source.shards()
    parallel, serial = {}, {}
    parallel["reading and cleaning the dump"], articles = cpu(lambda: list(source.read(shard)))
    parallel["finding sentences"], articles = cpu(lambda: list(map(with_sentences, articles)))
    parallel["tagging by rules (dates, links)"], _ = cpu(lambda: spans_of(articles, [Dates(), Links()]))
    parallel["tokenising and cutting"], cuts = cpu(lambda: list(cut_articles(articles, tokenizer, LENGTH)))
    passages = sum(len(cut.passages) for cut in cuts)

    settings, data = config(source="wikipedia", path="excerpt", taggers=("dates", "links")), DataDir(folder)
    corpus = Corpus(settings.data, data, tokenizer, say=lambda line: None)
    cutter = corpus.cutters[0]
    whole, _ = cpu(lambda: shards.write_shard(corpus.folder, cutter.key(shard), cutter.lines(shard)))
    parallel["writing shards"] = max(whole - sum(parallel.values()), 0.0)
    serial["writing store, passages, queries, tables"], _ = cpu(
        lambda: prepare_corpus(settings, data, tokenizer, say=lambda line: None)
    )
    form = "{:<44} {:>12} {:>16}"
    print(form.format("what", "passages/s", f"hours, {CORES} cores"))
    print("-" * 74)
    hours = 0.0
    for part, cores in ((parallel, CORES), (serial, 1)):
        for name, seconds in part.items():
            needed = seconds / passages * PASSAGES / cores / 3600
            hours += needed
            print(form.format(name + ("" if cores > 1 else " [1 core]"), f"{passages / seconds:.0f}", f"{needed:.2f}"))
    print(form.format(f"all, for {PASSAGES:,} passages (goal: {HOURS} h)", "", f"{hours:.2f}"))
    rate = reading(settings, data, tokenizer)
    print(form.format(f"masked queries/s and core (goal: {READ_RATE})", f"{rate:.0f}", ""))


def reading(settings: Config, data: DataDir, tokenizer: Tokenizer, count: int = 5000) -> float:
    batches = iter(MaskedQueries(settings, data, tokenizer, "train").batches(64, seed=0))
    next(batches)
    seconds, _ = cpu(lambda: [next(batches) for _ in range(count // 64)])
    return count // 64 * 64 / seconds


def synthetic(passages: int) -> Iterator[Article]:
    """Articles of some 40 short passages; no two alike."""
    draw = np.random.default_rng(0)
    for number in range(-(-passages // 40)):
        words = draw.integers(1000, 9999, (40, 4))
        lines = [f"In {1900 + w[0] % 100} the town of Oslo {w[1]} had {w[2]} boats and {w[3]} cars." for w in words]
        yield Article(f"Article {number}", f"Article {number}", "\n".join(lines))


def memory(passages: int, folder: Path) -> None:
    """Prepares and reads a synthetic corpus in this process."""
    tokenizer = Tokenizer.from_vocab(models.resolve_vocab(config().model))
    path, articles = folder / "text.jsonl", synthetic(passages)
    with open(path, "w") as file:
        file.writelines(json.dumps({"title": a.title, "text": a.text}) + "\n" for a in articles)
    base = Config(
        data=Data(source="jsonl", path=str(path), passage_length=32, holders=False, processes=1),
        warm_up=WarmUp(steps=0),
        pretrain=Pretrain(probe_queries=0),
    )
    data, start = DataDir(folder / "data"), time.perf_counter()
    manifest = prepare_corpus(base, data, tokenizer)
    rate = reading(base, data, tokenizer)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.perf_counter() - start
    print(f"{manifest['passages']} passages: peak {peak:.0f} MiB, {seconds:.0f} s, {rate:.0f} queries/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--memory", type=int, default=0, help="measure the memory of so many passages instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.memory:
            memory(arguments.memory, Path(folder))
        else:
            print(f"{len(os.sched_getaffinity(0))} CPU cores, load {os.getloadavg()[0]:.1f}")
            measure(Path(folder))


if __name__ == "__main__":
    sys.exit(main())
