"""The results of each stage of a run: parameters, and the index that goes with them."""

import dataclasses
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax

from realm_jax.errors import UserError
from realm_jax.index import snapshots
from realm_jax.index.base import Retriever
from realm_jax.training import checkpoints
from realm_jax.training.mesh import local_mesh
from realm_jax.training.open_run import OpenRun
from realm_jax.training.results import finetuned_snapshot, restore_result, result_step, start_of_pretraining
from realm_jax.workdir import StageDir

START, PRETRAIN, FINETUNE = POINTS = ("start", "pretrain", "finetune")
"""Points of a run that `Model.at` gives: before pre-training, after it, after fine-tuning."""
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Learned:
    """Parameters of a stage; never changed, so that threads may share them."""

    embedder: Any
    """Of queries."""
    reader: Any
    """The span reader after fine-tuning; the masked-LM reader before it."""
    index: Retriever
    """The passages' vectors, made by the embedder of checkpoint `step` of pre-training, or of fine-tuning where that
    refreshes them."""
    step: int
    scale: float
    """f(x, z) is this times the inner product."""

    @property
    def params(self) -> dict[str, Any]:
        return {"embedder": self.embedder, "reader": self.reader}


class Stages:
    """Of one run; each is loaded when it is first asked for, once, whichever thread asks."""

    def __init__(self, run: OpenRun):
        self._run, self._lock = run, threading.RLock()
        self._loaded: dict[Any, Any] = {}
        self._pretraining = run.workdir.stage("pretrain")

    def __getitem__(self, stage: str | int) -> Learned:
        """`start`, `pretrain`, `finetune`, or a step of pre-training.

        Raises:
          UserError: the stage is not finished, or its index is not there.
        """
        return self._once(stage, lambda: self._load(stage))

    def loaded(self) -> list[str | int]:
        """The stages that have been asked for."""
        with self._lock:
            return [name for name, what in self._loaded.items() if isinstance(what, Learned)]

    def passage_embedder(self, stage: str | int) -> Any:
        """The embedder that made the vectors of a stage's index: fine-tuning learns one for questions alone."""
        if stage != FINETUNE or self._run.config.finetune.refresh == "inline":
            return self[stage].embedder
        return self[START if self._run.config.finetune.embedder == "start" else PRETRAIN].embedder

    def check(self, stage: str | int) -> None:
        """Raises UserError for a name that is no stage, and for a step without checkpoint or index."""
        if isinstance(stage, str) and stage not in POINTS:
            raise UserError(f"no stage {stage!r}; there are {', '.join(POINTS)}, and steps of pre-training (a number)")
        if isinstance(stage, int):
            saved = checkpoints.steps(self._pretraining.checkpoints)
            both = [step for step in snapshots.list_steps(self._pretraining.snapshots) if step in saved]
            if stage not in both:
                known = ", ".join(map(str, both)) or "none"
                raise UserError(
                    f"{self._pretraining.root}: no checkpoint of step {stage} with an index of it (both are kept of "
                    f"the last few steps: pretrain.keep, index.keep); there are {known}"
                )

    def _load(self, stage: str | int) -> Learned:
        run, config = self._run, self._run.config
        if stage == FINETUNE:
            if not (config.finetune.steps or run.workdir.stage(FINETUNE).done.exists()):
                raise UserError(
                    f"{run.workdir.root}: answers no questions, since nothing was fine-tuned (finetune.steps 0); ask "
                    "it a sentence with [MASK], or look for passages by model.retrieve"
                )
            embedder = restore_result(run.workdir, FINETUNE, "embedder", run.models)
            reader = restore_result(run.workdir, FINETUNE, "reader", run.models, "span_reader")
            (folder, step), scale = finetuned_snapshot(config, run.workdir), config.finetune.score_scale
        else:
            params, step = self._pretrained(stage)
            embedder, reader, scale = params["embedder"], params["reader"], config.pretrain.score_scale
            folder = self._pretraining
        index = self._once(("index", folder, step), lambda: self._index(folder, step))
        return Learned(embedder, reader, index, step, scale)

    def _pretrained(self, stage: str | int) -> tuple[dict[str, Any], int]:
        run, parts = self._run, ("embedder", "reader")
        if stage == START:
            return start_of_pretraining(run)(jax.random.key(run.config.seed)), snapshots.FIRST_STEP
        if stage == PRETRAIN:
            return {part: restore_result(run.workdir, PRETRAIN, part, run.models) for part in parts}, result_step(
                run.workdir, PRETRAIN
            )
        where, step = self._pretraining.checkpoints, int(stage)
        return {part: checkpoints.restore_part(where, step, part, run.models.shapes(part)) for part in parts}, step

    def _index(self, folder: StageDir, step: int) -> Retriever:
        fingerprint, settings = self._run.store.fingerprint, self._run.config.index
        return snapshots.load_index(folder.snapshots, step, fingerprint, settings, local_mesh())

    def _once(self, name: Hashable, make: Callable[[], T]) -> T:
        if name in self._loaded:  # nobody waits for what another thread loads
            return self._loaded[name]
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = make()
            return self._loaded[name]
