"""The tables of a sweep's report, as rows of text that become HTML, Markdown and CSV alike."""

import csv
import dataclasses
import io
from typing import Any

from realm_jax.evaluation import paper
from realm_jax.evaluation.bootstrap import Difference, mean_and_error
from realm_jax.evaluation.figures import STAGE_NAMES, number
from realm_jax.evaluation.record import summary
from realm_jax.evaluation.sweep_record import RunRecord, SweepRecord
from realm_jax.workdir import last_words

NONE = "–"
METRICS = (
    # column, metric, digits
    ("exact match, test", "qa/exact_match", 3),
    ("F1, test", "qa/f1", 3),
    ("exact match, dev", "qa/exact_match_dev", 3),
    ("recall@5, zero-shot", "retrieval/recall@5_zero_shot", 3),
    ("recall@5, fine-tuned", "retrieval/recall@5", 3),
    ("recall@5, held-out spans", "retrieval/span_recall@5", 3),
    ("utility", "retrieval/utility", 2),
    ("p(null)", "retrieval/p_null", 3),
)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; `name` is that of its CSV file."""

    name: str
    title: str
    caption: str
    columns: list[str]
    rows: list[list[str]]

    def csv(self) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.columns, *self.rows])
        return out.getvalue()

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        text = "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
        return f"## {self.title}\n\n{self.caption}\n\n{text}"


def tables(sweep: SweepRecord) -> list[Table]:
    kinds = (variants, settings, orderings, table_1, table_2, table_3, costs, unfinished)
    return [table for table in (make(sweep) for make in kinds) if table.rows]


def variants(sweep: SweepRecord) -> Table:
    """One row a variant."""
    rows = []
    for name in sweep.variants:
        runs = [run for run in sweep.runs if run.variant == name]
        difference = None if name == sweep.reference else sweep.difference(name, sweep.reference)
        rows.append(
            [
                name + (" (reference)" if name == sweep.reference else ""),
                f"{len(sweep.of(name))} of {len(runs)}" + (", failed" if sweep.of(name, "failed") else ""),
                *(mean(sweep, name, metric, digits) for _, metric, digits in METRICS),
                NONE if name == sweep.reference else between(difference),
            ]
        )
    asked = sorted({len(run.questions) for run in sweep.runs if run.state == "done" and run.scores is not None})
    count = f"{' or '.join(map(str, asked))} test questions" if asked else "no question has been answered yet"
    return Table(
        "variants",
        "All variants",
        f"Means over seeds, with their standard error where there are several; {count}. The last column "
        f"is the variant's exact match on test questions less that of {sweep.reference}, with its 95 % interval: a "
        "paired bootstrap over seeds and questions, the questions of one subject drawn together. Recall of questions "
        "is that of test questions.",
        ["variant", "seeds done", *(column for column, _, _ in METRICS), "exact match less the reference's"],
        rows,
    )


def settings(sweep: SweepRecord) -> Table:
    """What each variant is: the options in which it differs from the reference."""
    rows = [
        [name, "; ".join(f"{option} {_value(ours)} ({_value(theirs)})" for option, (theirs, ours) in changes.items())]
        for name in sweep.variants
        if (changes := sweep.changes(name))
    ]
    return Table(
        "settings",
        "What the variants are",
        f"Options in which each differs from {sweep.reference}, whose own value stands in brackets. All options of a "
        "run stand in its config.json.",
        ["variant", "differs in"],
        rows,
    )


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return "none" if value == "" else str(value)


def orderings(sweep: SweepRecord) -> Table:
    """What the paper's table 2 says is better, and whether it is here."""
    rows = []
    for pair in paper.ORDERINGS:
        better, worse = (sweep.reference if name == paper.REALM else name for name in pair)
        if better not in sweep.variants or worse not in sweep.variants:
            continue
        difference = sweep.difference(better, worse)
        if difference is None:
            verdict = "not finished"
        elif not difference.is_sure:
            verdict = "cannot be told apart"
        else:
            verdict = "holds" if difference.mean > 0 else "is the other way round"
        rows.append([f"{better} > {worse}", between(difference), verdict])
    return Table(
        "orderings",
        "The paper's orderings",
        "Exact match on test questions, the first variant's less the second's, with the 95 % interval as above.",
        ["ordering", "difference", "here it"],
        rows,
    )


def table_1(sweep: SweepRecord) -> Table:
    rows = [
        [system, *(f"{value:.1f}" for value in values), percent(sweep, variant, "qa/exact_match")]
        for system, values, variant in _with_names(sweep, paper.TABLE_1)
    ]
    return Table(
        "table1",
        "Table 1 of the paper: exact match on test questions",
        "In per cent. The paper's NaturalQuestions (NQ), WebQuestions (WQ), CuratedTREC (CT), and the questions of "
        "this sweep: systems may be compared within a column, not across.",
        ["system", "paper: NQ", "paper: WQ", "paper: CT", "here"],
        rows,
    )


def table_2(sweep: SweepRecord) -> Table:
    rows = [
        [
            system,
            *(f"{value:.1f}" for value in values),
            percent(sweep, variant, "qa/exact_match_dev"),
            percent(sweep, variant, "retrieval/recall@5_zero_shot"),
        ]
        for system, values, variant in _with_names(sweep, paper.TABLE_2)
    ]
    return Table(
        "table2",
        "Table 2 of the paper: ablations",
        "In per cent. The paper's are NaturalQuestions' dev questions; here exact match is of dev questions, recall "
        "before fine-tuning of test questions.",
        ["ablation", "paper: exact match", "paper: recall@5", "here: exact match", "here: recall@5"],
        rows,
    )


