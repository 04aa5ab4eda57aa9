"""The tables of a sweep's report, as rows of text that become HTML, Markdown and CSV alike."""

import csv
import dataclasses
import io
import itertools
from collections.abc import Sequence
from typing import Any

from realm_jax.errors import last_words
from realm_jax.evaluation.bootstrap import mean_and_error
from realm_jax.reports import paper
from realm_jax.reports.figures import number
from realm_jax.reports.run_record import summary
from realm_jax.reports.sweep_elsewhere import COUNTS, RunElsewhere
from realm_jax.reports.sweep_record import ELSEWHERE, EXACT_MATCH, FINISHED, Asked, RunRecord, SweepRecord
from realm_jax.stages import TITLES

NONE = "–"
INTERVAL = (
    "The 95 % interval is a paired bootstrap over seeds and questions, the questions of one subject drawn together: of "
    "one seed it tells of other questions alone, of two or three it is somewhat too short. Where answers are not at "
    "hand question by question, nothing is compared."
)
METRICS = (
    # column, metric, digits
    ("exact match, test", "qa/exact_match", 3),
    ("F1, test", "qa/f1", 3),
    ("exact match, dev", "qa/exact_match_dev", 3),
    ("exact match, test of new kinds", "qa/exact_match_new_kinds", 3),
    ("exact match, dev of new kinds", "qa/exact_match_dev_new_kinds", 3),
    ("recall@5, zero-shot", "retrieval/recall@5_zero_shot", 3),
    ("recall@5, fine-tuned", "retrieval/recall@5", 3),
    ("recall@5 of new kinds, zero-shot", "retrieval/recall@5_new_kinds_zero_shot", 3),
    ("recall@5 of new kinds, fine-tuned", "retrieval/recall@5_new_kinds", 3),
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
    return [make(sweep) for make in (variants, settings, orderings, table_1, table_2, table_3, costs, unfinished)]


def variants(sweep: SweepRecord) -> Table:
    """One row a variant; of new kinds of question columns only where some run answered such."""
    new_kinds, rows = any(sweep.numbers(name, "qa/exact_match_new_kinds") for name in sweep.variants), []
    metrics = [metric for metric in METRICS if new_kinds or "_new_kinds" not in metric[1]]
    less = ("qa/exact_match_new_kinds", "retrieval/recall@5_new_kinds") if new_kinds else ()
    for name in sweep.variants:
        other = paper.BASELINES.get(name, sweep.reference)
        beside = f" ({other})" if other != sweep.reference and sweep.pairs(name, other) else ""
        rows.append(
            [
                name + (" (reference)" if name == sweep.reference else ""),
                progress(sweep, name),
                *(mean(sweep, name, metric, digits) for _, metric, digits in metrics),
                checkpoints(sweep, name),
                NONE if name == sweep.reference else compared(sweep, name, other)[0] + beside,
                *(NONE if name == sweep.reference else compared(sweep, name, other, metric)[0] for metric in less),
            ]
        )
    return Table(
        "variants",
        "All variants",
        "Means over the seeds done, with their standard error where there are several; "
        f"{count(sweep, sweep.variants, 'test')} and {count(sweep, sweep.variants, 'dev')}. The last column is the "
        f"variant's exact match on test questions less that of {sweep.reference}, or of the baseline in brackets where "
        f"it answered other questions, over the seeds that both have. {INTERVAL} Zero-shot and fine-tuned recall are "
        "of test questions. Held-out spans are those that the masking filter lets through; utility is log p(y|x) − "
        "log p(y|null, x) of held-out sentences, in nats per masked wordpiece, and p(null) the null passage's "
        "probability there. The checkpoint is the step of pre-training whose parameters went on, of all steps taken: "
        "0 is the start, as if there had been no pre-training.",
        [
            *("variant", "seeds done", *(column for column, _, _ in metrics)),
            *("checkpoint", "exact match less the reference's"),
            *(f"{metric.split('/')[1]} less the reference's" for metric in less),
        ],
        rows,
    )


def settings(sweep: SweepRecord) -> Table:
    """Each variant: the options in which it differs from the reference."""
    rows = [
        [name, "; ".join(f"{option} {_value(ours)} ({_value(theirs)})" for option, (theirs, ours) in changes.items())]
        for name in sweep.variants
        if (changes := sweep.changes(name))
    ]
    return Table(
        "settings",
        "What the variants are",
        f"Options in which each differs from {sweep.reference}, whose own value is in brackets. All options of a "
        "run are in its config.json.",
        ["variant", "differs in"],
        rows,
    )


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return "none" if value == "" else str(value)


def orderings(sweep: SweepRecord) -> Table:
    """The orderings of the paper's tables, and whether they hold here."""
    rows, shown = [], {}
    for pair in paper.ORDERINGS:
        better, worse = (_here(sweep, name) for name in pair)
        if better not in sweep.variants or worse not in sweep.variants:
            continue
        rows.append([f"{better} > {worse}", *compared(sweep, better, worse)])
        shown |= {better: None, worse: None}
    return Table(
        "orderings",
        "The paper's orderings",
        f"Exact match, the first variant's less the second's, over the seeds that both have; "
        f"{count(sweep, list(shown), 'test')}. {INTERVAL}",
        ["ordering", "difference", "here it"],
        rows,
    )


def table_1(sweep: SweepRecord) -> Table:
    sets = ("NQ", "WQ", "CT")
    names = [[_here(sweep, name) for name in row] for _, _, row in paper.TABLE_1]
    rows = [
        [
            f"{system}: {here[0]}",
            *(f"{value:.1f}" for value in values),
            *(percent(sweep, name, "qa/exact_match") for name in here),
        ]
        for (system, values, _), here in zip(paper.TABLE_1, names, strict=True)
    ]
    columns = zip(sets, zip(*names, strict=True), strict=True)
    asked = "; ".join(f"{one}: {count(sweep, column, 'test')}" for one, column in columns)
    return Table(
        "table1",
        "Table 1 of the paper: exact match on test questions",
        "In per cent: means over the seeds named, with their standard error where there are several. The paper's "
        "NaturalQuestions (NQ), WebQuestions (WQ), CuratedTREC (CT). Here NQ stands for the questions of "
        f"{sweep.reference}, whatever they are; {asked}. Systems may be compared within a column, not across; the "
        "paper's orderings have their differences.",
        ["system", *(f"paper: {name}" for name in sets), *(f"here: {name}" for name in sets)],
        rows,
    )


def table_2(sweep: SweepRecord) -> Table:
    names = [_here(sweep, name) for _, _, name in paper.TABLE_2]
    rows = [
        [
            f"{system}: {name}",
            *(f"{value:.1f}" for value in values),
            percent(sweep, name, "qa/exact_match_dev"),
            percent(sweep, name, "retrieval/recall@5_zero_shot"),
            *refreshing(sweep, name),
        ]
        for (system, values, _), name in zip(paper.TABLE_2, names, strict=True)
    ]
    return Table(
        "table2",
        "Table 2 of the paper: ablations",
        "In per cent: means over the seeds named, with their standard error where there are several. The paper's are "
        f"NaturalQuestions' dev questions; here exact match is of {count(sweep, names, 'dev')}, recall before "
        f"fine-tuning of {count(sweep, names, 'test')}. Stale is the age, in steps, of the oldest index that "
        "was searched: the paper's is made anew about every 500 steps, and 30 times as seldom in the last row. With "
        "0 refreshes the run ended before its index was made anew, however seldom that was meant to be.",
        [
            *("ablation", "paper: exact match", "paper: recall@5", "here: exact match", "here: recall@5"),
            *("here: stale", "here: refreshes"),
        ],
        rows,
    )


def table_3(sweep: SweepRecord) -> Table:
    """The paper's example, and some held-out ones of the reference's first finished run."""
    done = sweep.of(sweep.reference, "done")
    ours = done[0].record.results.get("readings", []) if done else []
    whose = f"{sweep.reference} with seed {done[0].seed}" if done else sweep.reference
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
        f"here, drawn at random; the model is {whose}.",
        ["sentence", "hidden", "null passage", "best passage", "marginal", "p(z|x) of the best", "best passage is"],
        rows if ours else [],
    )


