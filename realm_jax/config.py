"""The experiment schema: frozen dataclasses, one per part, with units and ranges.

An experiment file's ``get_config()`` returns a `Config`. The command line turns every field into an option of the same
dotted name (``--pretrain.steps 100``); the text below a field is that option's help.
"""

import dataclasses
import re
from typing import Annotated, Any, Literal

from realm_jax import settings
from realm_jax.errors import UserError
from realm_jax.kinds import SOURCES
from realm_jax.settings import Range, check_ranges

Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Fraction = Annotated[float, Range(0.0, 1.0)]
NotNegative = Annotated[float, Range(0.0)]
Size = Annotated[int, Range(-1)]


TAGGERS = ("rules", "dates", "links", "ner")


@dataclasses.dataclass(frozen=True)
class Data:
    """The corpus and how it becomes tokens."""

    source: Literal[*SOURCES] = "factbook"
    """Where articles come from; docs/own_documents.md and docs/corpora.md have the formats. `published`: the passages
    that `import_weights` brought."""
    path: str = ""
    """File or folder of the source; `factbook` and `published` need none."""
    text_source: Literal["", *(name for name, kind in SOURCES.items() if kind.is_text)] = ""
    """Pre-training text X, where it is not the knowledge corpus Z itself: as in the paper, which masks CC-News and
    retrieves from Wikipedia. ICT draws from the knowledge corpus all the same."""
    text_path: str = ""
    """File or folder of the pre-training text."""
    taggers: tuple[str, ...] = ("rules",)
    """What finds salient spans, where the source brings none; the first has precedence. `rules`: dates, numbers, names
    by their capitals; `dates`; `links`: what the article links to, and its title; `ner`: a BERT token classifier. The
    paper: `dates` and `ner`."""
    tagger_weights: str = ""
    """Folder of the classifier `ner`: a BERT for CoNLL-2003 entities in Hugging Face's format."""
    holders: bool = True
    """Whether to look up which other passages hold each salient span: masking.min_holders, pretrain.oversample,
    warm-up and probe need it. Takes memory in proportion to the corpus; turn it off for millions of passages."""
    processes: Count = 0
    """Processes that read and cut articles; 0 is one for each CPU core."""
    skip_faulty: bool = False
    """Whether faulty records of the source are left out and counted; otherwise they are an error."""
    directory: str = ""
    """Folder of the prepared data; empty means <workdir>/data. Several workdirs may share one."""
    passage_length: Annotated[int, Range(8, 512)] = 64
    """Wordpieces of a passage, P: [CLS] title [SEP] body [SEP] (the paper: 288)."""
    query_length: Annotated[int, Range(8, 512)] = 64
    """Wordpieces of a masked query or a question, Q: [CLS] query [SEP]."""
    joint_length: Annotated[int, Range(8, 512)] = 112
    """Wordpieces of what the reader reads, J: [CLS] query [SEP] body [SEP]; the body is cut to fit."""
    answer_length: Positive = 12
    """Wordpieces of the longest answer that is trained on; questions with no such answer are left out of training."""
    max_answers: Positive = 8
    """Answers kept per question, A."""
    heldout_fraction: Fraction = 0.05
    """Share of articles whose sentences are never masked in training, for the probe and the evaluation."""


@dataclasses.dataclass(frozen=True)
class Questions:
    """The questions of fine-tuning and evaluation; docs/questions.md has the formats. Without any file: those that
    data.source brings."""

    train: tuple[str, ...] = ()
    """Files of training questions: JSON lines, WebQuestions' JSON, CuratedTREC's .tsv, or FOLDER:SPLIT of a data set
    that TFDS has prepared."""
    dev: tuple[str, ...] = ()
    """The same of development questions. None takes a tenth out of the training questions, as ORQA does."""
    test: tuple[str, ...] = ()
    """The same of test questions. None takes another tenth out of the training questions; public sets have a file."""
    match: Literal["nq_open", "squad", "no_accents", "regex"] = "nq_open"
    """When a predicted answer is right. `nq_open` (ORQA, REALM): it equals an answer but for case, punctuation and
    articles; `squad` (SQuAD, DPR): likewise, and accents must be encoded alike; `no_accents`: likewise, but for
    accents; `regex` (CuratedTREC): answers are regular expressions, and one matches from the first character on."""
    skip_faulty: bool = False
    """Whether faulty records are left out and counted; otherwise they are an error."""


