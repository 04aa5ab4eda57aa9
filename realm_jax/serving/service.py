"""The requests of the API and the page to the model, one by one."""

import asyncio
import dataclasses
import math
import os.path
import re
import time
from typing import Any

from realm_jax.answering.asked import MASK
from realm_jax.answering.results import Retrieved, if_sure
from realm_jax.errors import UserError
from realm_jax.index.snapshots import MANIFEST
from realm_jax.serving.batcher import Batcher, Busy
from realm_jax.serving.live import MOST_MASKS, Live, Work, first
from realm_jax.training.results import finetuned_snapshot

_PATH = re.compile(r"(?<![\w/:])(?:~|\w+:/)?(?:/[^\s/:;,()'\"]+){2,}/?")


LOADING_S = 10
"""After which to ask again for a stage that is being loaded."""


class Service:
    """Checks a request against the model of the moment, and puts it into the queue."""

    def __init__(self, live: Live, batcher: Batcher):
        self.live, self.batcher = live, batcher

    async def ask(self, endpoint: str, asked: dict[str, Any]) -> Any:
        """The result of an endpoint, given its checked parameters.

        Raises:
          UserError: the text does not fit, or the run has no such stage.
          batcher.Busy: it cannot be answered now.
        """
        if endpoint == "passage":
            return await self.batcher.ask(Work("passage", count=asked["neighbours"]), asked["id"])
        text, truth, stage = asked["text"], asked.get("truth", ""), asked.get("stage", "")
        if endpoint == "explain" and not truth.strip():
            raise UserError("truth: is empty; give the right answer, or ask `answer` or `fill`")
        if stage and not self.is_ready(Work("retrieve", stage, count=self.live.depth(1))):
            raise Busy(f"stage {stage} is still being loaded", LOADING_S)
        self.live.model.check(text, truth)
        masked = MASK in text
        if endpoint == "retrieve":
            found: Retrieved = await self.batcher.ask(Work("retrieve", stage, count=self.live.depth(asked["k"])), text)
            return first(found, asked["k"])
        if masked and endpoint == "answer":
            raise UserError(f"text: has {MASK}, which `fill` finds the words for")
        if masked:
            self._check_masks(text, truth)
        if endpoint == "explain":
            return await self.batcher.ask(Work("explain", stage, masked), (text, truth))
        found = await self.batcher.ask(Work(endpoint, stage, masked), text)
        if not asked.get("unknown"):
            return found
        return if_sure(found, 0.0 if masked else await self.unknown_below())

    async def unknown_below(self) -> float:
        """The least probability of an answer that is known.

        Raises:
          UserError: it has not been chosen.
        """
        return await asyncio.to_thread(lambda: self.live.model.unknown_below)

    def is_ready(self, kind: Work) -> bool:
        """Whether nobody who asks this waits for a program to be compiled, or parameters to be read."""
        return self.live.warm or self.batcher.pace.seconds(kind, self.live.sizes[0]) is not None

    def plain(self, result: Any) -> Any:
        """A result in values of JSON, without paths of the machine; a number that is not finite is null."""
        if isinstance(result, float):
            return result if math.isfinite(result) else None
        if isinstance(result, list | tuple):
            return [self.plain(one) for one in result]
        if not dataclasses.is_dataclass(result):
            return result
        fields = {field.name: self.plain(getattr(result, field.name)) for field in dataclasses.fields(result)}
        if "origin" in fields:
            fields["origin"] = self.origin(fields["origin"])
        return fields

    def origin(self, where: str) -> str:
        """Where an article comes from, within its corpus."""
        folder = os.path.dirname(self.live.model.config.data.path)
        where = where.removeprefix(folder).lstrip("/") if folder else where
        return self.without_paths(where)

    def without_paths(self, message: str) -> str:
        """A message as it may be told to anyone."""
        message = message.replace(f"{self.live.model.workdir.root}", "the run")
        return _PATH.sub(lambda found: found[0].rstrip("/").rpartition("/")[2], message)

    def snapshot_age_s(self) -> float | None:
        """Seconds since the index that questions search was built; None where that is not known. Where a newer one is
        there that is not in use yet, since the one in use was read."""
        try:
            stage, step = finetuned_snapshot(self.live.model.config, self.live.model.workdir)
            made = (stage.snapshots / str(step) / MANIFEST).stat().st_mtime
        except (UserError, OSError):
            return None
        return time.time() - min(made, self.live.since)

    def _check_masks(self, text: str, truth: str) -> None:
        masks = text.count(MASK)
        if masks == 1 and truth:
            masks = len(self.live.model.wordpieces(truth)) - 2
        if masks > MOST_MASKS:
            raise UserError(f"text: {masks} {MASK}, but at most {MOST_MASKS} are filled here")
