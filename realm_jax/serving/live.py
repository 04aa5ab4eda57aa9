"""The model that a server asks, which gives way to a newer one between two batches."""

import dataclasses
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from realm_jax.answering.asked import MASK
from realm_jax.answering.learned import POINTS, START
from realm_jax.answering.masks import MASKS
from realm_jax.answering.model import Model
from realm_jax.answering.results import Retrieved
from realm_jax.errors import UserError
from realm_jax.serving.batcher import Pace
from realm_jax.training.open_qa import batch_size

LOOK_S = 3.0
"""Between two looks for news in the workdir."""
PATIENCE_S = 1.0
"""Wait for a program that is being compiled when the server ends."""
DEPTHS = (20, 100)
"""Passages that are searched for at once: few numbers, since some indexes compile a program for each."""
MOST_MASKS = MASKS[0]
"""In a sentence: more need programs that are not compiled ahead."""
WORTH = 0.9
"""A larger batch is compiled for where the last size took less than this share of as many small ones."""


@dataclasses.dataclass(frozen=True)
class Work:
    """Requests that can be computed together."""

    method: str
    """Of Model."""
    stage: str = ""
    """Empty for the one that suits the text."""
    masked: bool = False
    count: int = 0
    """Passages to find."""


QUESTION, SENTENCE = Work("answer"), Work("fill", masked=True)


class Live:
    """Computes batches with the newest model of a run."""

    def __init__(self, model: Model):
        self.model = model
        self._at = {"": model}
        self._missing: dict[str, UserError] = {}
        """Stages that the run does not have; looking for one again may take as long as reading it."""
        self.swaps, self.failures = 0, 0
        self.since = time.time()
        """When the model in use was read."""
        self._looked = time.monotonic()
        self.warm = False
        """Whether all is compiled that is compiled ahead."""
        config = model.config
        self.sizes = sorted({batch_size(config, count) for count in range(1, config.evaluation.batch_size + 1)})
        self._stopped, self._thread = threading.Event(), threading.Thread()

    def compute(self, kind: Work, asked: list[Any]) -> list[Any]:
        """For each the model's result, or its UserError. A fault of one harms no other."""
        if kind.stage in self._missing:
            return [self._missing[kind.stage]] * len(asked)
        return _computed(self._at, kind, asked)

    def depth(self, k: int) -> int:
        """How many passages are searched for where `k` are wanted."""
        return min(next((depth for depth in DEPTHS if depth >= k), DEPTHS[-1]), self.model.num_passages)

    def start(self) -> None:
        """Compiles the programs of the first answer; where there is no fine-tuned model, the first filling.

        Raises:
          UserError: there is neither.
        """
        answered, *_ = self.compute(QUESTION, _asked(QUESTION, 1))
        if isinstance(answered, UserError):
            filled, *_ = self.compute(SENTENCE, _asked(SENTENCE, 1))
            if isinstance(filled, UserError):
                raise answered

    def begin(self, pace: Pace) -> None:
        """Warms up, then looks for news, beside those who ask and until `stop`."""
        self._thread = threading.Thread(target=self._watch, args=(pace,), name="watch", daemon=True)
        self._thread.start()

    def _watch(self, pace: Pace) -> None:
        try:
            self.warm_up(pace)
        except Exception:
            if not self._stopped.is_set():  # else the process ends, and Python takes away what loading needs
                raise
            return
        while not self._stopped.wait(LOOK_S):
            self.refresh(pace)

    def _look(self, pace: Pace) -> None:
        """Refreshes where the last look is long ago: warming up may take minutes on a few cores."""
        if time.monotonic() - self._looked > LOOK_S:
            self.refresh(pace)
            self._looked = time.monotonic()

    def warm_up(self, pace: Pace) -> None:
        """Compiles and times the programs of other requests. A larger batch is left out where one after another is as
        quick, as on a few cores."""
        kinds = []
        for kind in _kinds(self.depth(1)):
            if self._stopped.is_set():
                return
            refused = self._warm(kind, self.sizes[0], pace)
            if refused is None:
                kinds.append(kind)
            elif kind.method == "retrieve":
                self._missing[kind.stage] = refused
        for kind in kinds:
            one = pace.seconds(kind, self.sizes[0]) or 0.0
            for before, size in itertools.pairwise(self.sizes):
                took = pace.seconds(kind, before)
                if took is not None and (before == 1 or took < WORTH * before * one):
                    self._warm(kind, size, pace)
        self.warm = True

    def refresh(self, pace: Pace) -> bool:
        """Looks for news in the workdir, and takes them over once the programs fit; whether there was."""
        try:
            newest = self.model.newest()
            if newest is self.model:
                return False
            at = {"": newest}
            for kind in _kinds(self.depth(1)):
                for size in self.sizes:
                    if pace.seconds(kind, size) is not None:
                        _computed(at, kind, _asked(kind, size))
        except Exception as error:  # the model in use goes on
            self.failures += 1
            print(f"serve: what is new in the workdir cannot be read yet ({error})", file=sys.stderr, flush=True)
            return False
        self.model, self._at, self._missing, self.since = newest, at, {}, time.time()
        self.swaps += 1
        return True

    def stop(self) -> None:
        self._stopped.set()

    def is_busy(self) -> bool:
        """Whether something is still being compiled or read; nothing interrupts that."""
        if self._thread.is_alive():
            self._thread.join(PATIENCE_S)
        return self._thread.is_alive()

    def _warm(self, kind: Work, size: int, pace: Pace) -> UserError | None:
        """Why the run cannot be asked this; None where it can."""
        self._look(pace)
        asked = _asked(kind, size)
        for compiled in (False, True):
            if self._stopped.is_set():
                return None
            start = time.monotonic()
            answer = self.compute(kind, asked)[0]
            if isinstance(answer, UserError):
                return answer
            if compiled:
                pace.measured(kind, size, time.monotonic() - start)
        return None


def _computed(at: dict[str, Model], kind: Work, asked: list[Any]) -> list[Any]:
    try:
        if kind.stage not in at:
            at[kind.stage] = at[""].at(kind.stage)
        return _answers(at[kind.stage], kind, asked)
    except UserError as error:
        if len(asked) == 1:
            return [error]
        return [answer for one in asked for answer in _computed(at, kind, [one])]


def _answers(model: Model, kind: Work, asked: list[Any]) -> list[Any]:
    match kind.method:
        case "answer":
            return model.answer(asked)
        case "fill":
            return model.fill(asked)
        case "explain":
            return model.explain(*map(list, zip(*asked, strict=True)))
        case "retrieve":
            return model.retrieve(asked, min(kind.count, model.num_passages))
    return [model.passage(id, kind.count) for id in asked]


def first(found: Retrieved, k: int) -> Retrieved:
    """The best `k` of the passages found, as if only these had been wanted."""
    total = sum(passage.p_retrieval for passage in found.passages[:k])
    passages = (dataclasses.replace(p, p_retrieval=p.p_retrieval / total) for p in found.passages[:k])
    return dataclasses.replace(found, passages=tuple(passages))


def _kinds(depth: int) -> Iterator[Work]:
    """The programs that are compiled ahead, the likeliest first."""
    yield QUESTION
    yield from (Work("retrieve", stage, count=depth) for stage in reversed(POINTS))
    yield from (SENTENCE, Work("explain"), Work("explain", masked=True))
    yield from (Work("fill", START, masked=True), Work("explain", START, masked=True))


def _asked(kind: Work, count: int) -> list[Any]:
    """Anything of that kind."""
    text = f"This is {MASK}." if kind.masked else "What is this?"
    return [(text, "it") if kind.method == "explain" else text] * count
