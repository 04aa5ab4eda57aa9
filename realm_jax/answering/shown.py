"""Results in words: lines for a terminal, HTML for a notebook."""

import functools
import math
from importlib.resources import files
from typing import Any

from realm_jax.answering.results import Answer, Explanation, Filling, Passage, Retrieved

Result = Answer | Filling | Explanation | Retrieved


def as_text(result: Result, passages: int | None = None) -> str:
    """Lines: the result, then the first `passages` (None: all), each with p(z|x), r(z) and its answer."""
    lines = heading(result)
    if result.cut:
        lines.insert(0, f"the last {result.cut} wordpieces of the text are not read (data.query_length)")
    for passage in result.passages[:passages]:
        lines += ["", " ".join(_figures(passage))]
        lines += [f"  {part}" for part in (passage.title, passage.text) if part] or ["  (the null passage)"]
    return "\n".join(lines)


def heading(result: Result) -> list[str]:
    """The result without the passages."""
    match result:
        case Retrieved():
            return [f"passages for: {result.text}"]
        case Answer(unknown=True):
            return [f"answer: unknown   (the best span has p {result.probability:.2f}, which is too little)"]
        case Filling(unknown=True):
            return [f"answer: unknown   (p(null) {result.p_null:.2f}: no passage helps)"]
        case Answer():
            return [f"answer: {result.text}   (p {result.probability:.2f} among all spans)"]
        case Filling():
            return [
                f"answer: {result.text}   (log p(y|x) {result.log_probability:.2f})",
                f"worth of retrieval for it: {result.utility:+.2f} nats per mask",
            ]
    if result.utility is not None:
        truth = [
            f"truth: {result.truth}   (log p(y|x) {result.log_probability:.2f})",
            f"worth of retrieval for the truth: {result.utility:+.2f} nats per mask",
        ]
    else:
        truth = [f"truth: {result.truth}   (p {result.probability:.2f} among all spans)"]
        if result.log_probability is None:
            truth.append("the truth is in none of the passages read: r(z) is not defined")
    return heading(result.found) + truth


def _figures(passage: Passage) -> list[str]:
    figures = [f"p(z|x) {passage.p_retrieval:.3f}"]
    if passage.gain is not None:
        figures.append(f" r(z) {passage.gain:+.3f}")
    if passage.p_reading is None:
        figures.append(f" f(x,z) {passage.score:.2f}  passage {passage.id}")
    elif passage.span is None:
        log_p = math.log(passage.p_reading) if passage.p_reading > 0 else -math.inf
        figures.append(f" reads {passage.says!r}, log p(answer|z,x) {log_p:.2f}")
    else:
        figures.append(f" reads {passage.says!r}, p {passage.p_reading:.3f}")
    return figures


def as_html(result: Result) -> str:
    """A table of the passages: the answer marked, bars of p(z|x), and of r(z) in two colours. All text is escaped; no
    style sheet, script or outside resource is needed."""
    source = getattr(getattr(result, "found", result), "source", None)
    return _template().render(result=result, heading=heading(result), source=source)


def parts(passage: Passage) -> tuple[str, str, str]:
    """The body before, in and after the span that was read."""
    start, limit = passage.span or (0, 0)
    return passage.text[:start], passage.text[start:limit], passage.text[limit:]


@functools.cache
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["parts"] = parts
    return environment.from_string((files(__package__) / "result.html.j2").read_text(encoding="utf-8"))
