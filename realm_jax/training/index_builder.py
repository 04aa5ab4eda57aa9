"""The index-builder job: follows the trainer's checkpoints, embeds every passage, publishes snapshots.

It reads the embedder alone, never a whole checkpoint, and tolerates that a checkpoint is deleted under it.
"""

import contextlib
import hashlib
import time

import jax
import numpy as np

from realm_jax.config import Config, Model, of_the_machine
from realm_jax.corpus import tfds_files
from realm_jax.corpus.sentence_source import can_be_masked
from realm_jax.errors import UserError
from realm_jax.index import embed_passages, snapshots
from realm_jax.index.base import Embed
from realm_jax.locks import owner, sole_owner
from realm_jax.remote import AnyPath, is_remote
from realm_jax.settings import flatten
from realm_jax.training import checkpoints
from realm_jax.training.distributed import agree, everywhere, is_first
from realm_jax.training.masked_queries import NothingFits, salient
from realm_jax.training.mesh import make_mesh
from realm_jax.training.open_run import OpenRun
from realm_jax.training.results import restore_result
from realm_jax.training.snapshot_follower import scheduled, snapshot_every
from realm_jax.training.task import Params
from realm_jax.workdir import StageDir, Workdir, read_json

POLL_S = 0.5
PROGRESS_S = 10.0


def follow_and_build(config: Config, workdir: Workdir) -> None:
    """Publishes a snapshot for each checkpoint that training will search, then one for its result; ends with training.

    Of several processes, the first chooses the next checkpoint, and each embeds a part of the passages.

    Raises:
      UserError: another builder is at work in the folder, the trainer is away for `index.stop_after_s` seconds, or the
        checkpoint that it left is gone.
    """
    stage = workdir.stage("pretrain")
    with sole_owner(stage.root, "build_index") if is_first() else contextlib.nullcontext():
        mesh = make_mesh(config.index.mesh, jax.local_devices())
        run = OpenRun(config, workdir)
        trainer = _TrainerWatch(stage, config.index.stop_after_s)
        while True:
            done = agree(stage.done.exists())
            step = agree(next_step(config, stage, run.store.fingerprint))
            if step is None and done:
                _embed_changed_documents(run, mesh)
                return
            if step is None:
                if is_first():
                    trainer.check()
                time.sleep(POLL_S)
                continue
            params = _restore(run, step)
            if everywhere(params is not None):  # else it was deleted meanwhile: look for a newer one
                build_one(run, step, params, mesh)
                trainer.seen()
            elif done:
                raise UserError(
                    f"{stage.root}: the checkpoint of step {step}, which {stage.done.name} names as the result, is not "
                    "there any more: put it back, or begin the run in another --workdir"
                )
            else:
                time.sleep(POLL_S)


def _embed_changed_documents(run: OpenRun, mesh: jax.sharding.Mesh) -> None:
    """Makes the snapshot that fine-tuning left by `finetune.refresh` anew, where documents have changed since."""
    stage = run.workdir.stage("finetune")
    if run.config.finetune.refresh == "none" or not agree(stage.done.exists()):
        return
    folder, step = run.workdir.result("finetune")
    if not agree(step in snapshots.list_steps(folder.snapshots, run.store.fingerprint)):
        build_one(run, step, restore_result(run.workdir, "finetune", "embedder", run.models), mesh, stage="finetune")


def _restore(run: OpenRun, step: int) -> Params | None:
    """The embedder of a checkpoint; None where it was deleted meanwhile."""
    stage = run.workdir.stage("pretrain")
    source = run.workdir.result("pretrain")[0] if stage.done.exists() else stage
    try:
        return checkpoints.restore_part(source.checkpoints, step, "embedder", run.models.shapes("embedder"))
    except FileNotFoundError:
        return None


def next_step(config: Config, stage: StageDir, fingerprint: str) -> int | None:
    """The checkpoint to embed now.

    Once training is done: its result, if that has no snapshot yet, or one of other passages than those of the store
    with this `fingerprint`: then documents have changed since. Before, of those that are due: with a schedule the
    oldest checkpoint that is newer than every snapshot, or whose snapshot was deleted and is searched by a trainer that
    goes on from its last checkpoint, and will still be searched; without one the newest. None where the trainer embeds.
    """
    if stage.done.exists():
        result = read_json(stage.done, step=int)["step"]
        return None if result in snapshots.list_steps(stage.snapshots, fingerprint) else result
    if config.index.refresh == "inline":
        return None
    published, saved = snapshots.list_steps(stage.snapshots), checkpoints.steps(stage.checkpoints)
    every, delay, newest = snapshot_every(config), config.index.delay, max(published, default=-1)
    due = [step for step in saved if step % every == 0]
    if delay is None:
        return max((step for step in due if step > newest), default=None)
    searched = scheduled(max(saved, default=0), every, delay)
    missing = [step for step in due if step > newest or (step >= searched and step not in published)]
    return min((step for step in missing if step == 0 or step + delay < config.pretrain.steps), default=None)


