"""Questions as arrays: token rows, answers' wordpieces, and which passages hold an answer."""

import dataclasses
from collections.abc import Sequence

import grain
import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from realm_jax.config import Config
from realm_jax.corpus.store import PassageStore
from realm_jax.corpus.texts import PassageTexts
from realm_jax.errors import UserError
from realm_jax.index.base import HostOrDevice
from realm_jax.qa.labels import Labeller, pattern_spans
from realm_jax.qa.questions import Question, pad_answers
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.task import Batch, Row, Stream, in_batches, rng
from realm_jax.workdir import DataDir

_ROWS_AT_ONCE = 4096
MANY = 1 << 40
"""Questions, more than any stage takes: a set without an end cannot come after other questions."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class QuestionBatch(Batch):
    """Questions with their answers' wordpieces (none where they are patterns)."""

    query: Int[HostOrDevice, "B Q"]
    answers: Int[HostOrDevice, "B A L"]
    question: Int[HostOrDevice, " B"]
    """Its place in the set."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClozeBatch(Batch):
    """Questions with masks behind them, and the answer that fills them, padded."""

    query: Int[HostOrDevice, "B Q"]
    mask_positions: Int[HostOrDevice, "B L"]
    mask_targets: Int[HostOrDevice, "B L"]
    mask_weights: Float[HostOrDevice, "B L"]


class QuestionSet:
    """Questions, encoded. `queries` [n,Q] are token rows, `pieces` [n,A,L] the answers' wordpieces (none where they are
    patterns)."""

    def __init__(self, config: Config, tokenizer: Tokenizer, questions: Sequence[Question]):
        self._config, self._tokenizer = config, tokenizer
        self.questions = questions
        self.ids = [question.id for question in questions]
        self.texts = [question.question for question in questions]
        self.answers = [list(question.answers) for question in questions]
        self.queries = np.stack([query_row(config, tokenizer, text) for text in self.texts])
        settings, self.by_pattern = config.data, config.questions.match == "regex"
        self.pieces = np.stack(
            [
                pad_answers(() if self.by_pattern else answers, tokenizer, settings.max_answers, settings.answer_length)
                for answers in self.answers
            ]
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Row:
        """One row of a `QuestionBatch`."""
        return {"query": self.queries[i], "answers": self.pieces[i], "question": np.int32(i)}

    def trainable(self) -> np.ndarray:
        """Questions with an answer short enough to be trained on; all of those whose answers are patterns.

        Raises:
          UserError: there is none.
        """
        usable = np.flatnonzero((self.pieces > 0).any((1, 2)) | self.by_pattern)
        if len(usable) == 0:
            raise UserError(
                f"data.answer_length: no question has an answer of at most {self._config.data.answer_length} wordpieces"
            )
        return usable

    def batches(
        self, batch_size: int, seed: int, part: tuple[int, int] = (0, 1), count: int = 0, first: int = 0
    ) -> grain.IterDataset:
        """Shuffled batches of the trainable questions, of which this is `part` (i, n); more than a stage has steps.

        Args:
          count: take so many of the questions, drawn by the seed, of which fewer are a part of more; 0 takes all.
          first: so many questions at the start of the set come before the others, in their order and once; where there
            are no others they come as these would.

        Raises:
          UserError: there are fewer.
        """
        chosen = self.trainable()
        before, chosen = (part.tolist() for part in (chosen[chosen < first], chosen[chosen >= first]))
        if count > len(chosen):
            raise UserError(
                f"finetune.questions: {count}, but {len(chosen)} training questions have an answer to train on; it "
                "must be at most as many, or 0, which takes all"
            )
        if count:
            chosen = np.sort(rng(seed, Stream.LABELLED_QUESTIONS).permutation(chosen)[:count]).tolist()
        dataset = grain.MapDataset.range(len(chosen or before)).seed(seed).shuffle().repeat()
        dataset = dataset.map(lambda i: self[(chosen or before)[i]])
        if before and chosen:
            dataset = grain.MapDataset.concatenate(
                [grain.MapDataset.source(before).map(lambda i: self[i]), dataset[:MANY]]
            )
        return in_batches(dataset, QuestionBatch, batch_size, part)

    def cloze(self, i: int) -> Row:
        """`[CLS] question [MASK]... [SEP]` and the first fitting answer, padded, as the targets."""
        return cloze_row(self._config, self._tokenizer, self.texts[i]) | {"mask_targets": self.pieces[i, 0]}

    def cloze_batches(self, batch_size: int, seed: int, part: tuple[int, int] = (0, 1)) -> grain.IterDataset:
        """Endless shuffled batches for the closed-book reader, of which this is `part` (i, n)."""
        chosen = self.trainable().tolist()
        dataset = grain.MapDataset.range(len(chosen)).seed(seed).shuffle().repeat()
        return in_batches(dataset.map(lambda i: self.cloze(chosen[i])), ClozeBatch, batch_size, part)


def query_row(config: Config, tokenizer: Tokenizer, text: str) -> Int[np.ndarray, " Q"]:
    """`[CLS] text [SEP]`, cut to data.query_length."""
    return tokenizer.row(tokenizer.encode(text).ids, config.data.query_length)


def cloze_row(config: Config, tokenizer: Tokenizer, text: str) -> Row:
    """The query of the closed-book reader: data.answer_length masks after the question."""
    masks, length = config.data.answer_length, config.data.query_length
    ids = tokenizer.encode(text).ids[: length - 2 - masks]
    row = np.full(length, tokenizer.pad_id, np.int32)
    row[: len(ids) + masks + 2] = [tokenizer.cls_id, *ids, *[tokenizer.mask_id] * masks, tokenizer.sep_id]
    positions = np.arange(masks, dtype=np.int32) + len(ids) + 1
    return {"query": row, "mask_positions": positions, "mask_weights": np.ones(masks, np.float32)}


class BeamLabels:
    """Which passages hold an answer, by the experiment's `finetune.labels`; by patterns where the answers are such."""

    def __init__(
        self, config: Config, data: DataDir, tokenizer: Tokenizer, store: PassageStore, questions: QuestionSet
    ):
        self._texts, self._questions, self._tokenizer = PassageTexts(data), questions, tokenizer
        self._passage_length, self._max_width = config.data.passage_length, config.model.max_span_width
        self.by_pattern = questions.by_pattern
        self.kind = "regex" if self.by_pattern else config.finetune.labels
        self._label = Labeller(self.kind, tokenizer, store.rows, self._text)

    def __call__(self, questions: Int[np.ndarray, " B"], rows: Int[np.ndarray, "B k"]) -> Bool[np.ndarray, "B k"]:
        """Labels of found `rows` for questions by their place in the set."""
        return np.stack(
            [self._label(self._questions.answers[i], found) for i, found in zip(questions, rows, strict=True)]
        )

    def everywhere(self, questions: Int[np.ndarray, " B"], num_passages: int) -> list[np.ndarray]:
        """Rows of all passages that hold an answer of a question, ascending, for each; each passage is read once."""
        answers, found = [self._questions.answers[i] for i in questions], [[] for _ in questions]
        for block in np.split(np.arange(num_passages), range(_ROWS_AT_ONCE, num_passages, _ROWS_AT_ONCE)):
            for rows, labels in zip(found, self._label.table(answers, block), strict=True):
                rows.append(block[labels])
        return [np.concatenate(rows) for rows in found]

    def widths(
        self, questions: Int[np.ndarray, " B"], rows: Int[np.ndarray, "B k"], labels: Bool[np.ndarray, "B k"]
    ) -> Int[np.ndarray, "B k P"]:
        """The matches of the patterns in the bodies of labelled rows: how many wordpieces of the body an answer has
        that begins at a wordpiece of it, 0 where none does. A body may go on behind its row, where nothing is read."""
        widths = np.zeros((*rows.shape, self._passage_length), np.int16)
        for i, k in np.argwhere(labels):
            body, patterns = self._texts[rows[i, k]].text, self._questions.answers[questions[i]]
            for first, width in pattern_spans(body, patterns, self._tokenizer):
                if width <= self._max_width and first + width <= self._passage_length:
                    widths[i, k, first] = width
        return widths

    def _text(self, row: int) -> str:
        """The text that is searched: patterns in title and body, as DrQA does; answers in the body, as ORQA and DPR
        do."""
        passage = self._texts[row]
        return f"{passage.title} {passage.text}" if self.by_pattern else passage.text


def probe_questions(
    labels: BeamLabels, questions: QuestionSet, store: PassageStore, count: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Token rows of some questions, and the passages that hold an answer of each; those without any are left out."""
    order = rng(seed, Stream.QUESTION_ORDER).permutation(len(questions))
    chosen, holders = [], []
    for asked in np.split(order, range(count, len(order), count)):
        held = zip(asked, labels.everywhere(asked, store.num_passages), strict=True)
        found = [(i, rows) for i, rows in held if len(rows)][: count - len(chosen)]
        chosen += [i for i, _ in found]
        holders += [rows for _, rows in found]
        if len(chosen) == count:
            break
    return questions.queries[np.array(chosen, int)], holders