@dataclasses.dataclass(frozen=True)
class Bert:
    """Sizes of a BERT trunk; read from config.json when weights are loaded."""

    vocab_size: Positive = 30522
    hidden_size: Positive = 384
    num_layers: Positive = 6
    num_heads: Positive = 12
    intermediate_size: Positive = 1536
    max_positions: Positive = 512
    activation: Literal["gelu", "gelu_new"] = "gelu"
    """`gelu` is the exact form, `gelu_new` the tanh form of BERT's own release."""
    layer_norm_eps: NotNegative = 1e-12
    dropout: Fraction = 0.1
    """Rate after embeddings, on attention probabilities and on the two outputs of a layer."""


@dataclasses.dataclass(frozen=True)
class Model:
    """Embedder and reader."""

    weights: str = "minilm"
    """Where the trunks start: `minilm` (fetched from the package registry), `random`, or a Hugging Face-format folder
    with model.safetensors or pytorch_model.bin, config.json and vocab.txt."""
    vocab: str = ""
    """Path of a vocab.txt; empty takes the one beside the weights (the minilm one when weights are random). Text is
    lower-cased unless a tokenizer_config.json beside the file has `do_lower_case` false."""
    bert: Bert = Bert()
    """Sizes of the trunks; used only with `--model.weights random`, but for `dropout`, which always counts."""
    vector_size: Positive = 128
    """Size of query and passage vectors, E."""
    span_hidden_size: Positive = 256
    """Hidden size D of the span scorer."""
    max_span_width: Positive = 10
    """Wordpieces of the longest answer span that the span reader considers."""
    projection_eps: NotNegative = 1e-12
    """Epsilon of the LayerNorm on vectors: 1e-12 in the published models; the released code of the inverse cloze task
    trains with Keras's 1e-3."""
    span_eps: NotNegative = 1e-3
    """Epsilon of the span scorer's LayerNorm."""
    outside_spans: Literal["original", "minimum"] = "original"
    """How a span that leaves the body is ruled out. `original`: -10000 is added to its score; `minimum`: its score is
    the least number of its type, as in the PyTorch port. They differ only for a question with no span inside a
    body."""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of activations; parameters are always float32. `auto`: bfloat16 on GPUs and TPUs, float32 on CPUs."""
    remat: bool = False
    """Whether a layer's activations are computed again in the backward pass, which takes a third longer and far less
    memory."""


@dataclasses.dataclass(frozen=True)
class Masking:
    """What a pre-training query hides."""

    kind: Literal["salient", "learned", "spans", "words", "tokens"] = "salient"
    """What pre-training hides. `salient`: one salient span; `learned`: one span of any kind or one other word, in
    proportion to the retrieval utility measured for such ones, of pretrain.oversample drawn for each; `spans`: random
    spans of SpanBERT's lengths; `words`: whole words; `tokens`: wordpieces. Warm-up, probe and evaluation always hide
    salient spans."""
    temperature: Annotated[float, Range(0.05)] = 1.0
    """Of kind `learned`: 1 is in proportion to utility; more is more even, less prefers the best."""
    floor: Fraction = 0.2
    """Of kind `learned`: share of the draw that is even, whatever was measured."""
    decay: Fraction = 0.99
    """Of kind `learned`: what a measured utility counts for one step later."""
    fraction: Fraction = 0.15
    """Share of wordpieces hidden by the kinds that are not `salient`."""
    max_masks: Positive = 10
    """Masked positions per query at most, M; a salient span longer than this is not chosen."""
    types: tuple[str, ...] = ()
    """Types of salient spans that are chosen (`name`, `date`, `number`); none means all."""
    min_holders: Count = 0
    """A salient span is trained on only if its text stands in at least so many passages besides its origin ..."""
    max_holders: Count = 0
    """... and in at most so many; 0 means no limit. Not in the paper (there: 0 and 0)."""
    hide_label: bool = False
    """Whether a sentence's label ("Capital: ") is left out of its query, so that retrieval cannot go by it. Not in the
    paper."""
    subject: bool = True
    """Whether what the article is about opens the query: [CLS] subject : sentence [SEP]. Not in the paper; a sentence
    such as "Capital: Paris." says little without it."""


ROW_AXES = ("data", "fsdp")
"""Axes of the mesh that the rows of a batch are divided over."""


@dataclasses.dataclass(frozen=True)
class Mesh:
    """How the devices of all processes of a job are arranged. A run may go on with another mesh at any time."""

    data: Size = -1
    """Parts of a batch that are computed with parameters of their own. -1, here or in one of the next two: as many as
    the other sizes leave."""
    fsdp: Size = 1
    """Parts of a batch that share parameters: each device keeps one part of each, and of Adam's moments."""
    tensor: Size = 1
    """Devices that compute the same rows, each with a part of every layer's matrices."""
    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """What the job must run on; anything else is an error. `auto`: what JAX finds, but never the CPU where JAX was
    installed for an accelerator, unless JAX_PLATFORMS says so."""


