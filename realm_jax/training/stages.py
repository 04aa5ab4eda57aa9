"""Which task, data and starting point each stage of training has."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from realm_jax.config import Config
from realm_jax.corpus.sentence_source import can_be_masked
from realm_jax.corpus.store import PassageStore
from realm_jax.errors import UserError
from realm_jax.index import placement, snapshots
from realm_jax.index.device_store import DeviceStore
from realm_jax.kinds import Kind
from realm_jax.qa.answers import exact_match
from realm_jax.qa.questions import split_sizes
from realm_jax.text.salience import LearnedSalience
from realm_jax.training import checkpoints, loop, masked_queries
from realm_jax.training.follow import SnapshotFollower, scheduled, snapshot_every
from realm_jax.training.jitted_models import Models
from realm_jax.training.mesh import check_batch, local_mesh, process_part, whole
from realm_jax.training.open_run import OpenRun
from realm_jax.training.probe import RecallProbe
from realm_jax.training.question_arrays import probe_questions
from realm_jax.training.refresh import build_one
from realm_jax.training.task import Metrics, Params, Task
from realm_jax.training.tasks.closed_book import ClosedBook, cloze_answers
from realm_jax.training.tasks.finetune import Finetune
from realm_jax.training.tasks.ict import Ict
from realm_jax.training.tasks.pretrain import Pretrain
from realm_jax.training.tasks.warm_up import WarmUp
from realm_jax.workdir import IMPORTED, Workdir, read_json

PROBE_QUESTIONS = 100
Start = Callable[[jax.Array], Params]


def train(name: str, config: Config, folder: Workdir) -> None:
    """Runs one stage to its end, or goes on with it.

    Raises:
      UserError: what the stage starts from is not there; the message names the job that makes it.
    """
    stage, run = getattr(config, name), OpenRun(config, folder)
    check_batch(run.mesh.shape["data"], run.mesh.shape["fsdp"], stage, name)
    make = TASKS[name]
    task = (make.load() if isinstance(make, Kind) else make)(run)
    patience, passages = getattr(stage, "patience", 0), "" if name == "tagger" else run.store.fingerprint
    loop.train(task, name, stage, folder.stage(name), config.seed, patience, run.mesh, passages)


def result_step(folder: Workdir, name: str) -> int:
    """The checkpoint that a finished stage left for later ones.

    Raises:
      UserError: the stage is not finished.
    """
    return folder.result(name)[1]


def restore_result(folder: Workdir, name: str, part: str, models: Models, shapes: str = "") -> Params:
    """One part of the parameters that a finished stage left."""
    stage, step = folder.result(name)
    if stage == folder.stage(IMPORTED):
        part = shapes or part  # there, a reader and a span reader lie side by side
    return checkpoints.restore_part(stage.checkpoints, step, part, models.shapes(shapes or part))


def restore_imported(folder: Workdir, part: str, models: Models) -> Params | None:
    """`embedder`, `reader` or `span_reader` as `import_weights` brought it; None where it did not."""
    imported = folder.stage(IMPORTED)
    if not imported.done.exists() or part not in (found := read_json(imported.done))["parts"]:
        return None
    return checkpoints.restore_part(imported.checkpoints, found["step"], part, models.shapes(part))


def start_of_pretraining(run: OpenRun) -> Start:
    """Embedder of the ICT stage and reader of the warm-up; where a stage is left out, what that would start from."""
    return lambda key: {"embedder": start_embedder(run, key), "reader": start_reader(run, key)}


def start_embedder(run: OpenRun, key: jax.Array) -> Params:
    if not run.config.ict.steps:
        return fresh_embedder(run, key)
    return restore_result(run.folder, "ict", "embedder", run.models)


def start_reader(run: OpenRun, key: jax.Array) -> Params:
    if not run.config.warm_up.steps:
        return fresh_reader(run, key)
    return restore_result(run.folder, "warm_up", "reader", run.models)


def fresh_embedder(run: OpenRun, key: jax.Array) -> Params:
    """What was imported, or else a new one on the weights."""
    imported = restore_imported(run.folder, "embedder", run.models)
    return imported or run.models.embedder(jax.random.fold_in(key, 0), run.sample_rows())


def fresh_reader(run: OpenRun, key: jax.Array) -> Params:
    """What was imported, or else a new one on the weights."""
    imported = restore_imported(run.folder, "reader", run.models)
    return imported or run.models.reader(jax.random.fold_in(key, 1), run.sample_rows())


def _ict(run: OpenRun) -> Task:
    config, models = run.config, run.models
    settings = (config, run.data, run.tokenizer, run.store, config.seed)
    batches = masked_queries.ict_batches(*settings, process_part(run.mesh))
    return Ict(config, models, batches, lambda key: {"embedder": fresh_embedder(run, key)})


def _warm_up(run: OpenRun) -> Task:
    config, models = run.config, run.models
    part = process_part(run.mesh)
    masked = run.masked_queries("train", masked_queries.salient(config.masking))
    batches = masked.batches(config.warm_up.batch_size, config.seed, part)
    start = lambda key: {"reader": fresh_reader(run, key)}  # noqa: E731
    return WarmUp(config, models, run.store, batches, start, part[0])


def _pretrain(run: OpenRun) -> Task:
    config, stage = run.config, run.folder.stage("pretrain")
    drawn = config.pretrain.batch_size * config.pretrain.oversample
    if config.index.delay is None and jax.process_count() > 1:
        raise UserError(
            "index.swap_after: 0 swaps as soon as a snapshot is there, which several processes would see at different "
            "steps; it must be at least 1"
        )
    masked, part = run.masked_queries("train"), process_part(run.mesh)
    # Goes on where the warm-up ended, but for the few sentences that it passed over as they gave no query. From the
    # start it would draw the same sentences with the same words hidden, which that reader has been shown with their
    # answers: null passages would tell them, and retrieval would seem worth less.
    batches = masked.batches(drawn, config.seed, part, skip=config.warm_up.steps * config.warm_up.batch_size)
    salience = LearnedSalience(config.masking, masked.kinds) if config.masking.kind == "learned" else None
    # What retrieval gathers for the host each process has for itself; what stays on the devices they share.
    on_devices, store = config.index.store == "device", run.store
    mesh = run.mesh if on_devices else local_mesh()
    require_room(config, store, mesh)
    follower = SnapshotFollower(stage, config.index, snapshot_every(config), store.fingerprint, mesh)
    start, probe = start_of_pretraining(run), _recall_probe(run)
    device_store = DeviceStore(store.tokens, mesh) if on_devices else None

    models = run.models

    def refresh(step: int, embedder: Params) -> None:
        """Makes what is searched from checkpoint `step` on, if it is not there: one that was deleted, too."""
        if config.index.refresh != "inline":
            return
        due = scheduled(step, snapshot_every(config), config.index.delay)
        if due in snapshots.list_steps(stage.snapshots):
            return
        if due == step or not config.pretrain.embedder_rate:
            params = whole(embedder)
        else:
            try:
                params = checkpoints.restore_part(stage.checkpoints, due, "embedder", models.shapes("embedder"))
            except FileNotFoundError:
                return  # the follower says so, unless it has that snapshot in use
        build_one(run, due, params)

    return Pretrain(
        config, models, store, batches, follower, start, probe, device_store, mesh, refresh, salience, part[0]
    )


def require_room(config: Config, store: PassageStore, mesh: Mesh) -> None:
    """Refuses an index, or a store on the devices, that does not fit there, before anything is made.

    Raises:
      UserError: it does not fit.
    """
    if config.index.kind != "exact":
        return
    size = placement.bytes_per_device(store.num_passages, config.model.vector_size, config.index.dtype, mesh)
    tables = {"vectors": size, "the next snapshot's": size}  # loaded while the last one is in use
    if config.index.store == "device":
        tables["tokens"] = placement.bytes_per_device(*store.tokens.shape, store.tokens.dtype, mesh)
    placement.require_room(store.num_passages, tables, mesh)


def finetuned_snapshot(config: Config, folder: Workdir) -> int:
    """The checkpoint of pre-training whose passage vectors fine-tuning keeps."""
    result = result_step(folder, "pretrain")
    return 0 if config.finetune.embedder == "start" else result


def _finetune(run: OpenRun) -> Task:
    config, models, folder = run.config, run.models, run.folder
    step = finetuned_snapshot(config, folder)
    snapshot = snapshots.load(folder.stage("pretrain").snapshots, step, run.store.fingerprint)
    questions = run.questions("train")
    batches = questions.batches(
        config.finetune.batch_size, config.seed, process_part(run.mesh), config.finetune.questions
    )

    def part(name: str, key: jax.Array) -> Params:
        source = getattr(config.finetune, name)
        if source == "pretrain":
            return restore_result(folder, "pretrain", name, models)
        if source == "weights":
            return fresh_reader(run, key)
        return start_embedder(run, key) if name == "embedder" else start_reader(run, key)

    def start(key: jax.Array) -> Params:
        published = config.finetune.reader == "pretrain" and not config.pretrain.steps
        span_reader = restore_imported(folder, "span_reader", models) if published else None
        if span_reader is None:
            span_reader = models.span_reader(key, part("reader", key))
        return {"embedder": part("embedder", key), "reader": span_reader}

    return Finetune(
        config,
        models,
        run.store,
        batches,
        snapshot,
        snapshot.index(local_mesh(), config.index.dtype),
        run.labels(questions),
        start,
    )


def _closed_book(run: OpenRun) -> Task:
    config, models = run.config, run.models
    part = process_part(run.mesh)
    batches = run.questions("train").cloze_batches(config.closed_book.batch_size, config.seed, part)
    start = lambda key: {"reader": start_reader(run, key)}  # noqa: E731
    dev = run.questions("dev")

    def probe(reader: Params) -> Metrics:
        pairs = zip(cloze_answers(run, reader, dev), dev.answers, strict=True)
        matches = [exact_match(*pair, config.questions.match) for pair in pairs]
        return {"probe/exact_match": float(np.mean(matches)), "probe/score": float(np.mean(matches))}

    return ClosedBook(models, batches, start, probe)


TASKS = {
    "ict": _ict,
    "warm_up": _warm_up,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "closed_book": _closed_book,
    "tagger": Kind("tagging.classifier:tagger_task"),
}


def _recall_probe(run: OpenRun) -> Callable[[Params], Metrics]:
    """Held-out masked spans and dev questions, of which there are any; nothing where the experiment wants no probe."""
    config, masking, sets = run.config, masked_queries.salient(run.config.masking), {}
    if not (config.pretrain.steps and config.pretrain.probe_queries):
        return lambda params: {}
    if can_be_masked(run.data, "heldout", masking):
        spans = run.masked_queries("heldout", masking).fixed(config.pretrain.probe_queries, config.seed)
        sets["span"] = (spans["query"], [rows[rows >= 0] for rows in spans["holders"]], spans["origin"])
    if "dev" in split_sizes(config.questions, run.data):
        dev = run.questions("dev")
        found, holders = probe_questions(run.labels(dev), dev, run.store, PROBE_QUESTIONS, config.seed)
        if len(found):
            sets["question"] = (found, holders, np.full(len(found), -1))
    if not sets:
        print("pretrain: nothing held out to probe recall with, so its last checkpoint is its result", flush=True)
        return lambda params: {}
    return RecallProbe(
        sets,
        run.store,
        config.pretrain.probe_passages,
        config.seed,
        config.index.rows_per_batch,
        run.models.embed_with,
    )
