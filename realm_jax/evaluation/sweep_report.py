"""The report of a sweep: its tables beside the paper's and its curves, as a page, as Markdown and as CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realm_jax.evaluation.figures import describe
from realm_jax.evaluation.plots import Curve, draw
from realm_jax.evaluation.record import describe_machine
from realm_jax.evaluation.report import page
from realm_jax.evaluation.sweep_record import RunRecord, SweepRecord, read_sweep
from realm_jax.evaluation.sweep_tables import count, named, runs_csv, tables
from realm_jax.workdir import SweepDir, publish

CURVES = (
    ("probe/span_recall@5", "Recall of held-out spans", "Recall@5 of held-out spans on freshly embedded passages"),
    ("retrieval/utility", "Retrieval utility", "log p(y|x) − log p(y|null, x) of training queries, in nats"),
)
REFRESHING = {"index.refresh", "index.refresh_every", "index.swap_after", "index.keep", "pretrain.keep"}
"""Options by which the index is more or less stale, or which those need, and nothing else changes. By
pretrain.checkpoint_every the probe would go, too, which chooses the checkpoint."""


def write_sweep_report(root: Path) -> Path:
    """Writes report/{index.html, report.md, runs.csv, <table>.csv}, all or nothing; returns the page's path.

    Raises:
      UserError: the folder is not a sweep's, or a file of a run is damaged.
    """
    sweep, folder = read_sweep(root), SweepDir(root)
    found = tables(sweep)
    states = [run.state for run in sweep.runs]
    counts = {state: states.count(state) for state in dict.fromkeys(states)}
    intro = (
        f"{len(sweep.variants)} variants, {len(sweep.runs)} runs: "
        f"{', '.join(f'{count} {state}' for state, count in counts.items())}. Made on {describe_machine()}."
    )
    if others := [f"{run.variant}, seed {run.seed}" for run in sweep.on_other_data]:
        intro += (
            f" Caution: files of the corpus changed while the sweep went on. {'; '.join(others)} had other data than "
            "the reference by the same settings, and are not to be compared with it."
        )
    with publish(folder.report) as files:
        html = page(
            "sweep.html.j2", sweep=sweep, intro=intro, tables=found, curves=curves(sweep), stale=staleness(sweep)
        )
        (files / "index.html").write_text(html, encoding="utf-8")
        parts = [f"# Sweep: {sweep.name}\n\n{intro}\n", *(table.markdown() for table in found)]
        (files / "report.md").write_text("\n".join(parts), encoding="utf-8")
        for table in found:
            (files / f"{table.name}.csv").write_text(table.csv(), encoding="utf-8")
        (files / "runs.csv").write_text(runs_csv(sweep), encoding="utf-8")
    return folder.report / "index.html"


def curves(sweep: SweepRecord) -> list[dict[str, Any]]:
    """For each variant with a pre-training of its own: recall and utility over its steps, beside the reference's."""
    shown, figures = set(), []
    for variant in sweep.variants:
        runs = sweep.of(variant)
        folders = {run.workdir.stage("pretrain").root.resolve() for run in runs}
        if folders <= shown:
            continue
        shown |= folders
        names = [variant] if variant == sweep.reference else [variant, sweep.reference]
        for metric, title, caption in CURVES:
            lines = [Curve(name, *mean_series(sweep.of(name), metric), smooth="probe" not in metric) for name in names]
            lines = [line for line in lines if line.steps]
            if lines and lines[0].label == variant:
                svg = draw(lines, describe(f"{title}, {variant}", lines), name=f"curve-{len(figures)}")
                labels = [line.label for line in lines]
                seeds = "; ".join(f"{label}: {named([run.seed for run in sweep.of(label)])}" for label in labels)
                text = f"{caption}. Means over seeds, {seeds}."
                figures.append({"title": f"{title}: {variant}", "svg": svg, "caption": text, "labels": labels})
    return figures


def mean_series(runs: Sequence[RunRecord], metric: str) -> tuple[list[int], list[float]]:
    """The mean over seeds of a metric of pre-training, at the steps that all of them have."""
    series = [dict(zip(*run.record.series("pretrain", metric), strict=True)) for run in runs]
    steps = sorted(set.intersection(*(set(one) for one in series))) if series else []
    return steps, [float(np.mean([one[step] for one in series])) for step in steps]


def staleness(sweep: SweepRecord) -> list[dict[str, Any]]:
    """Exact match over the index's staleness, of the variants that differ from the reference in nothing else."""
    points = []
    for variant in sweep.variants:
        stale, match = (sweep.numbers(variant, name) for name in ("index/max_staleness_steps", "qa/exact_match"))
        if stale and match and _differs_in_refreshing(sweep, variant):
            points.append((float(np.mean(stale)), float(np.mean(match)), variant))
    if len(points) < 2:
        return []
    at, values, names = zip(*sorted(points), strict=True)
    line = Curve("exact match", at, values, smooth=False)
    title = "Exact match against staleness"
    across = "most steps that the index was stale"
    svg = draw([line], describe(title, [line]).replace("at step", "at staleness"), name="staleness", across=across)
    seeds = [f"{name} ({named([run.seed for run in sweep.of(name)])})" for name in names]
    caption = f"Means over seeds of {count(sweep, names, 'test')}. From left to right: {', '.join(seeds)}."
    return [{"title": title, "svg": svg, "caption": caption, "labels": ["exact match"]}]


def _differs_in_refreshing(sweep: SweepRecord, variant: str) -> bool:
    return all(option in REFRESHING for option in sweep.changes(variant))