@dataclasses.dataclass(frozen=True)
class Index:
    """Maximum inner product search, and the snapshots it reads."""

    kind: Literal["scann", "exact", "bm25"] = "scann"
    """`scann`: host memory, approximate; `exact`: device memory, a full scan; `bm25`: no search of vectors but of
    wordpieces that query and passage share, in training and in answering; its scores take the place of the inner
    products, and no embedder learns."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the exact index's vectors; bfloat16 halves them, and rounds products to three digits. Snapshots on disk
    are float32 always."""
    store: Literal["host", "device"] = "host"
    """Where pre-training gathers the tokens of candidates. `host`: from the memory-mapped store; `device`: from a copy
    on the devices beside the exact index, so that nothing waits for the host."""
    refresh_every: Positive = 1
    """Checkpoints from one snapshot to the next. The paper's stale index has 30; the result of pre-training always gets
    one."""
    refresh: Literal["beside", "inline"] = "beside"
    """Who embeds the passages again. `beside`: the job build_index, while training goes on; `inline`: the trainer
    itself, at these checkpoints, while training waits, for one accelerator without a second job; it searches each
    snapshot from the next step on, whatever `swap_after` is."""
    mesh: Mesh = Mesh()
    """Of build_index: the devices of one process, each of which embeds a part of the passages. `--index.mesh.platform
    cpu` leaves the accelerator to the trainer."""
    swap_after: Count = 40
    """Steps after a checkpoint at which training swaps in the snapshot of that checkpoint, waiting if it is late: swaps
    then happen at the same steps in every run. 0: as soon as a newer snapshot is ready."""
    warn_after_s: NotNegative = 120.0
    """Seconds without the snapshot that is due, after which the trainer warns."""
    stop_after_s: NotNegative = 900.0
    """Seconds without the snapshot that is due, and without a passage embedded, after which the trainer stops with an
    error; and without any sign of progress from the others, after which a builder of several processes does."""
    keep: Annotated[int, Range(2)] = 3
    """Newest snapshots kept on disk; step 0's is always kept."""
    rows_per_batch: Positive = 32
    """Passages embedded at once, by one process."""

    @property
    def delay(self) -> int | None:
        """Steps from a checkpoint to the use of its snapshot; None where it is used as soon as it is there."""
        return 0 if self.refresh == "inline" else self.swap_after or None


@dataclasses.dataclass(frozen=True)
class Stage:
    """What every stage of training has: BERT's optimiser, and when to look and save."""

    steps: Count = 0
    """Gradient steps; 0 leaves the stage out."""
    batch_size: Positive = 8
    """Queries per step, B, over all devices."""
    accumulate: Positive = 1
    """Parts that a batch is computed in, one after the other, where its activations do not fit into memory at once. The
    step is that of the whole batch; each part is computed forwards twice."""
    learning_rate: NotNegative = 1e-4
    """Peak of a linear warm-up and a linear decay to zero."""
    warmup_steps: Count = 10
    """Steps of the linear warm-up."""
    bias_correction: bool = False
    """Whether Adam's moments are corrected for their start at zero. BERT's release does not; its first steps are up to
    six times as long, which thousands of warm-up steps hide. Runs of a few hundred steps want it on."""
    weight_decay: NotNegative = 0.01
    """AdamW's decay; not applied to LayerNorm and biases."""
    clip_norm: NotNegative = 1.0
    """Largest global norm of a gradient."""
    checkpoint_every: Positive = 50
    """Steps between checkpoints; the last step is always saved."""
    keep: Annotated[int, Range(2)] = 4
    """Newest checkpoints kept on disk, beside the best one."""
    log_every: Positive = 10
    """Steps between lines of progress and metrics."""


