"""The page that a person looks at after a run, and the same figures for a program: report/{index.html, summary.json}.

`index.html` is one file without scripts, fonts or pictures from elsewhere. A stage that was not run is shown as such.
"""

import math
from pathlib import Path
from typing import Any

from realm_jax.config import Config
from realm_jax.evaluation.recall import DEPTHS, SUFFIXES, TEST_SPLITS
from realm_jax.remote import AnyPath
from realm_jax.reports.examples import example
from realm_jax.reports.figures import NOT_RUN, loss_figures, number, pretraining_figures, risk_figures
from realm_jax.reports.run_record import Record, read_record, summary
from realm_jax.settings import flatten
from realm_jax.stages import TITLES
from realm_jax.training.metrics import duration
from realm_jax.workdir import Workdir, write_json, write_text

LABELS = {
    "tokens": "the wordpieces of an answer follow one another in the passage",
    "normalized": "the lower-cased words of an answer, punctuation and accents included, are in the passage's body",
    "bytes": "the bytes of an answer are in the passage's body",
    "regex": "an answer, a regular expression, matches in the passage",
}


def write_report(config: Config, workdir: Workdir) -> AnyPath:
    """Writes report/summary.json, then report/index.html, by which the run is finished; returns the page's path.

    Raises:
      UserError: a file of the run is no JSON.
    """
    record = read_record(config, workdir)
    page = render(record)
    write_json(workdir.report / "summary.json", summary(record))
    write_text(workdir.report / "index.html", page)
    return workdir.report / "index.html"


def render(record: Record) -> str:
    """The whole page."""
    return page(
        "report.html.j2",
        record=record,
        options=flatten(record.config),
        counts=record.results.get("counts") or {},
        key_figures=key_figures(record),
        verdict=verdict(record),
        questions_tables=questions_tables(record),
        spans_table=spans_table(record),
        risk=risk_figures(record),
        labels=LABELS.get(record.results.get("qa/labels", ""), ""),
        figures=pretraining_figures(record),
        losses=loss_figures(record),
        examples=[example(item) for item in record.results.get("examples") or []],
        stages=stage_times(record),
        not_run=NOT_RUN,
    )


