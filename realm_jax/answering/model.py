"""A trained run as one object that can be asked: `realm_jax.load(...)` gives it."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeVar, overload

import numpy as np
from jaxtyping import Float

from realm_jax.answering.learned import FINETUNE, PRETRAIN, START, Stages
from realm_jax.answering.masks import Read, read_masks
from realm_jax.answering.results import Answer, Explanation, Filling, Passage, Retrieved, Word
from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.index import snapshots
from realm_jax.text.tokenizer import Encoding
from realm_jax.training import open_qa
from realm_jax.training.open_run import OpenRun
from realm_jax.workdir import Workdir, read_json

MASK = "[MASK]"
T = TypeVar("T")
Result = Answer | Filling | Explanation


class Model:
    """What a run has learned. It never changes, and any number of threads may ask it.

    Texts are asked one at a time or as a list, which is computed in batches; a list gives a list. A text with [MASK] is
    put to the pre-trained model, a question to the fine-tuned one, unless `at` says otherwise. Parameters are read when
    they are first needed. All methods raise UserError for a text that does not fit, and for a stage that is not
    finished.
    """

    def __init__(self, run: OpenRun, stage: str | int | None = None, stages: Stages | None = None):
        self._run, self._stage = run, stage
        self._config, self._models, self._tokenizer = run.config, run.models, run.tokenizer
        self._store, self._texts = run.store, run.texts
        self._stages = stages or Stages(run)
        self._version = _version(run)

    def __repr__(self) -> str:
        where = "" if self._stage is None else f" at {self._stage!r}"
        return f"<REALM model of {self.workdir.root}{where}: {self.num_passages} passages>"

    @property
    def workdir(self) -> Workdir:
        return self._run.workdir

    @property
    def config(self) -> Config:
        return self._config

    @property
    def num_passages(self) -> int:
        return self._store.num_passages

    def at(self, stage: str | int) -> "Model":
        """The model of one stage: `start` (before pre-training), `pretrain` (after it), `finetune`, or a step of
        pre-training whose checkpoint and index are there. Questions are answered by the fine-tuned one alone, which
        fills no [MASK]; retrieval, of any text, can be compared among all."""
        self._stages.check(stage)
        return Model(self._run, stage, self._stages)

    def newest(self) -> "Model":
        """This model; or, where the workdir has other results, passages or indexes by now, one that has read them.

        While something is being made that it needs, it stays this one. Compiled programs serve both.
        """
        if _version(self._run) == self._version:
            return self
        try:
            model = Model(OpenRun(self._config, self.workdir), self._stage)
            for stage in self._stages.loaded():
                model._stages[stage]
        except (UserError, OSError):
            return self
        return model

    @overload
    def answer(self, question: str) -> Answer: ...
    @overload
    def answer(self, question: Sequence[str]) -> list[Answer]: ...
    def answer(self, question: Any) -> Any:
        """The best span of the best `evaluation.read` passages, the very one that `evaluate` scores."""
        return _each(question, lambda texts: self._answers(texts, None))

    @overload
    def fill(self, sentence: str) -> Filling: ...
    @overload
    def fill(self, sentence: Sequence[str]) -> list[Filling]: ...
    def fill(self, sentence: Any) -> Any:
        """The likeliest wordpiece of each [MASK]: the null passage and the best `evaluation.read` passages are read,
        and marginalised over."""
        return _each(sentence, lambda texts: [found for found, _ in self._fillings(texts, None)])

    @overload
    def explain(self, text: str, truth: str) -> Explanation: ...
    @overload
    def explain(self, text: Sequence[str], truth: Sequence[str]) -> list[Explanation]: ...
    def explain(self, text: Any, truth: Any) -> Any:
        """What each passage gains in training when `truth` is right. A single [MASK] stands for all wordpieces of the
        truth; else there is one for each."""
        if isinstance(text, str) != isinstance(truth, str):
            raise UserError("truth: give one for each text: both as a string, or both as lists")
        asked = [(text, truth)] if isinstance(text, str) else list(zip(text, truth, strict=True))
        for _, one in asked:
            _text(one, "truth")
        found = list(self._in_turn(asked))
        return found[0] if isinstance(text, str) else found

    def stream(self, asked: Sequence[tuple[str, str]]) -> Iterator[Result]:
        """Of each (text, truth) in turn what `fill` or `answer` gives, or where the truth is not empty `explain`; a
        batch at a time. All are looked at first, so that a text that does not fit stops it before anything is asked."""
        for text, truth in asked:
            self.check(text, truth)
        return self._in_turn(asked, self._config.evaluation.batch_size)

    def check(self, text: str, truth: str = "") -> None:
        """Raises UserError where a text, or a truth for it, cannot be asked."""
        if MASK in _text(text):
            self._masked(text, truth)
        elif truth:
            self._pieces(truth)

    @overload
    def retrieve(self, text: str, k: int = 5) -> Retrieved: ...
    @overload
    def retrieve(self, text: Sequence[str], k: int = 5) -> list[Retrieved]: ...
    def retrieve(self, text: Any, k: int = 5) -> Any:
        """The best `k` passages, unread; p(z|x) is over these. k is 1 to the number of passages."""
        if not 1 <= k <= self.num_passages:
            raise UserError(f"k: {k} passages, but there are {self.num_passages}; it must be 1 to that many")
        return _each(text, lambda texts: self._by_stage(texts, lambda stage, part: self._retrieved(stage, part, k)))

    @overload
    def embed(self, text: str, title: str | None = None) -> Float[np.ndarray, "E"]: ...
    @overload
    def embed(self, text: Sequence[str], title: Sequence[str] | None = None) -> Float[np.ndarray, "n E"]: ...
    def embed(self, text: Any, title: Any = None) -> Any:
        """float32 vectors [n,E] of queries; with titles, those of passages, as they stand in the index. Their inner
        product, times `finetune.score_scale` (before fine-tuning `pretrain.score_scale`), is f(x, z)."""
        if isinstance(text, str):
            return self.embed([text], None if title is None else [title])[0]
        if title is None:
            found = self._by_stage(text, self._query_vectors)
        else:
            found = self._passage_vectors(list(text), list(title))
        return np.stack(found) if found else np.empty((0, self._config.model.vector_size), np.float32)

    def _in_turn(self, asked: Sequence[tuple[str, str]], at_once: int | None = None) -> Iterator[Result]:
        for (masked, told), group in groupby(asked, lambda pair: (MASK in _text(pair[0]), bool(pair[1]))):
            pairs = list(group)
            for start in range(0, len(pairs), at_once or len(pairs)):
                texts, truths = zip(*pairs[start : start + (at_once or len(pairs))], strict=True)
                known = truths if told else None
                if masked:
                    yield from (explained or found for found, explained in self._fillings(texts, known))
                else:
                    yield from self._answers(texts, known)

    def _answers(self, texts: Sequence[str], truths: Sequence[str] | None) -> list[Any]:
        """An Answer of each question; an Explanation, where there are truths."""
        if self._stage not in (None, FINETUNE):
            raise UserError(
                f"at({self._stage!r}): the fine-tuned model alone reads answers; ask at({FINETUNE!r}), or compare "
                "what is retrieved"
            )
        config, encodings, pieces = self._config, self._encoded(texts), None
        if truths is not None:
            width = config.model.max_span_width + 1  # a longer one is no span
            pieces = np.zeros((len(texts), width), np.int32)
            for row, truth in zip(pieces, truths, strict=True):
                ids = self._pieces(truth)[:width]
                row[: len(ids)] = ids
        learned = self._stages[FINETUNE]
        found = open_qa.answer(
            config, self._models, learned.params, learned.index, self._store, self._rows(encodings), pieces
        )
        answers = [self._answer(*given) for given in zip(texts, encodings, found, strict=True)]
        if truths is None:
            return answers
        return [
            Explanation(
                text, truth, one.p_truth, float(np.log(one.p_truth)) if one.gains is not None else None, None, answer
            )
            for text, truth, one, answer in zip(texts, truths, found, answers, strict=True)
        ]

    def _answer(self, question: str, encoding: Encoding, found: open_qa.Answer) -> Answer:
        passages, p_spans = self._passages(found.rows, found.scores), np.exp(found.log_p)
        gains = None if found.log_truth is None else found.gains
        for k, passage in enumerate(passages):
            span = open_qa.answer_place(self._tokenizer, passage.text, *found.spans[k])
            passages[k] = dataclasses.replace(
                passage, says=passage.text[slice(*span)], span=span, p_reading=float(p_spans[k]),
                gain=None if gains is None else float(gains[k]),
            )  # fmt: skip
        best, cut = found.best, self._cut(encoding)
        return Answer(question, passages[best].says or "", float(p_spans[best]), best, tuple(passages), cut)

    def _fillings(
        self, texts: Sequence[str], truths: Sequence[str] | None
    ) -> Iterator[tuple[Filling, Explanation | None]]:
        if self._stage == FINETUNE:
            raise UserError(
                f"at({FINETUNE!r}): the pre-trained model alone fills [MASK]; ask at({PRETRAIN!r}) or at({START!r})"
            )
        without = [text for text in texts if MASK not in _text(text)]
        if without:
            raise UserError(f"{without[0]!r} has no [MASK]; write one for each wordpiece to find, or use `answer`")
        given = [self._masked(text, truth) for text, truth in zip(texts, truths or [""] * len(texts), strict=True)]
        if not given:
            return
        encodings, masks, pieces = zip(*given, strict=True)
        learned = self._stages[PRETRAIN if self._stage is None else self._stage]
        found = read_masks(
            self._config, self._models, learned, self._store, self._rows(encodings), list(masks), list(pieces)
        )
        for i, read in enumerate(found):
            filling = self._filling(texts[i], encodings[i], len(masks[i]), read, truths is not None)
            if truths is None:
                yield filling, None
                continue
            log_p, utility = float(read.log_p_truth), float(read.utility_of_truth)
            yield filling, Explanation(texts[i], truths[i], float(np.exp(log_p)), log_p, utility, filling)

    def _filling(self, sentence: str, encoding: Encoding, masks: int, read: Read, told: bool) -> Filling:
        decode = self._tokenizer.decode
        passages = [
            dataclasses.replace(
                passage, says=decode(read.own[k][:masks]), p_reading=float(np.exp(read.log_p_best_z[k])),
                gain=float(read.gains[k]) if told else None,
            )
            for k, passage in enumerate(self._passages(read.rows, read.scores))
        ]  # fmt: skip
        words = tuple(
            tuple(Word(decode([piece]), float(p)) for piece, p in zip(read.words[m], read.p_words[m], strict=True))
            for m in range(masks)
        )
        log_p = float(read.log_p_best)
        return Filling(
            sentence, decode(read.best[:masks]), float(np.exp(log_p)), log_p, words, float(read.utility),
            tuple(passages), self._cut(encoding),
        )  # fmt: skip

    def _masked(self, text: str, truth: str) -> tuple[Encoding, np.ndarray, np.ndarray]:
        """Wordpieces of a sentence, where its masks stand in its row, and the truth's wordpieces at them."""
        pieces = self._pieces(truth) if truth else np.zeros(0, np.int32)
        expanded = text.replace(MASK, MASK * len(pieces)) if truth and text.count(MASK) == 1 else text
        encoding = self._encoded([expanded])[0]
        places = np.flatnonzero(self._rows([encoding])[0] == self._tokenizer.mask_id)
        if len(places) < expanded.count(MASK):
            raise UserError(
                f"[MASK] stands past the query's {self._config.data.query_length} wordpieces; shorten the sentence "
                f"({_short(text)})"
            )
        if truth and len(pieces) != len(places):
            raise UserError(
                f"truth: {truth!r} is {len(pieces)} wordpieces, but {len(places)} [MASK] are there; write a single one"
            )
        return encoding, places, pieces

    def _pieces(self, truth: str) -> np.ndarray:
        pieces = self._encoded([truth], "truth")[0].ids
        if not len(pieces):
            raise UserError(f"truth: {truth!r} has no wordpieces; give the words of the answer, or leave it out")
        return pieces

    def _by_stage(self, texts: Sequence[str], compute: Callable[[str | int, list[str]], list[T]]) -> list[T]:
        """What is computed of each text by the stage that it is put to."""
        results: dict[int, T] = {}
        of_questions = FINETUNE
        if not self._config.finetune.steps and not self.workdir.stage(FINETUNE).done.exists():
            of_questions = PRETRAIN  # a run without questions
        stages = [
            self._stage if self._stage is not None else PRETRAIN if MASK in _text(t) else of_questions for t in texts
        ]
        for stage in dict.fromkeys(stages):
            places = [i for i, of in enumerate(stages) if of == stage]
            results |= zip(places, compute(stage, [texts[i] for i in places]), strict=True)
        return [results[i] for i in range(len(texts))]

    def _retrieved(self, stage: str | int, texts: list[str], k: int) -> list[Retrieved]:
        encodings, learned = self._encoded(texts), self._stages[stage]
        scores, rows = open_qa.retrieve(
            self._config, self._models, learned.embedder, learned.index, self._rows(encodings), k
        )
        return [
            Retrieved(text, tuple(self._passages(rows[i], learned.scale * scores[i])), self._cut(encodings[i]))
            for i, text in enumerate(texts)
        ]

    def _query_vectors(self, stage: str | int, texts: list[str]) -> list[np.ndarray]:
        return list(self._models.embed_many_with(self._stages[stage].embedder)(self._rows(self._encoded(texts))))

    def _passage_vectors(self, texts: list[str], titles: list[str]) -> list[np.ndarray]:
        length, tokenizer, rows = self._config.data.passage_length, self._tokenizer, []
        for text, title in zip(self._encoded(texts), self._encoded(titles, "title", empty=True), strict=True):
            ids = title.ids[: (length - 3) // 2]
            rows.append(tokenizer.row(np.concatenate([ids, [tokenizer.sep_id], text.ids]), length))
        embedder = self._stages.passage_embedder(FINETUNE if self._stage is None else self._stage)
        return list(self._models.embed_many_with(embedder)(np.stack(rows))) if rows else []

    def _passages(self, rows: np.ndarray, scores: np.ndarray) -> list[Passage]:
        """Of rows [K] with scores f(x, z) [K]; nothing read yet."""
        scores, passages = np.asarray(scores, np.float64), []
        p = np.exp(scores - np.logaddexp.reduce(scores))
        for row, score, share in zip(rows, scores, p, strict=True):
            found, number = self._texts[row], None if row == self._store.null_id else int(row)
            passages.append(Passage(number, found.title, found.text, found.where, float(score), float(share)))
        return passages

    def _encoded(self, texts: Sequence[str], what: str = "text", empty: bool = False) -> list[Encoding]:
        return self._tokenizer.encode_batch([_text(text, what, empty) for text in texts], mask=True)

    def _rows(self, encodings: Sequence[Encoding]) -> np.ndarray:
        """`[CLS] text [SEP]`, cut to data.query_length [B,Q]."""
        length = self._config.data.query_length
        return np.array([self._tokenizer.row(encoding.ids, length) for encoding in encodings]).reshape(-1, length)

    def _cut(self, encoding: Encoding) -> int:
        return max(0, len(encoding) - (self._config.data.query_length - 2))


def _version(run: OpenRun) -> list[bytes]:
    """What becomes other bytes where a job has made anew what is asked."""
    pretrain, finetune = run.workdir.stage(PRETRAIN), run.workdir.stage(FINETUNE)
    steps = {snapshots.FIRST_STEP}
    if pretrain.done.exists():
        steps.add(read_json(pretrain.done)["step"])
    files = [pretrain.snapshots / str(step) / snapshots.MANIFEST for step in sorted(steps)]
    files += [pretrain.done, finetune.done, run.data.done]
    found = [b""] * len(files)
    for i, path in enumerate(files):
        with contextlib.suppress(FileNotFoundError):
            found[i] = path.read_bytes()
    return found


def _each(asked: Any, compute: Callable[[list[str]], list[T]]) -> Any:
    """One result of one text, a list of a list's."""
    if isinstance(asked, str):
        return compute([asked])[0]
    texts = [_text(text) for text in asked]
    return compute(texts) if texts else []


def _text(text: Any, what: str = "text", empty: bool = False) -> str:
    """Raises UserError for what is no text that can be asked."""
    if not isinstance(text, str):
        raise UserError(f"{what}: {text!r} is no string")
    if not text.strip() and not empty:
        raise UserError(f"{what}: {text!r} is empty; ask a question, or write a sentence with [MASK]")
    if MASK not in text and "[mask]" in text.lower():
        raise UserError(f"{what}: {_short(text)}: the words to find are written [MASK], in capitals")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UserError(f"{what}: {_short(text)} has half of a surrogate pair, which is no character")
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