@dataclasses.dataclass(frozen=True)
class Ict(Stage):
    """Inverse cloze task: warms the embedder up without labels (Lee et al. 2019, section 4)."""

    score_scale: NotNegative = 1.0
    """Factor on the inner products f(x, z) before the softmax; 1 in the paper. The order of retrieval does not depend
    on it."""
    keep_sentence: Fraction = 0.1
    """Share of queries whose sentence stays in its passage."""


@dataclasses.dataclass(frozen=True)
class WarmUp(Stage):
    """The reader learns to copy an answer from a passage it is given. Not in the paper, whose reader starts as a whole
    BERT."""

    own_passage_start: Fraction = 0.6
    """Share of queries read with their own, unmasked passage, at the first step ..."""
    own_passage_end: Fraction = 0.2
    """... and at the last; the others get another passage that holds the answer."""
    null_passage: Fraction = 0.1
    """Share of queries read with the null passage."""
    distractor: Fraction = 0.3
    """Share of queries read with a passage that does not hold the answer, as retrieval will often bring: a neighbour of
    the origin or any other. A reader that trusts every passage would drive p(null) to 1, and queries away from
    passages."""


@dataclasses.dataclass(frozen=True)
class Pretrain(Stage):
    """REALM: retrieve, read, marginalise (Guu et al. 2020, sections 3.1 to 3.4)."""

    score_scale: NotNegative = 1.0
    """Factor on the inner products f(x, z) before the softmax; 1 in the paper. The order of retrieval does not depend
    on it."""
    candidates: Annotated[int, Range(2)] = 4
    """Passages read per query, K, the null passage included (the paper: 8)."""
    oversample: Positive = 1
    """Queries drawn for every query trained on; those whose answer stands in a retrieved passage, of its first 16
    holders, are trained on first (or see masking.kind learned).
    A query that retrieves nothing of use can only push passages away. Not in the paper (there: 1); needs known
    holders."""
    answer_within: Count = 0
    """A query counts only if a passage that holds its answer, of the first 16 holders, is among so many of the best
    ones that may be read; 0: any counts. Not in the paper (there: 0); needs known holders."""
    null_passage: bool = True
    """Whether the null passage has a share in p(z|x). Without, it is read only to measure retrieval's utility."""
    ban_origin: bool = True
    """Whether the passage that a query's sentence comes from is never retrieved for it."""
    embedder_rate: NotNegative = 1.0
    """Factor on the embedder's learning rate; 0 leaves the embedder as it is."""
    marginalize: Literal["token", "span"] = "token"
    """Whether passages are summed over per masked wordpiece (the released code) or per masked span (the paper's
    text)."""
    probe_queries: Count = 200
    """Held-out queries of the recall probe that is run at every checkpoint; 0 turns probe and early stopping off."""
    probe_passages: Positive = 600
    """Passages that the probe embeds afresh: every holder of an answer, filled up with others."""
    patience: Count = 0
    """Probes without a better recall after which training stops; 0 never stops early. The best probed checkpoint is
    what the next stage starts from."""


