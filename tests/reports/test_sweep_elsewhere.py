"""A sweep over several machines: what their reports tell is enough for the tables of the whole."""

import csv
import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from realm_jax.config import Index, Pretrain
from realm_jax.errors import UserError
from realm_jax.jobs import cli
from realm_jax.reports.sweep_elsewhere import with_reports
from realm_jax.reports.sweep_record import read_sweep
from realm_jax.reports.sweep_report import curves, write_sweep_report
from realm_jax.reports.sweep_tables import tables
from realm_jax.workdir import SweepDir
from tests.reports.made_up import base_of, make

RIGHT = {"reference": (0.75, 0.5), "no_pretraining": (0.25, 0.375), "stale_index": (0.5, 0.5)}
OF_FIGURES = ("variants", "settings", "orderings", "table1", "table2")
"""Tables that need no folder of a run."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep all of whose runs have finished, and its report."""
    root = tmp_path_factory.mktemp("sweeps") / "whole"
    base = base_of(root)
    none = dataclasses.replace(base, pretrain=Pretrain(steps=0))
    stale = dataclasses.replace(base, index=Index(swap_after=80))
    folder = make(root, dict(zip(RIGHT, (base, none, stale), strict=True)), RIGHT)
    write_sweep_report(root)
    return folder


@pytest.fixture
def part(whole, tmp_path):
    """Another machine's: only the reference and one seed of another variant have finished there."""
    shutil.copytree(whole.root, tmp_path / "part", symlinks=True, ignore=shutil.ignore_patterns("index.html"))
    folder = SweepDir(tmp_path / "part")
    for variant, seed in (("reference", 0), ("reference", 1), ("no_pretraining", 1)):
        (folder.run(variant, seed).report / "index.html").touch()
    shutil.rmtree(folder.report)
    return folder


@pytest.fixture
def report(whole, tmp_path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(whole.report, tmp_path / "report"))


def of_figures(sweep) -> list:
    return [table for table in tables(sweep) if table.name in OF_FIGURES]


def without_marks(sweep) -> str:
    """The same, but for which seeds are elsewhere."""
    return re.sub(r" \([0-9, ]+ elsewhere\)", "", repr(of_figures(sweep)))


def test_tables_are_those_of_the_whole_sweep(whole, part):
    alone = read_sweep(part.root)
    beside = with_reports(alone, [whole.report])
    assert sorted({run.state for run in alone.runs}) == ["done", "not finished"]
    assert sorted({run.state for run in beside.runs}) == ["done", "elsewhere"]
    assert without_marks(beside) == without_marks(read_sweep(whole.root)) != without_marks(alone)
    assert beside.difference("stale_index", "no_pretraining") is not None  # both elsewhere, but for one seed
    (done,) = [row[1] for row in of_figures(beside)[0].rows if row[0] == "no_pretraining"]
    assert done == "2 of 2: seeds 0, 1 (0 elsewhere)"


def test_a_report_on_reports_can_be_gone_on_with(whole, part):
    assert cli.main(["report", "--sweep", str(part.root), "--beside", str(whole.report)]) == 0
    page = (part.report / "index.html").read_text()
    assert f"3 done, 3 elsewhere. What is said of those elsewhere is from {whole.report}." in page
    assert "Nobody recorded" not in page
    for name in ("runs.csv", "scores.csv"):
        theirs, ours = ((folder / name).read_text().splitlines() for folder in (whole.report, part.report))
        assert len(theirs) == len(ours) and sorted(theirs[0].split(",")) == sorted(ours[0].split(","))
    for path in part.root.glob("runs/*/*/report/index.html"):
        path.unlink()
    again = with_reports(read_sweep(part.root), [part.report])
    assert without_marks(again) == without_marks(read_sweep(whole.root))