def build_one(
    run: OpenRun, step: int, params: Params, mesh: jax.sharding.Mesh | None = None, stage: str = "pretrain"
) -> None:
    """Embeds all passages with the embedder of one checkpoint and publishes the snapshot.

    Args:
      params: the embedder's, whole in this process.
      mesh: devices of this process; by default all.
      stage: whose checkpoint it is.
    """
    config, folder, models = run.config, run.workdir.stage(stage), run.models
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > PROGRESS_S:
            said = time.monotonic()
            print(f"step {step}: {done} of {total} passages embedded", flush=True)

    manifest = embed_passages.build_snapshot(
        step,
        models.embed_with(params, mesh),
        run.store.tokens,
        run.store.fingerprint,
        config.index,
        folder.snapshots,
        progress,
        vocabulary=run.tokenizer.vocabulary,
        embedder=_digest(config, models.model, params),
        elsewhere=_of_other_runs(folder),
        part=(jax.process_index(), jax.process_count()),
        queries=lambda: _heldout_vectors(run, models.embed_with(params, mesh, by=models.embed)),
    )
    if manifest is None:  # the first process says so, and cleans up
        return
    rate = (manifest.count + 1) / max(manifest.seconds["embed"], 1e-3)
    recall = "" if manifest.recall is None else f", index/recall {manifest.recall:.3f}"
    recall += "".join(f", {name} {value}" for name, value in manifest.looks.items())
    print(f"step {step}: snapshot published, {rate:.0f} passages/s{recall}", flush=True)
    always = {snapshots.FIRST_STEP, *([read_json(folder.done, step=int)["step"]] if folder.done.exists() else [])}
    if stage == "finetune":
        always |= set(checkpoints.steps(folder.checkpoints))  # beside those that are still being written
        snapshots.remove_old(folder.snapshots, keep=config.finetune.keep + 1, keep_always=always)
        return
    snapshots.remove_old(folder.snapshots, keep=max(config.index.keep, config.checkpoints_behind), keep_always=always)


def _heldout_vectors(run: OpenRun, embed: Embed) -> np.ndarray | None:
    """Queries of this embedder that no training shows: masked sentences, else dev questions; None where there is
    neither."""
    masking, count = salient(run.config.masking), embed_passages.PROBE_QUERIES
    rows = None
    written = tfds_files.is_written(tfds_files.Queries, run.data.tfds)
    if written and can_be_masked(run.data, "heldout", masking):
        with contextlib.suppress(NothingFits):
            rows = run.masked_queries("heldout", masking).fixed(count, run.config.seed).query
    if rows is None:
        rows = next((dev.queries[:count] for dev in run.dev_sets().values()), None)
    return None if rows is None else embed_passages.embed_all(embed, rows, run.config.index.rows_per_batch)


def _of_other_runs(stage: StageDir) -> list[AnyPath]:
    """Snapshots of the same stage by other settings, where runs of a sweep share such folders (`SweepDir.shared`)."""
    if is_remote(stage.root) or not stage.root.is_symlink():
        return []
    own = stage.root.resolve()
    return [StageDir(path).snapshots for path in sorted(own.parent.iterdir()) if path != own]


def _digest(config: Config, model: Model, params: Params) -> str:
    """Of all that a passage's vector is made from, beside its tokens, to the last bit: runs of a sweep may differ."""
    options = flatten(model, "model.").items()
    settings = [option for option in options if not of_the_machine(option[0])], config.index.rows_per_batch
    return hashlib.sha256(f"{checkpoints.digest(params)} {settings}".encode()).hexdigest()


class _TrainerWatch:
    """A trainer that runs may take its time; one that does not run is waited for within a bound."""

    def __init__(self, stage: StageDir, stop_after_s: float):
        self._stage, self._stop_after_s = stage, stop_after_s
        self.seen()

    def seen(self) -> None:
        self._last = time.monotonic()

    def check(self) -> None:
        # `run` holds the stage before its trainer does, which may take long to read what it starts from.
        if any(owner(self._stage.root, job) is not None for job in ("pretrain", "run")):
            self.seen()
        elif time.monotonic() - self._last > self._stop_after_s:
            raise UserError(
                f"no trainer at work in {self._stage.root} since {self._stop_after_s:g} s (--index.stop-after-s): "
                "start it with `realm pretrain EXPERIMENT --workdir ...`"
            )