@dataclasses.dataclass(frozen=True)
class Finetune(Stage):
    """Open-QA fine-tuning (Lee et al. 2019, sections 6 and 7); passage vectors stay fixed."""

    score_scale: NotNegative = 1.0
    """Factor on the inner products f(x, z) before the softmax; 1 in the paper. The order of retrieval does not depend
    on it."""
    questions: Count = 0
    """Training questions that are taken, drawn by the seed; 0 takes all. Shows what pre-training is worth where few are
    labelled."""
    beam: Positive = 100
    """Passages whose scores enter the early loss (ORQA: 5,000); all, where the corpus has fewer."""
    read: Positive = 5
    """Passages read per question of a step; evaluation.read is how many are read to answer one."""
    joint_length: Annotated[int, Range(8, 512)] = 112
    """Wordpieces of a question with a body, as data.joint_length is of a masked query (ORQA: 320)."""
    labels: Literal["bytes", "tokens", "normalized"] = "bytes"
    """What counts as a passage that holds an answer. `bytes`: the answer's bytes within the body's bytes (ORQA);
    `tokens`: the answer's wordpieces within the passage's row, title or body; `normalized`: the answer's words within
    the body's, lower-cased, accents and punctuation kept (DPR)."""
    embedder: Literal["pretrain", "start"] = "pretrain"
    """Whose embedder, with its passage vectors, is fine-tuned. `pretrain`: that of pre-training; `start`: the one that
    pre-training started from."""
    reader: Literal["pretrain", "start", "weights"] = "pretrain"
    """Whose reader is fine-tuned. `pretrain`, `start`: as for the embedder; `weights`: as it was before its warm-up;
    of imported weights the masked-LM reader, without the published span scorer."""
    truncation: Literal["passage", "longest_first"] = "passage"
    """What is cut where a question and a body are too long together. `passage`: the body (ORQA); `longest_first`: the
    longer of the two, then both, as in the PyTorch port."""


@dataclasses.dataclass(frozen=True)
class ClosedBook(Stage):
    """The rival without retrieval: a masked-LM cloze reader, trained on the same questions."""