def costs(sweep: SweepRecord) -> Table:
    """Minutes of each stage, mean over the runs of a variant; the last row counts each stage once."""
    jobs = list(dict.fromkeys(job for job in TITLES for made, _ in sweep.seconds if made == job))
    rows, elsewhere = [], {}
    for name in sweep.variants:
        done = sweep.of(name, "done")
        runs = [sweep.cost(run) for run in done]
        if runs:
            each = {job: [run[job] for run in runs if job in run] for job in jobs}
            whole = minutes(sum(sum(run.values()) for run in runs) / len(runs))
            missing = {TITLES[job]: None for run in done for job in sweep.jobs_without_cost(run)}
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
        "other. The last row is what the sweep took, failed and unfinished runs and what was made again included; runs "
        "elsewhere are not." + dash,
        ["variant", *(TITLES[job] for job in jobs), "a whole run"],
        rows,
    )


def unfinished(sweep: SweepRecord) -> Table:
    rows = [
        [run.variant, str(run.seed), run.state, run.workdir.failed_job or NONE, last_words(run.workdir.log) or NONE]
        for run in sweep.runs
        if run.state not in FINISHED
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
    if isinstance(run, RunElsewhere):
        return run.figures | line
    if run.state == "done":
        line["settings"] = run.settings
        figures = summary(run.record)
        line |= {name: value for name, value in figures.items() if name not in ("config", "seed") and value is not None}
        line |= {f"{COUNTS}{name}": value for name, value in run.record.results.get("counts", {}).items()}
        if run.checkpoint:
            line |= dict(zip(("pretrain/checkpoint", "pretrain/last_step"), run.checkpoint, strict=True))
        line |= {f"seconds/{job}": round(seconds, 1) for job, seconds in sweep.cost(run).items()}
    return line


def scores_csv(sweep: SweepRecord, metric: str) -> str:
    """One line for each test question, with a column `variant/seed` for each run: 0 or 1, whether its answer was right,
    or found; empty where it was asked other questions. So runs can be compared where their folders are not."""
    runs = [run for run in sweep.runs if metric in run.scores]
    columns = [f"{run.variant}/{run.seed}" for run in runs]
    answers = [dict(zip(asked, map(int, right), strict=True)) for asked, right in (run.scores[metric] for run in runs)]
    lines = [[*asked, *(of.get(asked, "") for of in answers)] for asked in dict.fromkeys(itertools.chain(*answers))]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[*Asked._fields, *columns], *lines])
    return out.getvalue()


