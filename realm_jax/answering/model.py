"""A trained run as one object that can be asked: `realm_jax.load(...)` gives it."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, TypeVar, overload

import numpy as np
from jaxtyping import Float

from realm_jax.answering import browsing
from realm_jax.answering.asked import MASK, checked, each, short
from realm_jax.answering.learned import FINETUNE, PRETRAIN, START, Stages
from realm_jax.answering.masks import Read, read_masks
from realm_jax.answering.results import Answer, Explanation, Filling, Passage, Retrieved, Stored, Word, if_sure
from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.evaluation.confidence import BELOW
from realm_jax.index import snapshots
from realm_jax.text.tokenizer import Encoding
from realm_jax.training import open_qa
from realm_jax.training.open_run import OpenRun
from realm_jax.workdir import Workdir, read_json

T = TypeVar("T")
Result = Answer | Filling | Explanation


class Model:
    """A trained run, which you ask. It never changes, and any number of threads may ask it.

    Ask one text or a list; a list is computed in batches, and gives you a list. A text with [MASK] goes to the
    pre-trained model, a question to the fine-tuned one, unless `at` says otherwise. Parameters are read when you first
    need them. All methods raise UserError for a text that does not fit, and for a stage that is not finished.
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
        pre-training whose checkpoint and index are there. Only the fine-tuned one answers questions, and it fills no
        [MASK]. You can compare retrieval, of any text, among all."""
        self._stages.check(stage)
        return Model(self._run, stage, self._stages)

    def newest(self) -> "Model":
        """This model; or, if the workdir has other results, passages or indexes by now, one that has read them.

        You get this one while something that it needs is being made. Compiled programs serve both.
        """
        if _version(self._run) == self._version:
            return self
        try:
            model = Model(self._run.again(), self._stage)
            for stage in self._stages.loaded():
                model._stages[stage]
        except (UserError, OSError):
            return self
        return model

    @property
    def unknown_below(self) -> float:
        """The least probability of an answer that is worth giving, which `evaluate` has chosen on dev questions.

        Raises:
          UserError: it has not been chosen.
        """
        if not self.workdir.unknown.exists():
            raise UserError(
                f"{self.workdir.root}: no evaluation has chosen from which probability on an answer is worth giving; "
                "run `evaluate`, with questions that have a dev split, or ask without `unknown`"
            )
        return read_json(self.workdir.unknown, **{BELOW: float})[BELOW]

    @overload
    def answer(self, question: str, unknown: bool = False) -> Answer: ...
    @overload
    def answer(self, question: Sequence[str], unknown: bool = False) -> list[Answer]: ...
    def answer(self, question: Any, unknown: bool = False) -> Any:
        """The best span of the best `evaluation.read` passages, the very one that `evaluate` scores.

        With `unknown` an answer less probable than `unknown_below` has no text.
        """
        below = self.unknown_below if unknown else None
        return each(question, lambda texts: [if_sure(one, below) for one in self._answers(texts, None)])

    @overload
    def fill(self, sentence: str, unknown: bool = False) -> Filling: ...
    @overload
    def fill(self, sentence: Sequence[str], unknown: bool = False) -> list[Filling]: ...
    def fill(self, sentence: Any, unknown: bool = False) -> Any:
        """The likeliest wordpiece of each [MASK]: the null passage and the best `evaluation.read` passages are read,
        and marginalised over.

        With `unknown` there are no words where the null passage has more than half of p(z|x).
        """
        below = 0.0 if unknown else None
        return each(sentence, lambda texts: [if_sure(found, below) for found, _ in self._fillings(texts, None)])

    @overload
    def explain(self, text: str, truth: str) -> Explanation: ...
    @overload
    def explain(self, text: Sequence[str], truth: Sequence[str]) -> list[Explanation]: ...
    def explain(self, text: Any, truth: Any) -> Any:
        """The gain of each passage in training on `truth`. A single [MASK] is enough for all wordpieces of the truth;
        else there is one for each."""
        if isinstance(text, str) != isinstance(truth, str):
            raise UserError("truth: give one for each text: both as a string, or both as lists")
        asked = [(text, truth)] if isinstance(text, str) else list(zip(text, truth, strict=True))
        for _, one in asked:
            checked(one, "truth")
        found = list(self._in_turn(asked))
        return found[0] if isinstance(text, str) else found

    def stream(self, asked: Sequence[tuple[str, str]], unknown: bool = False) -> Iterator[Result]:
        """For each (text, truth) in turn the result of `fill` or `answer`, or of `explain` if the truth is not empty; a
        batch at a time. All are looked at first, so that a text that does not fit stops it before anything is asked."""
        for text, truth in asked:
            self.check(text, truth)
        below = None
        if unknown:
            below = self.unknown_below if any(MASK not in text for text, _ in asked) else 0.0
        return (if_sure(result, below) for result in self._in_turn(asked, self._config.evaluation.batch_size))

    def check(self, text: str, truth: str = "") -> None:
        """Raises UserError where a text, or a truth for it, cannot be asked."""
        if MASK in checked(text):
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
        return each(text, lambda texts: self._by_stage(texts, lambda stage, part: self._retrieved(stage, part, k)))

    @overload
    def embed(self, text: str, title: str | None = None) -> Float[np.ndarray, " E"]: ...
    @overload
    def embed(self, text: Sequence[str], title: Sequence[str] | None = None) -> Float[np.ndarray, "n E"]: ...
    def embed(self, text: Any, title: Any = None) -> Any:
        """float32 vectors [n,E] of queries; with titles, those of passages, as in the index. Their inner
        product, times `finetune.score_scale` (before fine-tuning `pretrain.score_scale`), is f(x, z)."""
        if isinstance(text, str):
            return self.embed([text], None if title is None else [title])[0]
        if title is None:
            found = self._by_stage(text, self._query_vectors)
        else:
            found = self._passage_vectors(list(text), list(title))
        return np.stack(found) if found else np.empty((0, self._models.model.vector_size), np.float32)

    def passage(self, id: int, neighbours: int = 5) -> Stored:
        """A passage by its row in the store, its article, and the passages next to it in the index."""
        if not 0 <= id < self.num_passages:
            raise UserError(f"id: no passage {id}; they are numbered from 0 to {self.num_passages - 1}")
        return browsing.look_up(self._texts, id, self._neighbours(id, neighbours) if neighbours else ())

    def wordpieces(self, text: str) -> tuple[str, ...]:
        """A query as it is read: its wordpieces, special tokens included, cut to `data.query_length`."""
        row = self._rows(self._encoded([text]))[0]
        return tuple(self._tokenizer.piece(int(piece)) for piece in row[row != self._tokenizer.pad_id])

    def _neighbours(self, id: int, count: int) -> tuple[Passage, ...]:
        stage = self._stage_of_questions if self._stage is None else self._stage
        learned, embedder = self._stages[stage], self._stages.passage_embedder(stage)
        rows, scores = browsing.nearest(self._models, embedder, learned.index, self._store, id, count)
        return tuple(self._passages(rows, learned.scale * scores))

    def _in_turn(self, asked: Sequence[tuple[str, str]], at_once: int | None = None) -> Iterator[Result]:
        for (masked, told), group in groupby(asked, lambda pair: (MASK in checked(pair[0]), bool(pair[1]))):
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

    def _answer(self, question: str, encoding: Encoding, found: open_qa.Reading) -> Answer:
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
        without = [text for text in texts if MASK not in checked(text)]
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
        room = self._config.data.query_length
        if len(pieces) >= room:
            raise UserError(f"truth: {len(pieces)} wordpieces are more than a query of {room} holds; shorten it")
        places = np.flatnonzero(self._rows([encoding])[0] == self._tokenizer.mask_id)
        if len(places) < expanded.count(MASK):
            raise UserError(
                f"[MASK] is past the query's {self._config.data.query_length} wordpieces; shorten the sentence "
                f"({short(text)})"
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

    @property
    def _stage_of_questions(self) -> str:
        none = not self._config.finetune.steps and not self.workdir.stage(FINETUNE).done.exists()
        return PRETRAIN if none else FINETUNE  # a run without questions

    def _by_stage(self, texts: Sequence[str], compute: Callable[[str | int, list[str]], list[T]]) -> list[T]:
        """The result of each text, from the stage that it is put to."""
        results: dict[int, T] = {}
        stages = [
            self._stage if self._stage is not None else PRETRAIN if MASK in checked(t) else self._stage_of_questions
            for t in texts
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
        embed = self._models.embed_many_with(embedder, self._models.embed_passages)
        return list(embed(np.stack(rows))) if rows else []

    def _passages(self, rows: np.ndarray, scores: np.ndarray) -> list[Passage]:
        """Of rows [K] with scores f(x, z) [K]; nothing read yet."""
        scores, passages = np.asarray(scores, np.float64), []
        p = np.exp(scores - np.logaddexp.reduce(scores))
        for row, score, share in zip(rows, scores, p, strict=True):
            found, number = self._texts[row], None if row == self._store.null_id else int(row)
            passages.append(Passage(number, found.title, found.text, found.where, float(score), float(share)))
        return passages

    def _encoded(self, texts: Sequence[str], what: str = "text", empty: bool = False) -> list[Encoding]:
        return self._tokenizer.encode_batch([checked(text, what, empty) for text in texts], mask=True)

    def _rows(self, encodings: Sequence[Encoding]) -> np.ndarray:
        """`[CLS] text [SEP]`, cut to data.query_length [B,Q]."""
        length = self._config.data.query_length
        return np.array([self._tokenizer.row(encoding.ids, length) for encoding in encodings]).reshape(-1, length)

    def _cut(self, encoding: Encoding) -> int:
        return max(0, len(encoding) - (self._config.data.query_length - 2))


def _version(run: OpenRun) -> list[bytes]:
    """The files whose bytes change when a job makes anew something that is asked."""
    pretrain, finetune = run.workdir.stage(PRETRAIN), run.workdir.stage(FINETUNE)
    steps = {snapshots.FIRST_STEP}
    if pretrain.done.exists():
        steps.add(read_json(pretrain.done, step=int)["step"])
    files = [pretrain.snapshots / str(step) / snapshots.MANIFEST for step in sorted(steps)]
    if run.config.finetune.refresh != "none" and finetune.done.exists():
        files.append(finetune.snapshots / str(read_json(finetune.done, step=int)["step"]) / snapshots.MANIFEST)
    files += [pretrain.done, finetune.done, run.data.done]
    found = [b""] * len(files)
    for i, path in enumerate(files):
        with contextlib.suppress(FileNotFoundError):
            found[i] = path.read_bytes()
    return found