def test_what_finished_here_counts_and_of_reports_the_first(whole, part, report):
    runs, zero_shot = report / "runs.csv", "retrieval/recall@5_zero_shot"
    lines = list(csv.DictReader(runs.read_text().splitlines()))
    with open(runs, "w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(line | {zero_shot: "0.999"} for line in lines)
    both = [report, whole.report]
    first, second = (with_reports(read_sweep(part.root), reports) for reports in (both, both[::-1]))
    assert first.numbers("no_pretraining", zero_shot) == [0.999, 0.5]
    assert second.numbers("no_pretraining", zero_shot) == [0.5, 0.5]
    (report / "scores.csv").unlink()  # without them, it gives way
    third = with_reports(read_sweep(part.root), both)
    assert (
        third.numbers("no_pretraining", zero_shot) == [0.5, 0.5]
        and len(third.pairs("no_pretraining", "reference")) == 2
    )


def test_curves_and_costs_are_of_runs_that_are_here(whole, part):
    beside = with_reports(read_sweep(part.root), [whole.report])
    assert [figure["labels"] for figure in curves(beside)] == [["reference"]] * 2
    costs = next(table for table in tables(beside) if table.name == "costs")
    assert [row[0] for row in costs.rows] == ["reference", "no_pretraining", "the whole sweep"]


def test_a_report_of_before_scores_has_means_and_no_intervals(whole, part, report):
    (report / "scores.csv").unlink()
    rows = list(csv.reader((report / "runs.csv").read_text().splitlines()))
    at = rows[0].index("settings")
    with open(report / "runs.csv", "w", newline="") as file:
        csv.writer(file).writerows(row[:at] + row[at + 1 :] for row in rows)
    beside = with_reports(read_sweep(part.root), [report])
    assert beside.numbers("stale_index", "qa/exact_match") == [0.5, 0.5]
    assert beside.difference("stale_index", "reference") is None
    assert [run.seed for run, _ in beside.pairs("no_pretraining", "reference")] == [1]
    write_sweep_report(part.root, [report])
    assert "Nobody recorded there with which settings 3 of them were run." in (part.report / "report.md").read_text()


def test_runs_of_other_settings_are_refused(whole, part, report, capsys):
    run = part.run("stale_index", 1)
    run.config.write_text(run.config.read_text().replace('"swap_after": 80', '"swap_after": 81'))
    assert cli.main(["report", "--sweep", str(part.root), "--beside", str(report)]) == 2
    said = capsys.readouterr().err
    assert f"{report}/runs.csv: stale_index with seed 1 had other settings there" in said
    assert not part.report.exists()


@pytest.mark.parametrize(
    "name, old, new, message",
    [
        ("runs.csv", "variant,", "arm,", r"runs.csv: no column 'variant'"),
        ("runs.csv", "\nreference,0,", "\nreference,", r"runs.csv:2: \d+ fields; the first line names \d+"),
        ("scores.csv", "id,subject", "name,subject", "scores.csv: the first columns must be id, subject, digest"),
        ("runs.csv", ",0.75,", ",0.7.5,", "runs.csv:2: qa/exact_match is '0.7.5'; it must be a number between 0 and 1"),
        ("runs.csv", "\nreference,1,", "\nreference,0,", "runs.csv:3: reference with seed 0 is there already"),
        ("runs.csv", "qa/exact_match,", "state,", "runs.csv: two columns of one name"),
        ("scores.csv", ",1,", ",yes,", r"scores.csv:2: reference/\d is 'yes'; it must be 0, 1 or empty"),
        ("scores.csv", ",1,", ",,", r"scores.csv: \w+/\d has 7 questions of which .* runs.csv says 8 and"),
        ("scores.csv", "reference/0,reference/1", "reference/1,reference/0", "one of the files is not what the report"),
    ],
)
def test_damaged_reports_are_refused(part, report, name, old, new, message):
    path = report / name
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        with_reports(read_sweep(part.root), [report])


@pytest.mark.parametrize("name", ["runs.csv", "scores.csv"])
def test_what_is_no_csv_file_is_named(part, report, name):
    path = report / name
    path.write_bytes(b"")
    with pytest.raises(UserError, match=f"{name}: is empty"):
        with_reports(read_sweep(part.root), [report])
    path.write_bytes(b"\xff\xfe\x00v")
    with pytest.raises(UserError, match=f"{name}: is no CSV file in UTF-8"):
        with_reports(read_sweep(part.root), [report])
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=f"{name}: cannot be read"):
        with_reports(read_sweep(part.root), [report])


def test_what_a_spreadsheet_adds_changes_nothing(whole, part, report):
    for name in ("runs.csv", "scores.csv"):
        text = (report / name).read_text().replace("\n", "\r\n")
        (report / name).write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")
    beside = with_reports(read_sweep(part.root), [report])
    assert of_figures(beside) == of_figures(with_reports(read_sweep(part.root), [whole.report]))


def test_a_report_of_another_sweep_is_refused(part, report):
    (report / "runs.csv").write_text("variant,seed,state\nother,0,done\nreference,7,done\n")
    with pytest.raises(UserError, match="tells of no finished run of this sweep's variants and seeds"):
        with_reports(read_sweep(part.root), [report])


def test_a_folder_that_is_no_report(whole, part, tmp_path, capsys):
    assert cli.main(["report", "--sweep", str(part.root), "--beside", str(tmp_path)]) == 2
    assert f"--beside: {tmp_path} has no runs.csv; name a folder that" in capsys.readouterr().err
    assert cli.main(["report", "--sweep", str(part.root), "--beside", str(whole.root)]) == 2
    assert f"did you mean {whole.report}?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["report", "--beside", str(whole.report)])
    assert "--sweep" in capsys.readouterr().err
