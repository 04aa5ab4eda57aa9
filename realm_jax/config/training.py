"""Options of the stages of training: `ict`, `warm_up`, `pretrain`, `finetune`, `closed_book`, `tagger`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.errors import UserError
from realm_jax.settings import (
    MANY,
    Added,
    Count,
    First,
    Fraction,
    InputFile,
    Machine,
    NotNegative,
    Part,
    Positive,
    Range,
    Rows,
)


@dataclasses.dataclass(frozen=True)
class Training(Part):
    """Options of every stage of training: BERT's optimiser, and when to look and save."""

    steps: Count = 0
    """Gradient steps; 0 leaves the stage out."""
    batch_size: Rows = 8
    """Queries per step, B, over all devices."""
    accumulate: Annotated[Rows, Machine()] = 1
    """Parts that a batch is computed in, one after the other, if its activations do not fit into your memory at once.
    The step is that of the whole batch; each part is computed forwards twice."""
    learning_rate: Annotated[float, Range(0.0, 1e3)] = 1e-4
    """Peak of a linear warm-up and a linear decay to zero."""
    warmup_steps: Count = 10
    """Steps of the linear warm-up."""
    bias_correction: bool = False
    """Whether Adam's moments are corrected for their start at zero. BERT's release does not do it, so its first steps
    are up to six times as long, which thousands of warm-up steps hide. Turn it on for a few hundred steps."""
    weight_decay: NotNegative = 0.01
    """AdamW's decay; not applied to LayerNorm and biases."""
    clip_norm: NotNegative = 1.0
    """Largest global norm of a gradient; 0 clips nothing."""
    checkpoint_every: Positive = 50
    """Steps between checkpoints; the last step is always saved."""
    keep: Annotated[int, Range(2, MANY)] = 4
    """Newest checkpoints kept on disk, beside the best one."""
    log_every: Positive = 10
    """Steps between lines of progress and metrics."""


@dataclasses.dataclass(frozen=True)
class Ict(Training):
    """Inverse cloze task: warms the embedder up without labels (Lee et al. 2019, section 4)."""

    score_scale: NotNegative = 1.0
    """Factor on the inner products f(x, z) before the softmax; 1 in the paper. The order of retrieval does not depend
    on it."""
    keep_sentence: Fraction = 0.1
    """Share of queries whose sentence stays in its passage."""


@dataclasses.dataclass(frozen=True)
class WarmUp(Training):
    """The reader learns to copy an answer from a given passage. Not in the paper, whose reader starts as a whole
    BERT."""

    own_passage_start: Fraction = 0.6
    """Of the queries read with a passage that holds the answer, the share that get their own, unmasked one, at the
    first step ..."""
    own_passage_end: Fraction = 0.2
    """... and at the last; the others get another holder, where there is one."""
    null_passage: Fraction = 0.1
    """Share of queries read with the null passage."""
    distractor: Fraction = 0.3
    """Share of queries read with a passage that does not hold the answer, as retrieval will often bring: a neighbour of
    the origin or any other. A reader that trusts every passage would drive p(null) to 1, and queries away from
    passages."""

    def check(self, name: str) -> None:
        if self.null_passage + self.distractor > 1:
            raise UserError(
                f"warm_up.distractor: {self.distractor} and warm_up.null_passage {self.null_passage} are shares of the "
                "same queries; their sum must be at most 1"
            )


@dataclasses.dataclass(frozen=True)
class Pretrain(Training):
    """REALM: retrieve, read, marginalise (Guu et al. 2020, sections 3.1 to 3.4)."""

    steps: Annotated[Count, First()] = 0
    """Gradient steps of pre-training; 0 leaves it out."""
    score_scale: NotNegative = 1.0
    """Factor on the inner products f(x, z) before the softmax; 1 in the paper. The order of retrieval does not depend
    on it."""
    candidates: Annotated[int, Range(2, 1 << 16), First()] = 4
    """Passages read per query, K, the null passage included (the paper: 8)."""
    oversample: Annotated[int, Range(1, 1 << 10)] = 1
    """Queries drawn for every query trained on. Those that retrieved one of the first 16 holders of their answer come
    first (or see masking.kind learned): a query that retrieves nothing useful can only push passages away. Not in the
    paper (there: 1). Needs data.holders."""
    answer_within: Count = 0
    """A query counts only if one of the first 16 holders of its answer is among this many of the best passages; 0: any
    query counts. Not in the paper (there: 0). Needs data.holders."""
    null_passage: bool = True
    """Whether the null passage has a share in p(z|x). Otherwise it is read only to measure retrieval's utility."""
    ban_origin: bool = True
    """Whether to ban the passage that a query's sentence comes from."""
    embedder_rate: NotNegative = 1.0
    """Factor on the embedder's learning rate; 0 leaves the embedder as it is."""
    marginalize: Literal["token", "span"] = "token"
    """Whether passages are summed over per masked wordpiece (the released code) or per masked span (the paper's
    text)."""
    probe_queries: Count = 200
    """Held-out queries of the recall probe at every checkpoint; 0 turns probe and early stopping off."""
    probe_passages: Positive = 600
    """Passages that the probe embeds anew: every holder of an answer, filled up with others."""
    patience: Count = 0
    """Probes without a better recall after which training stops; 0 never stops early. The next stage starts from the
    best probed checkpoint."""

    def check(self, name: str) -> None:
        if 0 < self.answer_within < self.candidates - 1:
            raise UserError(
                f"pretrain.answer_within: {self.answer_within} is less than the {self.candidates - 1} passages that "
                f"pretrain.candidates {self.candidates} reads; it must be 0 or at least as many"
            )
        if self.steps and self.probe_queries and not self.embedder_rate:
            raise UserError(
                f"pretrain.probe_queries: {self.probe_queries} probe an embedder that pretrain.embedder_rate 0 leaves "
                "as it is, so that no checkpoint would be better than the first; set it to 0"
            )


