"""What a model says, as plain frozen dataclasses: texts, Python numbers and tuples, ready for `dataclasses.asdict` and
JSON. Probabilities lie between 0 and 1; logarithms are natural (nats).
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
    """A passage that was retrieved, and, where it was read, what it says."""

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
    """r(z) = [p(y|z,x) / p(y|x) - 1] p(z|x) of the truth y: what training on it would do to the passage's score. None
    without a truth, and for a question whose truth stands in no passage read."""

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
    """A piece of `passages[source].text`."""
    probability: float
    """Of that piece, among all spans of all passages read."""
    source: int
    """Which of `passages` it stands in."""
    passages: tuple[Passage, ...]
    """The passages read, as many as `evaluation.read`, best retrieved first."""
    cut: int = 0
    """Wordpieces at the end of the question that did not fit `data.query_length`, and were not read."""

    def __repr__(self) -> str:
        return f"Answer({self.text!r}, p {self.probability:.2f}, from {self.passages[self.source].title!r})"


@dataclasses.dataclass(frozen=True)
class Word:
    """A wordpiece that may stand for a [MASK]."""

    text: str
    probability: float
    """p(y|x) of this wordpiece at this mask, whatever stands at the others."""


@dataclasses.dataclass(frozen=True, repr=False)
class Filling(_Shown):
    """The words for the [MASK] of a sentence."""

    sentence: str
    text: str
    """The likeliest wordpiece of each [MASK], joined to words."""
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

    @property
    def p_null(self) -> float:
        """p(z|x) of the null passage: how little retrieval is trusted."""
        return self.passages[0].p_retrieval

    def __repr__(self) -> str:
        return f"Filling({self.text!r}, p {self.probability:.2g}, p(null) {self.p_null:.2f})"


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation(_Shown):
    """What each passage would gain in training, were this the truth."""

    text: str
    """The question, or the sentence with [MASK]."""
    truth: str
    probability: float
    """Of the truth: for a question the sum over all places where it stands in the passages read; for [MASK] p(y|x)."""
    log_probability: float | None
    """Its logarithm; None where the truth stands in no passage read."""
    utility: float | None
    """log p(y|x) - log p(y|null, x) of the truth, mean over masks: retrieval utility, in nats. None for a question."""
    found: Answer | Filling
    """What the model itself says; its passages have their `gain`."""

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


def _named(passages: tuple[Passage, ...]) -> str:
    titles = [repr(passage.title) for passage in passages[:3]]
    return ", ".join(titles) + (f" and {len(passages) - 3} more" if len(passages) > 3 else "")