def _here(sweep: SweepRecord, name: str) -> str:
    """The variant that a name in `paper` means."""
    return sweep.reference if name == paper.REALM else name


def named(seeds: Sequence[int]) -> str:
    """`seed 0`, `seeds 0, 1`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def progress(sweep: SweepRecord, variant: str) -> str:
    """`2 of 3: seeds 0, 2 (2 elsewhere), failed`."""
    done = [run.seed for run in sweep.of(variant)]
    elsewhere = ", ".join(str(run.seed) for run in sweep.of(variant, ELSEWHERE))
    text = f"{len(done)} of {sum(run.variant == variant for run in sweep.runs)}"
    text += (f": {named(done)}" if done else "") + (f" ({elsewhere} elsewhere)" if elsewhere else "")
    return text + (", failed" if sweep.of(variant, "failed") else "")


def count(sweep: SweepRecord, variants: Sequence[str], split: str) -> str:
    """`773 test questions`: of those that these variants answered."""
    if asked := sweep.asked(variants, split):
        return f"{' or '.join(map(str, asked))} {split} questions"
    answered = any(sweep.of(name) for name in variants)
    return f"{split} questions whose number nobody recorded" if answered else f"no {split} questions answered yet"


def mean(sweep: SweepRecord, variant: str, metric: str, digits: int = 3, scale: float = 1.0) -> str:
    """`0.712 ± 0.008`, over the variant's finished seeds."""
    values = [scale * value for value in sweep.numbers(variant, metric)]
    if not values:
        return NONE
    average, error = mean_and_error(values)
    return number(average, digits) + (f" ± {number(error, digits)}" if error is not None else "")


def percent(sweep: SweepRecord, variant: str, metric: str) -> str:
    """`71.2 ± 0.8 (seeds 0, 1)`."""
    seeds = [run.seed for run in sweep.of(variant) if run.record.number(metric) is not None]
    return mean(sweep, variant, metric, 1, 100.0) + (f" ({named(seeds)})" if seeds else "")


def compared(sweep: SweepRecord, variant: str, other: str, metric: str = EXACT_MATCH) -> tuple[str, str]:
    """`+0.052 [0.021, 0.083], seeds 0, 1`, the difference of two variants; and whether the first is better. One seed
    says nothing of others."""
    difference = sweep.difference(variant, other, metric)
    if difference is None:
        return NONE, "not compared"
    seeds = [run.seed for run, _ in sweep.pairs(variant, other, metric)]
    interval = f"[{number(difference.low)}, {number(difference.high)}]"
    verdict = "holds" if difference.mean > 0 else "is the other way round"
    if not difference.is_sure:
        verdict = "cannot be told apart"
    elif len(seeds) == 1:
        verdict += " for one seed; of others nothing is known"
    return f"{number(difference.mean, 3, sign=True)} {interval}, {named(seeds)}", verdict


def refreshing(sweep: SweepRecord, variant: str) -> tuple[str, str]:
    """Most steps that the index was stale in pre-training, and how often a newer one took its place: over all seeds."""
    stale, used = (sweep.numbers(variant, f"index/{name}") for name in ("max_staleness_steps", "snapshots_used"))
    if not stale or not any(used):  # no pre-training, or none that is done
        return NONE, NONE
    return number(max(stale), 0), " or ".join(str(times) for times in sorted({int(value) - 1 for value in used}))


def checkpoints(sweep: SweepRecord, variant: str) -> str:
    """`120, 190 of 190`, of each seed."""
    found = [run.checkpoint for run in sweep.of(variant) if run.checkpoint]
    if not found:
        return NONE
    steps, last = zip(*found, strict=True)
    return f"{', '.join(map(str, steps))} of {' or '.join(map(str, sorted(set(last))))}"


def minutes(seconds: float) -> str:
    return number(seconds / 60, 1)
