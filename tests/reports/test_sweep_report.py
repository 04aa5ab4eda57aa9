"""The report of a sweep: tables with the right numbers in three forms, and what is not there said plainly."""

import csv
import dataclasses
import html.parser
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from realm_jax.config import Config, Finetune, Index, Pretrain, Questions
from realm_jax.errors import UserError
from realm_jax.jobs import cli
from realm_jax.qa.questions import set_folder, write_questions
from realm_jax.reports import paper
from realm_jax.reports.sweep_record import read_sweep
from realm_jax.reports.sweep_report import curves, staleness, write_sweep_report
from realm_jax.reports.sweep_tables import tables
from realm_jax.workdir import DataDir, SweepDir, write_json
from tests.reports.made_up import ASKED, EVIL, base_of, make, questions

RIGHT = {  # of 8 test questions, for each seed
    "reference": (0.75, 0.5),
    "no_pretraining": (0.25, 0.25),
    "stale_index": (0.5, 0.5),
    "slow": (0.75, None),  # the second run failed
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sweep of made-up runs."""
    root = tmp_path_factory.mktemp("sweeps") / "made_up"
    base = base_of(root)
    none = dataclasses.replace(base, pretrain=Pretrain(steps=0))
    stale = dataclasses.replace(base, index=Index(swap_after=80))
    slow = dataclasses.replace(base, finetune=Finetune(steps=3, learning_rate=1e-6))
    return make(root, dict(zip(RIGHT, (base, none, stale, slow), strict=True)), RIGHT)


@pytest.fixture(scope="module")
def found(folder):
    return {table.name: table for table in tables(read_sweep(folder.root))}


def cell(table, row: str, column: str) -> str:
    (line,) = [line for line in table.rows if line[0].startswith(row)]
    return line[table.columns.index(column)]


def test_means_errors_and_counts(found):
    table = found["variants"]
    assert [row[0] for row in table.rows][0] == "reference (reference)"
    assert cell(table, "reference", "exact match, test") == "0.625 ± 0.125"
    assert cell(table, "no_pretraining", "exact match, test") == "0.250 ± 0.000"
    assert cell(table, "slow", "exact match, test") == "0.750"  # one seed has no error
    assert cell(table, "slow", "seeds done") == "1 of 2: seed 0, failed"
    assert cell(table, "reference", "seeds done") == "2 of 2: seeds 0, 1"
    assert cell(table, "slow", "F1, test") == "–"
    places = {name: cell(table, name, "checkpoint") for name in RIGHT}
    both = "15, 0 of 20"
    assert places == {"reference": both, "no_pretraining": "–", "stale_index": both, "slow": "15 of 20"}
    for name in ("variants", "table2"):
        assert "8 test questions" in found[name].caption and "4 dev questions" in found[name].caption
    for name in ("orderings", "table1"):
        assert "8 test questions" in found[name].caption


def test_differences_are_paired_with_the_reference(folder, found):
    sweep = read_sweep(folder.root)
    assert sweep.difference("no_pretraining", "reference").mean == pytest.approx(-0.375)
    assert sweep.difference("slow", "reference").mean == 0  # over the seed that both have
    text = cell(found["variants"], "no_pretraining", "exact match less the reference's")
    assert re.fullmatch(r"−0\.375 \[−0\.\d{3}, −?0\.\d{3}\], seeds 0, 1", text)
    assert cell(found["variants"], "slow", "exact match less the reference's") == "+0.000 [0.000, 0.000], seed 0"
    assert cell(found["variants"], "reference", "exact match less the reference's") == "–"


def test_what_the_variants_are(found):
    assert found["settings"].rows == [
        ["slow", f"finetune.learning_rate 1e-06 ({Finetune().learning_rate})"],
        ["stale_index", f"index.swap_after 80 ({Index().swap_after})"],
        ["no_pretraining", "pretrain.steps 0 (20)"],
    ]


def test_runs_on_other_data_are_named(folder, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(folder.root, root, symlinks=True)
    assert "Caution" not in write_sweep_report(root).read_text()
    for path in root.glob("runs/*/*/config.json"):
        path.write_text(path.read_text().replace(str(folder.root / "mine"), ""))  # data lie in the workdirs
    for run in root.glob("runs/*/*"):
        place = root / "stages" / "data" / ("changed" if run.match("slow/0") else "first")
        shutil.copytree(folder.root / "mine", place, dirs_exist_ok=True)
        (run / "data").unlink(missing_ok=True)
        (run / "data").symlink_to(place)
    assert "Caution: files of the corpus changed" in write_sweep_report(root).read_text()
    assert [(run.variant, run.seed) for run in read_sweep(root).on_other_data] == [("slow", 0)]


def test_orderings_of_the_paper(found):
    table = found["orderings"]
    assert [row[0] for row in table.rows] == ["reference > no_pretraining", "reference > stale_index"]
    assert {row[2] for row in table.rows} <= {"holds", "cannot be told apart"}
    assert all("seeds 0, 1" in row[1] for row in table.rows)


def test_the_papers_tables_stand_beside_ours(found):
    table = found["table1"]
    assert table.rows[0] == ["ORQA: no_pretraining", "33.3", "36.4", "30.1", "25.0 ± 0.0 (seeds 0, 1)", "–", "–"]
    assert cell(table, "REALM, X = Wikipedia", "here: NQ") == "62.5 ± 12.5 (seeds 0, 1)"
    assert table.rows[2][4:] == ["–", "–", "–"]
    assert "the questions of reference, whatever they are; NQ: 8 test questions; WQ: no test questions" in table.caption
    assert cell(found["table2"], "30 times", "here: exact match") == "25.0 ± 0.0 (seeds 0, 1)"
    assert found["table2"].rows[0][1:3] == ["38.2", "38.5"]
    assert cell(found["table2"], "REALM: reference", "paper: exact match") == "38.2"
    assert "the model is reference with seed 0" in found["table3"].caption
    assert found["table3"].rows[0][1:5] == ["Fermat", "1.1e-14", "1", "0.13"]
    assert found["table3"].rows[1][:6] == ["the [MASK] of x", "y", "0.1", "0.9", "0.5", "0.25"]


def test_an_index_that_was_never_refreshed_is_seen(found):
    table = found["table2"]
    assert table.columns[-2:] == ["here: stale", "here: refreshes"]
    assert table.rows[0][-2:] == ["40", "2 or 3"]
    assert [cell(table, "30 times", f"here: {name}") for name in ("stale", "refreshes")] == ["100", "0"]
    assert [cell(table, "baseline (ORQA)", f"here: {name}") for name in ("stale", "refreshes")] == ["–", "–"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The tables of a sweep of one seed that asks two sets of questions."""
    root = tmp_path_factory.mktemp("sets") / "sets"
    base = base_of(root)
    webquestions = Questions(test=(" of the web",))
    write_questions(
        set_folder(webquestions, DataDir(root / "mine")),
        {split: questions(split, webquestions.test[0]) for split in ASKED},
    )
    rate = dataclasses.replace(base, finetune=Finetune(steps=3, learning_rate=1e-6))
    variants = {"reference": base, "no_pretraining": dataclasses.replace(base, pretrain=Pretrain(steps=0))}
    variants |= {"cc_news": rate}
    variants |= {
        f"{prefix}webquestions{suffix}": dataclasses.replace(variants[name], questions=webquestions)
        for name, prefix, suffix in (
            ("reference", "", ""),
            ("no_pretraining", "", "_no_pretraining"),
            ("cc_news", "cc_news_", ""),
        )
    }
    right = dict(zip(variants, [(1.0,), (0.25,), (0.25,), (0.0,), (0.75,), (1.0,)], strict=True))
    folder = make(root, variants, right)
    return {table.name: table for table in tables(read_sweep(folder.root))}


def test_table_1_has_each_set_of_questions(sets):
    table = sets["table1"]
    assert table.columns[4:] == ["here: NQ", "here: WQ", "here: CT"]
    assert [row[4:] for row in table.rows] == [
        ["25.0 (seed 0)", "75.0 (seed 0)", "–"],
        ["100.0 (seed 0)", "0.0 (seed 0)", "–"],
        ["25.0 (seed 0)", "100.0 (seed 0)", "–"],
    ]
    assert "NQ: 8 test questions; WQ: 8 test questions; CT: no test questions answered yet" in table.caption


def test_other_questions_are_compared_with_their_own_baseline(sets):
    texts = {row[0]: row[-1] for row in sets["variants"].rows}
    assert re.fullmatch(r"−0\.750 \[.*\], seed 0 \(webquestions_no_pretraining\)", texts["webquestions"])
    assert re.fullmatch(r"\+0\.250 \[.*\], seed 0 \(webquestions_no_pretraining\)", texts["cc_news_webquestions"])
    assert texts["webquestions_no_pretraining"] == texts["reference (reference)"] == "–"
    assert re.fullmatch(r"−0\.750 \[.*\], seed 0", texts["no_pretraining"])


def test_one_seed_says_nothing_of_others(sets):
    table = sets["orderings"]
    assert {row[0]: row[2] for row in table.rows} == {
        "reference > no_pretraining": "holds for one seed; of others nothing is known",
        "cc_news > no_pretraining": "cannot be told apart",
        "webquestions > webquestions_no_pretraining": "is the other way round for one seed; of others nothing is known",
        "cc_news_webquestions > webquestions_no_pretraining": "cannot be told apart",
    }
    assert "of one seed it tells of other questions alone" in table.caption


def test_the_papers_numbers_are_those_of_its_page():
    page = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()
    for name, values, _ in (*paper.TABLE_1, *paper.TABLE_2):
        (line,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", page, re.MULTILINE)
        assert [float(value) for value in line.split(" | ")] == list(values)
    assert "1.1 × 10⁻¹⁴" in page and "0.129" in page


def test_costs_count_a_shared_stage_once(found):
    table = found["costs"]
    assert cell(table, "reference", "a whole run") == cell(table, "slow", "a whole run") == "11.5"
    assert "not known" not in table.caption
    assert cell(table, "slow", "Pre-training") == "10.0"  # which the reference made
    assert cell(table, "the whole sweep", "Pre-training") == "60.0"
    assert cell(table, "the whole sweep", "Fine-tuning") == "7.1"
    assert cell(table, "the whole sweep", "a whole run") == "70.1"


def test_a_run_with_a_stage_that_was_made_elsewhere_has_no_sum(folder, tmp_path):
    shutil.copytree(folder.root, tmp_path / "copy", symlinks=True)
    for seed in (0, 1):  # these two made pre-training, for `slow` as well
        path = tmp_path / "copy" / "runs" / "reference" / str(seed) / "run.json"
        path.write_text(json.dumps({"stages": {"finetune": 60.0}}))
    table = {table.name: table for table in tables(read_sweep(tmp_path / "copy"))}["costs"]
    for name in ("reference", "slow"):
        assert [cell(table, name, column) for column in ("Pre-training", "Fine-tuning", "a whole run")] == [
            *("–", "1.0", "–")
        ]
    assert cell(table, "no_pretraining", "a whole run") == "11.5"
    assert "–: not known, as it was made elsewhere (Pre-training)." in table.caption
    assert cell(table, "the whole sweep", "a whole run") == "49.1"


def test_what_failed_is_shown_with_its_last_words(found):
    assert found["unfinished"].rows == [["slow", "1", "failed", "finetune", EVIL]]


def test_curves(folder):
    shown = curves(read_sweep(folder.root))
    titles = [figure["title"] for figure in shown]
    # `slow` has the reference's pre-training, `no_pretraining` has none.
    assert titles == [f"{what}: {v}" for v in ("reference", "stale_index") for what in (
        "The probe's recall of held-out spans", "Retrieval utility in training")]  # fmt: skip
    assert shown[2]["labels"] == ["stale_index", "reference"]
    assert "held-out spans, reference. reference: 0.050 at step 0, 0.250 at step 20" in shown[0]["svg"]
    assert shown[2]["caption"].endswith("Means of seeds 0, 1.")


def test_curves_and_staleness_are_of_the_seeds_that_all_have(folder):
    sweep = read_sweep(folder.root)
    less = dataclasses.replace(sweep, runs=[run for run in sweep.runs if (run.variant, run.seed) != ("stale_index", 0)])
    figures = curves(less)
    assert "reference. reference: 0.050 at step 0" in figures[0]["svg"]
    assert "stale_index: 0.100 at step 0" in figures[2]["svg"] and "reference: 0.100 at step 0" in figures[2]["svg"]
    assert figures[2]["caption"].endswith("Means of seed 1.")
    (figure,) = staleness(less)
    assert "0.500 at staleness 40.0, 0.500 at staleness 100.0" in figure["svg"] and "seed 1," in figure["caption"]
    seeds = {"reference": 0, "stale_index": 1}
    apart = dataclasses.replace(sweep, runs=[run for run in sweep.runs if seeds.get(run.variant) == run.seed])
    assert [figure["labels"] for figure in curves(apart)] == [["reference"]] * 2 + [["stale_index"]] * 2
    assert staleness(apart) == []


def test_exact_match_against_staleness(folder):
    (figure,) = staleness(read_sweep(folder.root))
    assert "0.625 at staleness 40.0, 0.500 at staleness 100.0" in figure["svg"]
    assert "8 test questions" in figure["caption"]
    assert figure["caption"].startswith("Means of seeds 0, 1, 8 test questions.")
    assert figure["caption"].endswith("From left to right: reference, stale_index.")


@pytest.mark.parametrize(
    "parts, shown",
    [
        ({"index": {"refresh": "inline"}}, True),
        ({"index": {"refresh_every": 30}}, True),
        ({"index": {"swap_after": 90, "keep": 5}, "pretrain": {"keep": 9}}, True),
        ({"index": {"dtype": "bfloat16"}}, False),
        ({"index": {"kind": "exact"}}, False),
        ({"index": {"kind": "exact", "refresh_every": 30}}, False),
        ({"pretrain": {"checkpoint_every": 25}}, False),  # the probe goes by it, too
        ({"index": {"refresh_every": 30}, "pretrain": {"candidates": 2}}, False),
    ],
)
def test_only_what_differs_in_refreshing_alone_is_shown_by_its_staleness(folder, parts, shown):
    sweep = read_sweep(folder.root)
    base = next(run.config for run in sweep.runs if run.variant == "reference")
    other = {name: dataclasses.replace(getattr(base, name), **values) for name, values in parts.items()}
    runs = [
        dataclasses.replace(run, config=dataclasses.replace(base, **other)) if run.variant == "stale_index" else run
        for run in sweep.runs
    ]
    assert len(staleness(dataclasses.replace(sweep, runs=runs))) == shown


class Checker(html.parser.HTMLParser):
    """Tags that are not closed, and cells of each row."""

    def __init__(self):
        super().__init__()
        self.open, self.rows, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in ("meta", "br", "img", "path", "use", "rect", "circle"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        elif tag in ("td", "th"):
            self.rows[-1] += 1

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag


def test_page_markdown_and_csv_agree(folder, found, capsys):
    (remarks := folder.report / "remarks.md").parent.mkdir(exist_ok=True)
    remarks.write_text("mine")
    assert cli.main(["report", "--sweep", str(folder.root)]) == 0
    assert remarks.read_text() == "mine"
    assert str(folder.report / "index.html") in capsys.readouterr().out
    text = (folder.report / "index.html").read_text()
    checker = Checker()
    checker.feed(text)
    assert not checker.open and "script" not in checker.tags
    assert checker.rows == [len(table.columns) for table in found.values() for _ in range(1 + len(table.rows))]
    assert not re.search("https?://", re.sub(r'xmlns(:xlink)?="[^"]*"', "", text))
    markdown = (folder.report / "report.md").read_text()
    for table in found.values():
        with open(folder.report / f"{table.name}.csv", newline="") as file:
            assert list(csv.reader(file)) == [table.columns, *table.rows]
        assert f"## {table.title}\n" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len(lines) == sum(2 + len(table.rows) for table in found.values())
    with open(folder.report / "runs.csv", newline="") as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 8
    assert [run["state"] for run in runs if run["variant"] == "slow"] == ["done", "failed"]
    assert (runs[0]["pretrain/checkpoint"], runs[0]["pretrain/last_step"]) == ("15", "20")
    assert runs[0]["qa/exact_match"] == "0.75" and runs[0]["seconds/pretrain"] == "600.0"


def test_a_sweep_that_has_just_begun(tmp_path):
    folder = SweepDir(tmp_path / "new")
    write_json(folder.manifest, {"reference": "a", "variants": ["a"], "seeds": [0]})
    write_json(folder.run("a", 0).config, {"config": dataclasses.asdict(Config(name="a"))})
    write_sweep_report(folder.root)
    assert "| a | 0 | not finished | – | – |" in (folder.report / "report.md").read_text()


def test_a_run_whose_folder_was_deleted_is_not_finished(tmp_path, capsys):
    folder = SweepDir(tmp_path / "new")
    write_json(folder.manifest, {"reference": "a", "variants": ["a"], "seeds": [0, 1]})
    record = folder.run("a", 1).config
    assert cli.main(["report", "--sweep", str(folder.root)]) == 2
    assert "runs/a: no run of this variant is there any more; begin it again" in capsys.readouterr().err
    settings = dataclasses.asdict(Config(name="a", seed=1))
    write_json(record, {"experiment": settings, "config": settings})
    found = read_sweep(folder.root)
    assert [(run.seed, run.config.seed, run.state) for run in found.runs] == [(s, s, "not finished") for s in (0, 1)]
    assert cli.main(["sweep", str(folder.root), "--print"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    write_json(record, {"my": "settings"})
    assert cli.main(["report", "--sweep", str(folder.root)]) == 2
    assert f"{record}: not the settings of a run" in capsys.readouterr().err
    write_json(record, {"config": {"nmae": "a"}})
    assert cli.main(["report", "--sweep", str(folder.root)]) == 2
    assert f"{folder.root}/runs/a/" in (said := capsys.readouterr().err) and "nmae: no such option" in said


def test_a_run_without_its_results_is_not_finished(folder, tmp_path):
    shutil.copytree(folder.root, tmp_path / "copy", symlinks=True)
    workdir = SweepDir(tmp_path / "copy").run("reference", 1)
    workdir.results.write_text(workdir.results.read_text()[:30])
    with pytest.raises(
        UserError, match=r"reference/1/evaluation/results.json:\d+: damaged \(not valid JSON .*delete the file"
    ):
        write_sweep_report(tmp_path / "copy")
    workdir.results.unlink()
    sweep = read_sweep(tmp_path / "copy")
    assert [run.state for run in sweep.runs if run.variant == "reference"] == ["done", "not finished"]
    assert cell({table.name: table for table in tables(sweep)}["variants"], "reference", "seeds done") == (
        "1 of 2: seed 0"
    )


def test_a_folder_that_is_no_sweep(tmp_path, capsys):
    assert cli.main(["report", "--sweep", str(tmp_path)]) == 2
    assert f"{tmp_path}: a folder without sweep.json is no sweep" in capsys.readouterr().err


def test_arms_that_answered_other_questions_are_not_compared(folder, monkeypatch):
    sweep = read_sweep(folder.root)
    run = sweep.of("no_pretraining")[0]
    run.scores["qa/exact_match"] = run.scores["qa/exact_match"][0][:4], np.zeros(4)
    other = sweep.of("no_pretraining")[1]
    other.scores.clear()
    assert sweep.difference("no_pretraining", "reference") is None