def page(template: str, **values: Any) -> str:
    """A page of our own templates. Jinja escapes every value; only the curves of `plots` are trusted as markup."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": lambda seconds: duration(float(seconds)), "curves": Markup}
    return environment.get_template(template).render(**values)


def standard_error(share: float | None, count: int | None) -> float | None:
    """Of a share of `count` independent questions."""
    is_share = share is not None and 0 <= share <= 1
    return math.sqrt(share * (1 - share) / count) if is_share and count is not None and count > 0 else None


def key_figures(record: Record) -> list[dict[str, str]]:
    """The handful that answers "did it work, at which cost?"."""

    def figure(label, name, against, other, digits=3):
        now, then = record.number(name), record.number(other)
        detail = f"{against} {number(then, digits)}" if against and now is not None else ""
        return {"label": label, "value": number(now, digits), "detail": detail}

    new_kinds = [
        figure("Exact match, new kinds", "qa/exact_match_new_kinds", "seen kinds", "qa/exact_match"),
        figure("Recall@5, new kinds", "retrieval/recall@5_new_kinds", "BM25", "bm25/recall@5_new_kinds"),
    ]
    minutes, peak = record.number("time/minutes"), record.number("memory/peak_gib")
    return [
        figure("Exact match, test", "qa/exact_match", "closed book", "qa/exact_match_closed_book"),
        figure("Recall@5, test", "retrieval/recall@5", "BM25", "bm25/recall@5"),
        *(new_kinds if "test_new_kinds" in (record.results.get("counts") or {}) else ()),
        figure("Recall@5, held-out spans", "retrieval/span_recall@5", "at the start", "retrieval/span_recall@5_start"),
        figure("Retrieval utility, nats", "retrieval/utility", "at the start", "retrieval/utility_start", 2),
        {
            "label": "Time and peak memory",
            "value": NOT_RUN if minutes is None else f"{minutes:.1f} min",
            "detail": "" if peak is None else f"{peak:.1f} GiB",
        },
    ]


def verdict(record: Record) -> str:
    """A sentence on utility and recall together: neither does alone."""
    names = ("retrieval/span_recall@5_start", "retrieval/span_recall@5", "retrieval/utility_start", "retrieval/utility")
    recall0, recall, utility0, utility = (record.number(name) for name in names)
    if recall0 is None or recall is None or utility0 is None or utility is None:
        return ""
    facts = (
        f"Over pre-training, recall@5 of held-out spans on freshly embedded passages went from {number(recall0)} to "
        f"{number(recall)}, and retrieval utility from {number(utility0, 2)} to {number(utility, 2)}. "
    )
    if recall > recall0 and utility > max(0.0, utility0):
        return (
            facts
            + "Passages that hold the answer are found more often, and they help more: REALM is doing what it is for."
        )
    if recall <= recall0 and utility > utility0:
        return facts + (
            "Beware: passages help more although those that hold the answer are found no more often. The retriever "
            "learned something else, such as fetching the form of an answer; this is not retrieval."
        )
    if recall > recall0:
        return facts + "Passages that hold the answer are found more often, but the reader does not gain from them."
    return facts + "Pre-training did not teach the retriever anything on this data."


def questions_tables(record: Record) -> list[dict[str, Any]]:
    """One for each set of test questions, the second where there is one."""
    counts = record.results.get("counts") or {}
    return [
        {
            "split": split,
            "count": counts.get(split),
            "rows": questions_table(record, counts.get(split), SUFFIXES[split]),
            "dev": record.number(f"qa/exact_match_dev{SUFFIXES[split]}"),
        }
        for split in TEST_SPLITS
        if split == "test" or split in counts
    ]


def questions_table(record: Record, count: int | None, ending: str = "") -> list[dict[str, Any]]:
    """One row per system; a cell is (value, standard error), or None where the system has no such figure."""

    def cells(prefix, suffix):
        values = [record.number(f"{prefix}/recall@{k}{ending}{suffix}") for k in DEPTHS]
        return [(value, standard_error(value, count)) for value in values]

    def answers(suffix):
        match = record.number(f"qa/exact_match{suffix}{ending}")
        f1 = None if record.results.get("qa/match") == "regex" else (record.number(f"qa/f1{suffix}{ending}"), None)
        return [(match, standard_error(match, count)), f1]

    tuned = ("title weight", "bm25/title_weight"), ("k1", "bm25/k1"), ("b", "bm25/b")
    settings = ", ".join(f"{label} {record.number(name):g}" for label, name in tuned if record.number(name) is not None)
    weight, together = record.number("hybrid/bm25_weight"), []
    if weight is not None:
        together = [
            {"name": "Vectors", "note": "exact search", "cells": [*cells("vectors", ""), None, None]},
            {"name": "Hybrid", "note": f"{weight:g} BM25", "cells": [*cells("hybrid", ""), None, None]},
        ]
    closed = answers("_closed_book")
    if "qa/f1_closed_book" not in record.results:
        closed[1] = None
    return [
        {"name": "Closed book", "note": "no passages", "cells": [None] * 4 + closed},
        {"name": "BM25", "note": settings or "lexical", "cells": [*cells("bm25", ""), None, None]},
        *together,
        {"name": "Warm start", "note": "before training", "cells": [*cells("retrieval", "_start"), None, None]},
        {"name": "REALM, zero-shot", "note": "pre-trained", "cells": [*cells("retrieval", "_zero_shot"), None, None]},
        {"name": "REALM", "note": "fine-tuned", "cells": [*cells("retrieval", ""), *answers("")]},
    ]


def spans_table(record: Record) -> list[dict[str, Any]]:
    rows = (
        ("Recall@5", "spans whose answer another passage holds", "retrieval/span_recall@5", 3),
        ("Recall@5, unfiltered", "all salient spans", "retrieval/unfiltered_span_recall@5", 3),
        ("Retrieval utility", "nats per masked wordpiece", "retrieval/utility", 2),
        ("p(null)", "mean over queries", "retrieval/p_null", 2),
    )
    table = []
    for name, note, key, digits in rows:
        start, end = record.number(f"{key}_start"), record.number(key)
        change = None if start is None or end is None else end - start
        table.append({"name": name, "note": note, "start": start, "end": end, "change": change, "digits": digits})
    return table


def stage_times(record: Record) -> list[dict[str, Any]]:
    stages = {name: s for name, s in (record.run.get("stages") or {}).items() if isinstance(s, int | float)}
    longest = max(stages.values(), default=0.0) or 1.0
    return [
        {"name": TITLES.get(name, name.replace("_", " ")), "seconds": s, "percent": round(100 * s / longest, 1)}
        for name, s in stages.items()
    ]