@dataclasses.dataclass(frozen=True)
class Finetune(Training):
    """Open-QA fine-tuning (Lee et al. 2019, sections 6 and 7); passage vectors stay fixed, unless `refresh` says
    otherwise."""

    steps: Annotated[Count, First()] = 0
    """Gradient steps of fine-tuning; 0 leaves it out."""
    score_scale: NotNegative = 1.0
    """Factor on the inner products f(x, z) before the softmax; 1 in the paper. The order of retrieval does not depend
    on it."""
    questions: Count = 0
    """Training questions that are taken, drawn by the seed; 0 takes all. Shows you the worth of pre-training with few
    labels."""
    made_steps: Annotated[Count, Added()] = 0
    """First steps that learn from questions made of the documents' own salient spans, so that a reader needs fewer
    labelled ones. All steps do where there are no labelled ones. Not in the paper."""
    beam: Positive = 100
    """Passages whose scores enter the early loss (ORQA: 5,000); all, where the corpus has fewer."""
    read: Annotated[int, Range(1, 4096)] = 5
    """Passages read per question of a step; evaluation.read is how many are read to answer one."""
    joint_length: Annotated[int, Range(8, 512)] = 112
    """Wordpieces of a question with a body, as data.joint_length is of a masked query (ORQA: 320)."""
    embedder_rate: Annotated[NotNegative, Added()] = 1.0
    """Factor on the embedder's learning rate; 0 leaves the embedder as it is, so that the reader alone learns."""
    refresh: Annotated[Literal["none", "inline"], Added()] = "none"
    """Which vectors passages have. `none`: those that pre-training left, as in the paper; `inline`: at every checkpoint
    the trainer embeds all passages with the embedder that it has, and retrieves with those until the next."""
    probe_questions: Annotated[Count, Added()] = 0
    """Questions of each dev set that every checkpoint answers; the one with the best mean exact match is evaluated, of
    those whose recall@5 has not fallen below that at the start by more than its standard error. 0 turns this off: the
    last one is."""
    patience: Annotated[Count, Added()] = 0
    """Probes without a better exact match after which training stops; 0 never stops early."""
    labels: Literal["bytes", "tokens", "normalized"] = "bytes"
    """When a passage counts as holding an answer. `bytes`: the answer's bytes within the body's bytes (ORQA);
    `tokens`: the answer's wordpieces within the passage's row, title or body; `normalized`: the answer's words within
    the body's, lower-cased, accents and punctuation kept (DPR)."""
    embedder: Literal["pretrain", "start"] = "pretrain"
    """Whose embedder, with its passage vectors, is fine-tuned. `pretrain`: that of pre-training; `start`: the one that
    pre-training started from."""
    reader: Literal["pretrain", "start", "weights", "imported"] = "pretrain"
    """Whose reader is fine-tuned. `pretrain`, `start`: as for the embedder; `weights`: as it was before its warm-up;
    of imported weights the masked-LM reader, without the published span scorer; `imported`: the span reader of
    imported weights, however pre-training went on from their masked-LM reader."""
    truncation: Literal["passage", "longest_first"] = "passage"
    """The text that is cut if a question and a body are too long together. `passage`: the body (ORQA); `longest_first`:
    the longer of the two, then both, as in the PyTorch port."""

    def check(self, name: str) -> None:
        if self.read > self.beam:
            raise UserError(
                f"finetune.read: {self.read} passages cannot be read from a beam of finetune.beam {self.beam}; it must "
                f"be at most {self.beam}"
            )


@dataclasses.dataclass(frozen=True)
class ClosedBook(Training):
    """The baseline without retrieval: a masked-LM cloze reader, trained on the same questions."""


@dataclasses.dataclass(frozen=True)
class Tagger(Training):
    """The classifier of the tagger `ner`, trained on labelled text by the job `tagger` alone."""

    train: Annotated[tuple[str, ...], InputFile()] = ()
    """Training text: files in CoNLL-2003's columns, or FOLDER:SPLIT of a data set that TFDS has prepared."""
    dev: Annotated[tuple[str, ...], InputFile()] = ()
    """Development text, likewise. Its entity F1 chooses the checkpoint; without any, the last one is taken."""
    length: Annotated[int, Range(8, 512)] = 128
    """Wordpieces of a training sentence, with [CLS] and [SEP]; the rest is left out."""
