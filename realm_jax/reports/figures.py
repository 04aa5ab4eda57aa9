"""Which curves a report shows, and two sentences on how to read each."""

import math
import re
from collections.abc import Sequence
from typing import Any

from realm_jax.reports.plots import Curve, draw
from realm_jax.reports.run_record import Record
from realm_jax.stages import STAGES

NOT_RUN = "not run"
SALIENCE = "salience/"


def pretraining_figures(record: Record) -> list[dict[str, Any]]:
    """Curves of pre-training, each with two sentences on how to read it."""

    def curve(label, name, **style):
        return Curve(label, *record.series("pretrain", name), **style)

    specs = (
        (
            "Recall on fresh vectors",
            [
                curve("held-out spans", "probe/span_recall@5", smooth=False),
                curve("dev questions", "probe/question_recall@5", smooth=False),
                curve("dev questions of new kinds", "probe/question_new_kinds_recall@5", smooth=False),
            ],
            "Share of held-out queries with an answer among the five best passages, all embedded at that very step. "
            "This is the evidence of retrieval, and it chooses the checkpoint that goes on.",
        ),
        (
            "Retrieval utility",
            [curve("utility", "retrieval/utility")],
            "How much likelier the truth is with the retrieved passages than with the null passage: "
            "log p(y|x) − log p(y|null, x), in nats. By itself it is no evidence of retrieval: passages that only show "
            "what an answer looks like raise it too.",
        ),
        (
            "p(null)",
            [curve("p(null)", "retrieval/p_null")],
            "Probability that the retriever gives to the empty passage. Near 1 it has given up on retrieving; "
            "a low value alone does not say that it retrieves well.",
        ),
        (
            "Loss",
            [curve("loss", "loss/total")],
            STAGES["pretrain"].loss,
        ),
        (
            "Staleness of the index",
            [curve("staleness", "index/staleness_steps", stairs=True)],
            "Steps since the embedder whose vectors are searched. "
            "Each fall is a newer snapshot swapped in, and each dashed line in these figures is such a swap.",
        ),
    )
    swaps, figures = record.swaps(), []
    for title, curves, caption in (*specs, *_learned_salience(record)):
        if curves := [curve for curve in curves if curve.steps]:
            name = re.sub(r"\W+", "-", title.lower()).strip("-")
            svg = draw(curves, describe(title, curves), name=name, marks=swaps, zero=title == "Retrieval utility")
            figures.append({"title": title, "svg": svg, "caption": caption, "labels": [c.label for c in curves]})
    return figures


def _learned_salience(record: Record) -> list[tuple[str, list[Curve], str]]:
    """Of the kinds of spans that it was measured for, the four that are worth the most at the end."""
    names = {name for line in record.metrics.get("pretrain", ()) for name in line if name.startswith(SALIENCE)}
    series = {name.removeprefix(SALIENCE): record.series("pretrain", name) for name in sorted(names)}
    last = {kind: values[-1] for kind, (_, values) in series.items() if values}
    kinds = sorted(last, key=lambda kind: -last[kind])
    worth = ", ".join(f"{kind} {number(last[kind], 2)}" for kind in kinds)
    curves = [Curve(kind, *series[kind], smooth=False) for kind in kinds[:4]]
    caption = (
        "Retrieval utility as the model measured it for spans of each kind, in nats per masked wordpiece; what is "
        f"hidden is drawn in proportion to it. At the end: {worth}."
    )
    return [("Learned salience", curves, caption)]


def loss_figures(record: Record) -> list[dict[str, Any]]:
    """The loss of every other stage that was run, and the answers by which fine-tuning chose its end."""
    figures = []
    for name, stage in STAGES.items():
        curve = Curve("loss", *record.series(name, "loss/total"))
        if curve.steps and name != "pretrain":
            svg = draw([curve], describe(f"{stage.title}, loss", [curve]), name=name.replace("_", "-"))
            figures.append({"title": stage.title, "svg": svg, "caption": stage.loss, "labels": ["loss"]})
    labels = {"dev questions": "", "dev questions of new kinds": "_new_kinds"}
    names = {label: f"probe/exact_match{ending}" for label, ending in labels.items()}
    curves = [Curve(label, *record.series("finetune", name), smooth=False) for label, name in names.items()]
    if curves := [curve for curve in curves if curve.steps]:
        title = "Answers while fine-tuning"
        svg = draw(curves, describe(title, curves), name="answers-while-fine-tuning")
        caption = "Exact match of some dev questions; the checkpoint with the best mean is evaluated."
        figures.append({"title": title, "svg": svg, "caption": caption, "labels": [c.label for c in curves]})
    return figures


def risk_figures(record: Record) -> list[dict[str, Any]]:
    """How many answers are wrong when only the surest are given."""
    labels = {"dev": "dev questions", "test": "test questions", "test_new_kinds": "test questions of new kinds"}
    curves = []
    for split, points in (record.results.get("risk_coverage") or {}).items():
        if split in labels and points:
            coverage, wrong, _ = zip(*points, strict=True)
            curves.append(Curve(labels[split], [100 * share for share in coverage], wrong, smooth=False))
    if not curves:
        return []
    title = "Wrong answers, by how many are given"
    ends = (f"{c.label}: {number(c.values[0])} of the surest, {number(c.values[-1])} of all" for c in curves)
    svg = draw(curves, f"{title}. {'; '.join(ends)}.", name="risk", zero=True, across="percent of questions answered")
    caption = (
        "Share of wrong answers among those given, from the most probable one to all. With "
        f"ask --unknown none is given below probability {number(record.number('qa/unknown_below'))}, chosen "
        f"on dev questions: {number(record.number('qa/coverage'))} of the test questions are answered, "
        f"{number(record.number('qa/exact_match_answered'))} of these rightly."
    )
    return [{"title": title, "svg": svg, "caption": caption, "labels": [curve.label for curve in curves]}]


def describe(title: str, curves: Sequence[Curve]) -> str:
    """A figure in words, for those who cannot see it."""
    parts = [
        f"{c.label}: {number(c.values[0])} at step {c.steps[0]}, {number(c.values[-1])} at step {c.steps[-1]}, "
        f"between {number(min(c.values))} and {number(max(c.values))}"
        for c in curves
    ]
    return f"{title}. {'; '.join(parts)}."


def number(value: float | int | None, digits: int = 3, sign: bool = False) -> str:
    """With a true minus sign; `not run` for None."""
    if value is None or not math.isfinite(value):
        return NOT_RUN
    return f"{value:{'+' if sign else ''}z.{digits}f}".replace("-", "−")
