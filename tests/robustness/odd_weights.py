"""Folders of published weights, damaged, or with a config.json that says what cannot be."""

import dataclasses
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.robustness.damaged_workdirs import ANY
from tests.robustness.driver import Case

SEED = 23
VALUES = (None, -1, 0, 10**9, 10**30, 1.5, "odd", [], {}, True, float("nan"), float("inf"))


def weights(folder: Path) -> Path:
    """A small open-QA model with its vocabulary and passages."""
    from realm_jax import published
    from tests import world
    from tests.published import small

    vocab = folder / "words.txt"
    world.write_vocab(vocab)
    bert = dataclasses.replace(small.BERT, vocab_size=len(world.VOCAB), max_positions=64)
    passages = [article.text.encode() for article in world.articles()]
    published.save(folder / "weights", small.make("open_qa", bert=bert, vocab=vocab, passages=passages))
    return folder / "weights"


def cases(template: Path, seed: int = SEED) -> Iterator[Case]:
    """Args: template: the folder of weights."""
    draw = random.Random(seed)
    keys = sorted(json.loads((template / "config.json").read_text()))
    for key in (*keys, "another"):
        for value in draw.sample(VALUES, 6):
            yield Case("weights", f"config.json: {key} {str(value)[:20]}", _with(template, key, value))
    for path in sorted(template.iterdir()):
        for how, harm in ANY.items():
            yield Case("weights", f"{path.name}: {how}", _damaged(template, path.name, harm, draw.random()))


def _with(template: Path, key: str, value: object) -> Callable[[Path], list[str]]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    return _imported(template, change)


def _damaged(template: Path, name: str, harm: Callable, seed: float) -> Callable[[Path], list[str]]:
    return _imported(template, lambda folder: harm(folder / name, random.Random(seed)))


def _imported(template: Path, change: Callable[[Path], None]) -> Callable[[Path], list[str]]:
    def lay(place: Path) -> list[str]:
        shutil.copytree(template, place / "weights")
        change(place / "weights")
        return ["import_weights", "--source", str(place / "weights"), "--workdir", str(place / "run")]

    return lay
