"""The report of a sweep: its tables beside the paper's and its curves, as a page, as Markdown and as CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from realm_jax.reports.figures import describe
from realm_jax.reports.plots import Curve, draw
from realm_jax.reports.run_report import page
from realm_jax.reports.sweep_elsewhere import RUNS_CSV, SCORES_CSV, RunElsewhere, with_reports
from realm_jax.reports.sweep_record import EXACT_MATCH, RunRecord, SweepRecord, matched, read_sweep
from realm_jax.reports.sweep_tables import count, named, runs_csv, scores_csv, tables
from realm_jax.workdir import SweepDir, write_text

CURVES = (
    (
        *("probe/span_recall@5", "The probe's recall of held-out spans"),
        "Recall@5 of held-out spans among the probe's freshly embedded passages, of which there are fewer than in the "
        "corpus: the tables' recall is lower",
    ),
    (
        *("retrieval/utility", "Retrieval utility in training"),
        "log p(y|x) − log p(y|null, x) of the queries that were trained on, in nats per masked wordpiece",
    ),
)
REFRESHING = {"index.refresh", "index.refresh_every", "index.swap_after", "index.keep", "pretrain.keep"}
"""Options by which the index is more or less stale, or which those need, and nothing else changes. By
pretrain.checkpoint_every the probe would go, too, which chooses the checkpoint."""


def write_sweep_report(root: Path, beside: Sequence[Path] = ()) -> Path:
    """Writes report/{runs.csv, scores.csv, <table>.csv, report.md, index.html}, in this order; returns the page's path.

    Args:
      beside: folders of other reports, whose runs count as well where they have not finished here.

    Raises:
      UserError: a folder is not a sweep's or a report's, or a file in it is damaged.
    """
    sweep, folder = with_reports(read_sweep(root), beside), SweepDir(root)
    found = tables(sweep)
    shown = [table for table in found if table.rows]
    states = [run.state for run in sweep.runs]
    counts = {state: states.count(state) for state in dict.fromkeys(states)}
    intro = (
        f"{len(sweep.variants)} variants, {len(sweep.runs)} runs: "
        f"{', '.join(f'{count} {state}' for state, count in counts.items())}."
    )
    if told := [run for run in sweep.runs if isinstance(run, RunElsewhere)]:
        intro += f" What is said of those elsewhere is from {', '.join(sorted({str(run.report) for run in told}))}."
    if unchecked := [run for run in told if "settings" not in run.figures]:
        intro += f" Nobody recorded there with which settings {len(unchecked)} of them were run."
    if machines := sorted({run.record.machine for run in sweep.runs} - {""}):
        intro += f" Made on {'; on '.join(machines)}."
    if others := [f"{run.variant}, seed {run.seed}" for run in sweep.on_other_data]:
        intro += (
            f" Caution: files of the corpus changed while the sweep went on. {'; '.join(others)} had other data than "
            "the reference by the same settings, and are not to be compared with it."
        )
    html = page("sweep.html.j2", sweep=sweep, intro=intro, tables=shown, curves=curves(sweep), stale=staleness(sweep))
    parts = [f"# Sweep: {sweep.name}\n\n{intro}\n", *(table.markdown() for table in shown)]
    measured = {EXACT_MATCH}.union(*(run.scores for run in sweep.runs))
    files = {name: scores_csv(sweep, metric) for metric, name in SCORES_CSV.items() if metric in measured}
    files[RUNS_CSV] = runs_csv(sweep)
    files |= {f"{table.name}.csv": table.csv() for table in found}
    files |= {"report.md": "\n".join(parts), "index.html": html}
    for name, text in files.items():
        write_text(folder.report / name, text)
    return folder.report / "index.html"


def curves(sweep: SweepRecord) -> list[dict[str, Any]]:
    """For each variant with a pre-training of its own: recall and utility over its steps, beside the reference's with
    the same seeds."""
    shown, figures = set(), []
    for variant in sweep.variants:
        runs = sweep.of(variant, "done")
        folders = {run.workdir.stage("pretrain").root.resolve() for run in runs}
        if folders <= shown:
            continue
        shown |= folders
        arms = matched({name: sweep.of(name, "done") for name in (variant, sweep.reference)})
        if not arms[variant]:  # no seed of the reference's
            arms = {variant: runs}
        seeds = named([run.seed for run in arms[variant]])
        for metric, title, caption in CURVES:
            lines = [Curve(name, *mean_series(of, metric), smooth="probe" not in metric) for name, of in arms.items()]
            lines = [line for line in lines if line.steps]
            if lines and lines[0].label == variant:
                svg = draw(lines, describe(f"{title}, {variant}", lines), name=f"curve-{len(figures)}")
                labels = [line.label for line in lines]
                text = f"{caption}. Means of {seeds}."
                figures.append({"title": f"{title}: {variant}", "svg": svg, "caption": text, "labels": labels})
    return figures


def mean_series(runs: Sequence[RunRecord], metric: str) -> tuple[list[int], list[float]]:
    """The mean over seeds of a metric of pre-training, at the steps that all of them have."""
    series = [dict(zip(*run.record.series("pretrain", metric), strict=True)) for run in runs]
    steps = sorted(set.intersection(*(set(one) for one in series))) if series else []
    return steps, [float(np.mean([one[step] for one in series])) for step in steps]


def staleness(sweep: SweepRecord) -> list[dict[str, Any]]:
    """Exact match over the index's staleness, of the variants that differ from the reference in nothing else, with the
    seeds that all have."""
    points, seeds = [], []
    refreshed = [name for name in sweep.variants if _differs_in_refreshing(sweep, name)]
    for variant, runs in matched({name: sweep.of(name) for name in refreshed}).items():
        values = [(run.record.number("index/max_staleness_steps"), run.record.number("qa/exact_match")) for run in runs]
        if values and None not in sum(values, ()):
            points.append((*map(float, np.mean(values, axis=0)), variant))
            seeds = [run.seed for run in runs]
    if len(points) < 2:
        return []
    at, values, names = zip(*sorted(points), strict=True)
    line = Curve("exact match", at, values, smooth=False)
    title = "Exact match against staleness"
    across = "most steps that the index was stale"
    svg = draw([line], describe(title, [line]).replace("at step", "at staleness"), name="staleness", across=across)
    caption = f"Means of {named(seeds)}, {count(sweep, names, 'test')}. From left to right: {', '.join(names)}."
    return [{"title": title, "svg": svg, "caption": caption, "labels": ["exact match"]}]


def _differs_in_refreshing(sweep: SweepRecord, variant: str) -> bool:
    return all(option in REFRESHING for option in sweep.changes(variant))