@dataclasses.dataclass(frozen=True)
class Tagger(Stage):
    """The classifier of the tagger `ner`, trained on labelled text by the job `tagger` alone."""

    train: tuple[str, ...] = ()
    """Training text: files in CoNLL-2003's columns, or FOLDER:SPLIT of a data set that TFDS has prepared."""
    dev: tuple[str, ...] = ()
    """The same of development text, whose entity F1 at every checkpoint chooses the one that is taken; without any, the
    last is."""
    length: Annotated[int, Range(8, 512)] = 128
    """Wordpieces of a training sentence, with [CLS] and [SEP]; what is beyond is left out."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is measured after training."""

    batch_size: Positive = 16
    """Questions or queries at once."""
    read: Positive = 5
    """Passages read to answer a question."""
    heldout_queries: Positive = 400
    """Held-out masked queries, for recall."""
    read_queries: Positive = 160
    """Of these, how many are read with their candidates, for utility and p(null)."""
    examples: Positive = 20
    """Questions shown in the report."""
    bm25: bool = True
    """Whether BM25 is measured, which holds the words of all passages in memory."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole experiment."""

    name: str = "unnamed"
    """Names the experiment in reports and messages."""
    seed: Count = 0
    """Seed of all randomness: initialisation, order of data, masks, dropout."""
    data: Data = Data()
    questions: Questions = Questions()
    mesh: Mesh = Mesh()
    model: Model = Model()
    masking: Masking = Masking()
    index: Index = Index()
    ict: Ict = Ict()
    warm_up: WarmUp = WarmUp()
    pretrain: Pretrain = Pretrain()
    finetune: Finetune = Finetune()
    closed_book: ClosedBook = ClosedBook()
    tagger: Tagger = Tagger()
    evaluation: Evaluation = Evaluation()

    def __post_init__(self):
        check_ranges(self)
        for name, mesh in (("mesh", self.mesh), ("index.mesh", self.index.mesh)):
            sizes = (mesh.data, mesh.fsdp, mesh.tensor)
            if 0 in sizes or sizes.count(-1) > 1:
                raise UserError(
                    f"{name}: data {mesh.data}, fsdp {mesh.fsdp}, tensor {mesh.tensor}; each must be at least 1, "
                    "or one of them -1"
                )
        if self.index.store == "device" and self.index.kind != "exact":
            raise UserError(
                f"index.store: device needs index.kind exact, not {self.index.kind}, whose results come from the host"
            )
        data = self.data
        for option, length in (
            ("data.joint_length", data.joint_length),
            ("finetune.joint_length", self.finetune.joint_length),
        ):
            if length < data.query_length + 2:
                raise UserError(
                    f"{option}: {length} leaves no room for a passage beside a query of data.query_length "
                    f"{data.query_length}; it must be at least {data.query_length + 2}"
                )
        if self.closed_book.steps and data.query_length < data.answer_length + 3:
            raise UserError(
                f"data.query_length: {data.query_length} leaves no room for a question beside closed_book's masks, "
                f"as many as data.answer_length {data.answer_length}; it must be at least {data.answer_length + 3}"
            )
        self._check_corpus()
        if self.finetune.read > self.finetune.beam:
            raise UserError(
                f"finetune.read: {self.finetune.read} passages cannot be read from a beam of finetune.beam "
                f"{self.finetune.beam}; it must be at most {self.finetune.beam}"
            )
        if self.questions.match == "regex" and self.closed_book.steps:
            raise UserError(
                f"closed_book.steps: {self.closed_book.steps}, but the closed-book reader learns to say answers, and "
                "questions.match regex has only patterns of them; set it to 0"
            )
        behind = (self.index.delay or 0) // self.pretrain.checkpoint_every + 2
        if self.pretrain.keep < behind:
            raise UserError(
                f"pretrain.keep: {self.pretrain.keep} checkpoints are too few for a builder that may be "
                f"index.swap_after {self.index.swap_after} steps behind, with one every pretrain.checkpoint_every "
                f"{self.pretrain.checkpoint_every} steps; it must be at least {behind}"
            )
        if 0 < self.masking.max_holders < self.masking.min_holders:
            raise UserError(
                f"masking.max_holders: {self.masking.max_holders} is below masking.min_holders "
                f"{self.masking.min_holders}; it must be 0 (no limit) or at least as large"
            )
        if self.model.bert.hidden_size % self.model.bert.num_heads:
            raise UserError(
                f"model.bert.num_heads: {self.model.bert.num_heads} does not divide model.bert.hidden_size "
                f"{self.model.bert.hidden_size}"
            )

        self._check_ablations()

    def _check_ablations(self) -> None:
        """Options that are about something which other options leave out."""
        pretrain, finetune = self.pretrain, self.finetune
        if self.index.kind == "bm25" and pretrain.steps and pretrain.embedder_rate:
            raise UserError(
                f"pretrain.embedder_rate: {pretrain.embedder_rate}, but index.kind bm25 retrieves without the "
                "embedder, which gets no gradient; set it to 0"
            )
        for option, value, most in (
            ("pretrain.oversample", pretrain.oversample, 1),
            ("pretrain.answer_within", pretrain.answer_within, 0),
        ):
            chooses = option == "pretrain.oversample" and self.masking.kind == "learned"
            if self.masking.kind != "salient" and value > most and not chooses:
                raise UserError(
                    f"{option}: {value} needs to know which passages hold what is hidden, as is known of salient spans "
                    f"only; with masking.kind {self.masking.kind} it must be {most}"
                )
        if self.masking.kind == "learned" and pretrain.oversample == 1:
            raise UserError(
                "pretrain.oversample: 1 leaves masking.kind learned no choice; it must be at least 2, queries drawn "
                "for each one trained on"
            )
        if 0 < pretrain.answer_within < pretrain.candidates - 1:
            raise UserError(
                f"pretrain.answer_within: {pretrain.answer_within} is less than the {pretrain.candidates - 1} passages "
                f"that pretrain.candidates {pretrain.candidates} reads; it must be 0 or at least as many"
            )
        if pretrain.steps and pretrain.probe_queries and not pretrain.embedder_rate:
            raise UserError(
                f"pretrain.probe_queries: {pretrain.probe_queries} probe an embedder that pretrain.embedder_rate 0 "
                "leaves as it is, so that no checkpoint would be better than the first; set it to 0"
            )
        if not pretrain.steps:
            for option, value in (("finetune.embedder", finetune.embedder), ("finetune.reader", finetune.reader)):
                if value == "start":
                    raise UserError(
                        f"{option}: start is what pre-training begins with, and with pretrain.steps 0 also what it "
                        "ends with; use pretrain"
                    )

    def _check_corpus(self) -> None:
        data = self.data
        if unknown := set(data.taggers) - set(TAGGERS):
            raise UserError(f"data.taggers: {min(unknown)!r} is none of {', '.join(TAGGERS)}")
        if ("ner" in data.taggers) != bool(data.tagger_weights):
            raise UserError("data.tagger_weights: name a folder of weights with the tagger `ner`, and without it none")
        if bool(data.text_source) != bool(data.text_path):
            raise UserError("data.text_path: goes with data.text_source; give both or neither")
        if data.text_source and self.warm_up.steps:
            raise UserError(
                f"warm_up.steps: {self.warm_up.steps}, but the warm-up learns from masked sentences beside their own "
                "passages, and data.text_source is another corpus; set it to 0"
            )
        needing = {
            "masking.min_holders": self.masking.min_holders,
            "masking.max_holders": self.masking.max_holders,
            "warm_up.steps": self.warm_up.steps,
            "pretrain.probe_queries": self.pretrain.steps and self.pretrain.probe_queries,
            "pretrain.oversample": self.masking.kind == "salient" and self.pretrain.oversample > 1,
            "pretrain.answer_within": self.pretrain.answer_within,
        }
        if not data.holders and any(needing.values()):
            option = next(name for name, value in needing.items() if value)
            least = 1 if option == "pretrain.oversample" else 0
            raise UserError(f"data.holders: is off, but {option} needs it; set that to {least}, or turn it on")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A grid of runs, which an experiment file's ``get_sweep()`` returns: every variant with every seed."""

    variants: dict[str, Config]
    """The settings of each, by a name that can be a folder's; their own `name` and `seed` do not count."""
    seeds: tuple[int, ...]
    reference: str
    """The variant that all others are compared with."""

    def __post_init__(self):
        if not (isinstance(self.variants, dict) and self.variants):
            found = f"are a {type(self.variants).__name__}" if self.variants else "are none"
            raise UserError(f"variants: {found}; they must be a dict of names to Config, such as {{'reference': base}}")
        for name, config in self.variants.items():
            if not re.fullmatch(r"\w[\w.+-]*", str(name)):
                raise UserError(f"variants: {name!r} cannot name a folder; use letters, digits, _ and, inside, . + -")
            if not isinstance(config, Config):
                raise UserError(f"variants: {name!r} is a {type(config).__name__}; it must be a Config")
        if self.reference not in self.variants:
            raise UserError(f"reference: {self.reference!r} is none of the variants {', '.join(self.variants)}")
        if not isinstance(self.seeds, tuple | list) or not all(isinstance(seed, int) for seed in self.seeds):
            raise UserError(f"seeds: {self.seeds!r} must be whole numbers in brackets, such as (0, 1, 2)")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds: {self.seeds} must be at least one number, none below 0 and none twice")
        seen: dict[frozenset, str] = {}
        for name, config in self.variants.items():
            options = flatten(config).items()
            same = frozenset(o for o in options if o[0] not in ("name", "seed") and not of_the_machine(o[0]))
            if (other := seen.setdefault(same, name)) != name:
                raise UserError(f"variants: {other!r} and {name!r} are equal settings, so equal runs; take one out")

    def run(self, variant: str, seed: int) -> Config:
        """The settings of one run."""
        return dataclasses.replace(self.variants[variant], name=variant, seed=seed)


def of_the_machine(option: str) -> bool:
    """Whether an option says how a run is computed, not what: it may change whenever the run goes on. So may those that
    a message about faulty records, about memory or about a wait asks to change."""
    return option.startswith(("mesh.", "index.mesh.", "index.keep")) or option.endswith(
        (".accumulate", ".remat", ".store", ".skip_faulty", ".processes", ".warn_after_s", ".stop_after_s")
    )


def flatten(config: Config) -> dict[str, Any]:
    """{dotted name: value} of every leaf."""
    return settings.flatten(config)


def from_dict(values: dict[str, Any]) -> Config:
    """The inverse of `dataclasses.asdict`. Raises UserError for a name that the schema lacks."""
    return settings.from_dict(values, Config)