def table_3(sweep: SweepRecord) -> Table:
    """The paper's example, and some held-out ones of the reference's first finished run."""
    done = sweep.of(sweep.reference)
    ours = done[0].record.results.get("readings", []) if done else []
    rows = [
        [
            example["text"],
            example["truth"],
            *(f"{example[name]:.2g}" for name in ("null", "best", "marginal")),
            f"{example['p_z']:.2g}" if "p_z" in example else NONE,
            f"{example['title']}: {example['body']}" if "title" in example else "paper: about Fermat primes",
        ]
        for example in [paper.TABLE_3, *ours]
    ]
    return Table(
        "table3",
        "Table 3 of the paper: what a passage is worth",
        "p(y|x) of what is hidden: under the null passage (the paper: BERT), under the passage that makes it "
        "likeliest, and summed over all passages read. The first is the paper's, the others are held-out sentences "
        "here, drawn at random.",
        ["sentence", "hidden", "null passage", "best passage", "marginal", "p(z|x) of the best", "best passage is"],
        rows if ours else [],
    )


def costs(sweep: SweepRecord) -> Table:
    """Minutes of each stage, mean over the runs of a variant; the last row counts each stage once."""
    jobs = list(dict.fromkeys(job for job in STAGE_NAMES for made, _ in sweep.seconds if made == job))
    rows, elsewhere = [], {}
    for name in sweep.variants:
        runs = [sweep.cost(run) for run in sweep.of(name)]
        if runs:
            each = {job: [run[job] for run in runs if job in run] for job in jobs}
            whole = minutes(sum(sum(run.values()) for run in runs) / len(runs))
            missing = {STAGE_NAMES[job]: None for run in sweep.of(name) for job in sweep.jobs_without_cost(run)}
            elsewhere |= missing
            means = [minutes(sum(v) / len(v)) if v else NONE for v in each.values()]
            rows.append([name, *means, NONE if missing else whole])
    sums = [sum(sum(seconds) for (made, _), seconds in sweep.seconds.items() if made == job) for job in jobs]
    if rows:
        rows.append(["the whole sweep", *map(minutes, sums), minutes(sum(sums))])
    dash = f" {NONE}: not known, as it was made elsewhere ({', '.join(elsewhere)})." if elsewhere else ""
    return Table(
        "costs",
        "What a run costs",
        "Wall-clock minutes, means over the finished runs of a variant, with the stages that it shares with others as "
        "if it had made them itself; pre-training includes the builder beside it. Runs at the same time slow each "
        "other. The last row is what the sweep took, failed and unfinished runs and what was made again included."
        + dash,
        ["variant", *(STAGE_NAMES[job] for job in jobs), "a whole run"],
        rows,
    )


def unfinished(sweep: SweepRecord) -> Table:
    rows = [
        [run.variant, str(run.seed), run.state, run.workdir.failed_job or NONE, last_words(run.workdir.log) or NONE]
        for run in sweep.runs
        if run.state != "done"
    ]
    return Table(
        "unfinished",
        "Runs that are not finished",
        "The last line of the log is that of a job. The same `realm sweep` tries failed runs again.",
        ["variant", "seed", "state", "job", "last line of its log"],
        rows,
    )


def runs_csv(sweep: SweepRecord) -> str:
    """One line a run, with every figure of it."""
    lines = [_line(sweep, run) for run in sweep.runs]
    names = list(dict.fromkeys(name for line in lines for name in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _line(sweep: SweepRecord, run: RunRecord) -> dict[str, Any]:
    line: dict[str, Any] = {"variant": run.variant, "seed": run.seed, "state": run.state}
    if run.state == "done":
        figures = summary(run.record)
        line |= {name: value for name, value in figures.items() if name not in ("config", "seed") and value is not None}
        line |= {f"seconds/{job}": round(seconds, 1) for job, seconds in sweep.cost(run).items()}
    return line


def _with_names(sweep: SweepRecord, rows: tuple) -> list[tuple]:
    """A table of the paper, its last column the name of the variant here."""
    return [(*row[:-1], sweep.reference if row[-1] == paper.REALM else row[-1]) for row in rows]


def mean(sweep: SweepRecord, variant: str, metric: str, digits: int = 3, scale: float = 1.0) -> str:
    """`0.712 ± 0.008`, over the variant's finished seeds."""
    values = [scale * value for value in sweep.numbers(variant, metric)]
    if not values:
        return NONE
    average, error = mean_and_error(values)
    return number(average, digits) + (f" ± {number(error, digits)}" if error is not None else "")


def percent(sweep: SweepRecord, variant: str, metric: str) -> str:
    return mean(sweep, variant, metric, 1, 100.0)


def between(difference: Difference | None) -> str:
    """`+0.052 [0.021, 0.083]`."""
    if difference is None:
        return NONE
    return f"{number(difference.mean, 3, sign=True)} [{number(difference.low)}, {number(difference.high)}]"


def minutes(seconds: float) -> str:
    return number(seconds / 60, 1)
