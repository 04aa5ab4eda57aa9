"""The stages of training, each described once, in the order of a run; every list of stages derives from this table.

Adding one is its task (a file of `training/tasks`), its settings (a part of `Config`, by the same name) and its row
here; docs/extending.md shows how.
"""

import dataclasses
from collections.abc import Mapping

from realm_jax.config import Config
from realm_jax.kinds import Kind

DATA = "data"
"""The prepared data, which the first stages start from."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage: the job of its name trains it in the workdir's folder of its name, by the settings of its name."""

    title: str
    """Its name in reports."""
    help: str
    """The list of jobs has the first line, the job's own help all of it."""
    loss: str
    """Its loss, and how you read the curve, in two sentences at most."""
    task: Kind
    """A function that makes its task of an `OpenRun`."""
    reads: tuple[str, ...] = ()
    """Parts of the settings that it reads, beside the seed, the model, its own settings, and the settings of the stages
    that it starts from. Runs of a sweep that agree in all of them share the stage."""
    reads_where: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """{option of its own: further parts that it reads, where it has steps and that option is not 0}."""
    starts_from: tuple[str, ...] = (DATA,)
    """The prepared data, and other stages, as far as an experiment has them; () for a stage that is on its own."""
    finish: Kind | None = None
    """A function of experiment and workdir: the last work of the first process, once the stage is done."""
    in_run: bool = True
    """Whether `realm run` trains it."""
    always: bool = False
    """Whether `realm run` trains it even for 0 steps; its result is then its start."""
    beside: str = ""
    """A job that works in its folder, beside it and after it."""


STAGES = {
    "ict": Stage(
        title="Inverse cloze task",
        help="""\
Inverse cloze task: warm the embedder up without labels, before pre-training.

A sentence is the query, its passage the positive, the batch's other passages the negatives (Lee et al. 2019).""",
        loss="Cross-entropy of finding a sentence's own passage among those of the batch.",
        task=Kind("training.tasks.ict:ict_task"),
    ),
    "warm_up": Stage(
        title="Reader warm-up",
        help="""\
Teach the reader to copy an answer from a passage it is given, before pre-training.

Not in the paper, whose reader starts as a whole BERT; without it a small reader learns to ignore passages.""",
        loss="Negative log-likelihood of masked wordpieces, read beside a passage that is given, not retrieved. "
        "It must fall before retrieval can be rewarded.",
        task=Kind("training.tasks.warm_up:warm_up_task"),
        reads=(
            *("masking.types", "masking.max_masks", "masking.min_holders", "masking.max_holders"),
            *("masking.hide_label", "masking.subject"),
        ),
    ),
    "pretrain": Stage(
        title="Pre-training",
        help="""\
REALM pre-training: retrieve, read, marginalise; needs build_index beside it.

Starts from what ict and warm_up left, waits for the first snapshot of build_index, swaps newer ones in on schedule
(with --index.refresh inline it makes them itself). The job `run` starts both.""",
        loss="Negative log-likelihood of the masked wordpieces, marginalised over the passages read; thin is every "
        "step, bold a moving average. It also falls when only the reader gets better.",
        task=Kind("training.tasks.pretrain:pretrain_task"),
        reads=("masking", "index"),
        reads_where={"probe_queries": ("questions", "finetune.labels")},  # dev questions are probed too
        starts_from=(DATA, "ict", "warm_up"),
        always=True,
        beside="build_index",
    ),
    "finetune": Stage(
        title="Fine-tuning",
        help="""\
Fine-tune retriever and span reader on the questions.

Starts from the checkpoint that pre-training left (or the warm start, without it); passage vectors stay fixed.""",
        loss="ORQA's early loss and span loss together; a question whose passages hold no answer adds nothing.",
        task=Kind("training.tasks.finetune:finetune_task"),
        reads=("questions",),
        reads_where={"probe_questions": ("evaluation.read", "evaluation.batch_size")},  # which answer its probe
        starts_from=("pretrain",),
    ),
    "closed_book": Stage(
        title="Closed-book baseline",
        help="""\
Train the baseline without retrieval on the same questions.

A masked-LM cloze reader that sees no passage.""",
        loss="Negative log-likelihood of the answer without any passage. It should have levelled off: "
        "a baseline that was stopped early would not be fair.",
        task=Kind("training.tasks.closed_book:closed_book_task"),
        reads=("questions", "evaluation.batch_size"),
        starts_from=(DATA, "warm_up"),
    ),
    "tagger": Stage(
        title="Tagger",
        help="""\
Train the classifier of the tagger `ner` on labelled text.

Reads CoNLL-2003's files or the data set of TFDS (--tagger.train), leaves <workdir>/tagger/weights in Hugging Face's
format, which --data.tagger_weights of another workdir then names.""",
        loss="Cross-entropy of the words' labels.",
        task=Kind("tagging.classifier:tagger_task"),
        starts_from=(),
        finish=Kind("tagging.classifier:publish"),
        in_run=False,
    ),
}
TITLES = {
    "prepare": "Data",
    **{name: stage.title for name, stage in STAGES.items()},
    "evaluate": "Evaluation",
    "report": "Report",
}
"""Of the jobs of a run, in reports."""
BESIDE = tuple(stage.beside for stage in STAGES.values() if stage.beside)
SEVERAL = (*STAGES, *BESIDE)
"""Jobs that may be several processes, on as many devices as a mesh has."""


def of_run(config: Config) -> list[str]:
    """The stages that `realm run` goes through, in order. A reader with weights of its own may answer untrained."""
    always = {name for name, stage in STAGES.items() if stage.always} | (
        {"finetune"} if config.model.reader_weights else set()
    )
    return [name for name, stage in STAGES.items() if stage.in_run and (name in always or getattr(config, name).steps)]


def worked_in(job: str) -> str:
    """The stage in whose folder a job works; "" for a job that works in none."""
    return next((name for name, stage in STAGES.items() if job in (name, stage.beside)), "")
