"""The answers of a model, as plain frozen dataclasses: texts, Python numbers and tuples, ready for `dataclasses.asdict`
and JSON. Probabilities lie between 0 and 1; logarithms are natural (nats).
"""

import dataclasses
from typing import Any


class _Shown:
    """Printed in one line; a notebook shows the passages too."""

    def _repr_html_(self: Any) -> str:
        from realm_jax.answering.shown import as_html

        return as_html(self)

    def __str__(self: Any) -> str:
        from realm_jax.answering.shown import as_text

        return as_text(self)


@dataclasses.dataclass(frozen=True)
class Passage:
    """A passage that was retrieved, with its answer if it was read."""

    id: int | None
    """Its row in the passage store; None for the null passage."""
    title: str
    text: str
    origin: str
    """Where its article comes from: a file, and a line or record of it; empty where the source has none."""
    score: float
    """f(x, z), the scaled inner product of query and passage."""
    p_retrieval: float
    """p(z|x), over the passages of this result."""
    says: str | None = None
    """The answer, or the words for [MASK], that this passage alone makes likeliest."""
    span: tuple[int, int] | None = None
    """First and past-the-last character of `says` in `text`, where it was read out of it."""
    p_reading: float | None = None
    """For a question: of `span`, among all spans of all passages read. For a sentence with [MASK]: p(y|z,x) of the
    words that all passages together fill in."""
    gain: float | None = None
    """r(z) = [p(y|z,x) / p(y|x) - 1] p(z|x) of the truth y: how training on it would move the passage's score. None
    without a truth, and for a question whose truth no passage read has."""

    @property
    def is_null(self) -> bool:
        return self.id is None


@dataclasses.dataclass(frozen=True, repr=False)
class Retrieved(_Shown):
    """Passages found for a text, best first."""

    text: str
    passages: tuple[Passage, ...]
    cut: int = 0
    """Wordpieces at the end of the text that did not fit `data.query_length`, and were not read."""

    def __repr__(self) -> str:
        return f"Retrieved({_named(self.passages)} for {self.text!r})"


@dataclasses.dataclass(frozen=True, repr=False)
class Answer(_Shown):
    """The answer to a question."""

    question: str
    text: str
    """A piece of `passages[source].text`; empty where it is `unknown`."""
    probability: float
    """Of that piece, among all spans of all passages read."""
    source: int
    """Which of `passages` has it."""
    passages: tuple[Passage, ...]
    """The passages read, as many as `evaluation.read`, best retrieved first."""
    cut: int = 0
    """Wordpieces at the end of the question that did not fit `data.query_length`, and were not read."""
    unknown: bool = False
    """Whether, asked with `unknown=True`, it is less probable than an answer must be (`Model.unknown_below`)."""

    def __repr__(self) -> str:
        return f"Answer({self.text!r}, p {self.probability:.2f}, from {self.passages[self.source].title!r})"


@dataclasses.dataclass(frozen=True)
class Word:
    """A wordpiece that may fill a [MASK]."""

    text: str
    probability: float
    """p(y|x) of this wordpiece at this mask, for any words at the others."""


@dataclasses.dataclass(frozen=True, repr=False)
class Filling(_Shown):
    """The words for the [MASK] of a sentence."""

    sentence: str
    text: str
    """The likeliest wordpiece of each [MASK], joined to words; empty where they are `unknown`."""
    probability: float
    """p(y|x) of all of them together ..."""
    log_probability: float
    """... and its logarithm."""
    words: tuple[tuple[Word, ...], ...]
    """For each [MASK] the likeliest wordpieces, best first."""
    utility: float
    """log p(y|x) - log p(y|null, x), mean over masks: the worth of retrieval for `text`, in nats."""
    passages: tuple[Passage, ...]
    """The null passage, then as many as `evaluation.read`, best retrieved first."""
    cut: int = 0
    """Wordpieces at the end of the sentence that did not fit `data.query_length`, and were not read."""
    unknown: bool = False
    """Whether, asked with `unknown=True`, the null passage has more than half of p(z|x): no passage helps."""

    @property
    def p_null(self) -> float:
        """p(z|x) of the null passage: how little retrieval is trusted."""
        return self.passages[0].p_retrieval

    def __repr__(self) -> str:
        return f"Filling({self.text!r}, p {self.probability:.2g}, p(null) {self.p_null:.2f})"


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation(_Shown):
    """The gain of each passage in training, were this the truth."""

    text: str
    """The question, or the sentence with [MASK]."""
    truth: str
    probability: float
    """Of the truth: for a question the sum over all its places in the passages read; for [MASK] p(y|x)."""
    log_probability: float | None
    """Its logarithm; None if no passage read has the truth."""
    utility: float | None
    """log p(y|x) - log p(y|null, x) of the truth, mean over masks: retrieval utility, in nats. None for a question."""
    found: Answer | Filling
    """The model's own answer; its passages have their `gain`."""

    @property
    def passages(self) -> tuple[Passage, ...]:
        return self.found.passages

    @property
    def p_null(self) -> float | None:
        """p(z|x) of the null passage; None for a question, which reads none."""
        return self.passages[0].p_retrieval if self.passages[0].is_null else None

    @property
    def cut(self) -> int:
        return self.found.cut

    def __repr__(self) -> str:
        return f"Explanation({self.truth!r}, p {self.probability:.2g}, where the model says {self.found.text!r})"


@dataclasses.dataclass(frozen=True)
class Stored:
    """A passage of the corpus."""

    id: int
    title: str
    text: str
    origin: str
    """Where its article comes from; empty where the source has no such thing."""
    article: tuple[int, ...]
    """Ids of the passages of its article in order, this one among them."""
    neighbours: tuple[Passage, ...]
    """The other passages that a query with this one's vector finds, best first."""


def if_sure(result: Any, below: float | None) -> Any:
    """An answer, filling or explanation, its text left out where that is not known; as it is where `below` is None.

    Args:
      below: the probability that an answer must have; fillings go by their null passage.
    """
    if below is None:
        return result
    if isinstance(result, Explanation):
        return dataclasses.replace(result, found=if_sure(result.found, below))
    unknown = result.p_null > 0.5 if isinstance(result, Filling) else result.probability < below
    return dataclasses.replace(result, text="", unknown=True) if unknown else result


def _named(passages: tuple[Passage, ...]) -> str:
    titles = [repr(passage.title) for passage in passages[:3]]
    return ", ".join(titles) + (f" and {len(passages) - 3} more" if len(passages) > 3 else "")
