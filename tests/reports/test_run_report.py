"""The report shows what was run, says what was not, and runs nothing that stands in the data."""

import dataclasses
import html.parser
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.evaluation import evaluate as evaluation
from realm_jax.reports.examples import example, highlight
from realm_jax.reports.figures import number
from realm_jax.reports.plots import COLOURS, MOST_POINTS, Curve, draw, smoothed, thinned
from realm_jax.reports.run_record import SUMMARY_KEYS, read_record
from realm_jax.reports.run_report import questions_table, questions_tables, standard_error, verdict, write_report
from realm_jax.workdir import Workdir, read_json, write_json

EVIL = "</summary></style><script>alert('x')</script><img src=x onerror=alert(1)>&amp;"
CONFIG = Config(name="tiny", seed=7)
RESULTS = {
    "seed": 7,
    "config": "tiny",
    "retrieval/utility_start": 0.04,
    "retrieval/utility": 0.93,
    "retrieval/p_null": float("nan"),
    "retrieval/span_recall@5_start": 0.394,
    "retrieval/span_recall@5": 0.642,
    "retrieval/recall@5": 0.943,
    "qa/exact_match": 0.743,
    "qa/labels": "tokens",
    "bm25/title_weight": 2,
    "index/snapshots_used": 4,
    "counts": {"passages": 8402, "test": 775},
}


def passage(title="Brunei", body="The capital is Bandar.", hit=True):
    return {"row": 3, "title": title, "body": body, "holds_answer": hit}


def question(**changes):
    whole = {
        "question": "What is the capital?",
        "answers": ["Bandar"],
        "before": [passage(hit=False), passage()],
        "after": [passage()],
        "prediction": "Bandar",
        "correct": True,
        "closed_book": "Lima",
    }
    return whole | changes


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path)


def fill(workdir, results):
    write_json(workdir.root / "run.json", {"time/minutes": 17.4, "memory/peak_gib": 4.7, "stages": {"pretrain": 392.4}})
    (workdir.evaluation).mkdir()
    (workdir.evaluation / "results.json").write_text(json.dumps(results))
    lines = [{"step": s, "time": s, "loss/total": 1 / s, "index/staleness_steps": s % 7} for s in range(1, 31)]
    for line in lines:
        line["index/snapshot"] = 0 if line["step"] < 7 else 5
    lines.append({"step": 30, "loss/total": None, "probe/span_recall@5": 0.5})
    metrics = workdir.stage("pretrain").metrics
    metrics.parent.mkdir()
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 31, "lo')
    write_json(workdir.stage("pretrain").snapshots / "5" / "manifest.json", {"step": 5, "seconds": 2.5, "recall": 0.99})


class Page(html.parser.HTMLParser):
    """Collects elements, ids, and where the page would reach out; fails when elements do not nest."""

    VOID = {"meta", "br", "img", "link", "input", "hr"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.open, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"a handler on {tag}"
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.links.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(workdir, config=CONFIG):
    text = write_report(config, workdir).read_text()
    return text, Page(text), json.loads((workdir.report / "summary.json").read_text())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counts", [3]), ("counts", {"test": "many"}), ("counts", {"test": []}),
        ("risk_coverage", {"test": [[0.5, 1]]}), ("risk_coverage", {"test": [["a", "b", "c"]]}), ("risk_coverage", [1]),
        ("qa/labels", []), ("qa/match", {}),
        ("examples", {"question": "Why?"}), ("examples", [None]), ("examples", [{"answers": "a"}]),
        ("examples", [{"after": [3]}]), ("readings", [{"text": 3}]), ("readings", "a"),
    ],
)  # fmt: skip
def test_results_of_another_shape_are_damaged_ones(workdir, name, value):
    fill(workdir, RESULTS | {name: value})
    with pytest.raises(UserError, match=rf"results\.json:1: damaged \(its '{name}' is .*run the job again"):
        write_report(CONFIG, workdir)
    assert not workdir.report.exists()


def test_no_number_is_too_odd_for_the_page(workdir):
    odd = {name: value for name, value in zip(RESULTS, ("a", -1, 1e300, None, [], {}, True, float("inf")) * 3)}
    known = {name: RESULTS[name] for name in ("counts", "qa/labels")}
    fill(workdir, odd | known | {"counts": {"passages": 10**30, "test": -5}})
    assert read(workdir)[1].tags


def test_a_run_of_nothing_is_a_page_that_says_so(workdir):
    text, _, figures = read(workdir)
    assert {figures[key] for key in SUMMARY_KEYS if key not in ("seed", "config")} == {None}
    assert figures["seed"] == 7 and figures["config"] == "tiny"
    assert text.count("not run") > 20


def test_a_whole_run(workdir):
    fill(workdir, RESULTS | {"examples": [question()] * 20})
    text, page, figures = read(workdir)
    assert page.tags.count("details") == 21 and page.tags.count("h1") == 1 and page.tags.count("svg") == 3
    for shown in (
        "<code>tiny</code>",
        "0.743",
        "0.642",
        "8,402 passages",
        "17.4 min",
        "4.7 GiB",
        "title weight 2",
        "6:32",
    ):
        assert shown in text
    assert figures["retrieval/recall@5"] == 0.943 and figures["time/minutes"] == 17.4
    assert "examples" not in figures and "counts" not in figures


def test_what_is_known_and_the_three_ways_of_retrieval(workdir):
    curves = {split: [[0.5, 0.1, 0.8], [1.0, 0.4, 0.2]] for split in ("dev", "dev_new_kinds", "test")}
    figures = {"qa/unknown_below": 0.61, "qa/coverage": 0.72, "qa/exact_match_answered": 0.83, "risk_coverage": curves}
    together = {"hybrid/bm25_weight": 0.35, "hybrid/recall@1": 0.911, "vectors/recall@1": 0.899, "bm25/recall@1": 0.734}
    fill(workdir, RESULTS | figures | together)
    text, page, _ = read(workdir)
    assert page.tags.count("svg") == 4 and "percent of questions answered" in text
    for shown in ("below probability 0.610", "0.720 of the test", "0.830 of these rightly", "0.35 BM25", "0.911"):
        assert shown in text
    rows = questions_table(read_record(CONFIG, workdir), 775)
    assert [row["name"] for row in rows[:4]] == ["Closed book", "BM25", "Vectors", "Hybrid"]


def test_the_page_tells_where_the_work_was_done(workdir):
    """Not where the report was written."""
    fill(workdir, RESULTS)
    assert ", run on" in read(workdir)[0] and " CPU cores" not in read(workdir)[0]
    usage = read_json(workdir.usage)
    write_json(workdir.usage, usage | {"date": "2026-01-31", "machine": "7 CPU cores, 5 GiB of memory"})
    assert "run on 31 January 2026 on 7 CPU cores, 5 GiB of memory." in " ".join(read(workdir)[0].split())


def test_the_page_of_other_results_goes(workdir, monkeypatch):
    """Else a run that is measured again would be taken for finished, with the old page."""
    fill(workdir, RESULTS)
    read(workdir)
    assert workdir.is_finished
    monkeypatch.setattr(evaluation, "OpenRun", lambda *_: None)
    monkeypatch.setattr(evaluation.Evaluation, "__init__", lambda *_: None)
    monkeypatch.setattr(evaluation.Evaluation, "results", lambda _: {"qa/exact_match": 0.25})
    evaluation.evaluate(Config(), workdir)
    assert read_json(workdir.results) == {"qa/exact_match": 0.25} and not workdir.is_finished


def test_the_page_needs_nothing_from_elsewhere(workdir):
    fill(workdir, RESULTS | {"examples": [question()]})
    text, page, _ = read(workdir)
    assert all(link.startswith("#") for link in page.links)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)


@pytest.mark.parametrize(
    "place", ["question", "answers", "prediction", "closed_book", "title", "body", "labels", "name"]
)
def test_markup_in_the_data_is_text(workdir, place):
    changes = {
        "answers": {"answers": [EVIL]},
        "title": {"after": [passage(title=EVIL)]},
        "body": {"after": [passage(body=EVIL)], "answers": ["script"]},
    }.get(place, {place: EVIL})
    fill(workdir, RESULTS | {"examples": [question(**changes)], "qa/labels": EVIL if place == "labels" else "tokens"})
    _, page, _ = read(workdir, dataclasses.replace(CONFIG, name=EVIL) if place == "name" else CONFIG)
    assert "img" not in page.tags and "script" not in page.tags
    if place != "labels":
        assert EVIL in "".join(page.text)


def test_what_was_learned_to_be_salient(workdir):
    fill(workdir, {})
    shown = Page(write_report(Config(), workdir).read_text()).text
    assert "Learned salience" not in shown
    worth = {"name": 0.5, "date": -0.25, "word": 0.0, "number": 1.5, "link": 0.75}
    lines = [{"step": s} | {f"salience/{kind}": u * s for kind, u in worth.items()} for s in (1, 2)]
    workdir.stage("pretrain").metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = write_report(Config(), workdir).read_text()
    shown = Page(page).text
    assert "Learned salience" in shown and "number: 1.500 at step 1, 3.000 at step 2" in page
    assert "date: −" not in page  # the least of five
    assert any("At the end: number 3.00, link 1.50, name 1.00, word 0.00, date −0.50." in text for text in shown)


def test_numbers_that_are_not_finite_are_null(workdir):
    fill(workdir, RESULTS)
    figures = json.loads(
        write_report(CONFIG, workdir).with_name("summary.json").read_text(), parse_constant=pytest.fail
    )
    assert figures["retrieval/p_null"] is None


@pytest.mark.parametrize("drop", ["answers", "before", "after", "prediction", "correct", "closed_book", "question"])
def test_a_question_may_lack_anything(workdir, drop):
    item = question()
    del item[drop]
    fill(workdir, RESULTS | {"examples": [item]})
    read(workdir)


def test_a_broken_file_is_named(workdir):
    fill(workdir, RESULTS)
    (workdir.evaluation / "results.json").write_text("{")
    with pytest.raises(UserError, match="results.json"):
        write_report(CONFIG, workdir)
    assert not workdir.report.exists()


def test_a_record_reads_series_and_swaps(workdir):
    fill(workdir, RESULTS)
    record = read_record(CONFIG, workdir)
    steps, values = record.series("pretrain", "loss/total")
    assert steps == list(range(1, 31)) and values[1] == 0.5
    assert record.swaps() == [7] and [s["step"] for s in record.snapshots] == [5]
    assert record.series("finetune", "loss/total") == ([], [])


@pytest.mark.parametrize(
    "recall, utility, word",
    [(0.5, 0.5, "what it is for"), (0.1, 0.5, "Beware"), (0.5, 0.1, "does not gain"), (0.1, 0.1, "not teach")],
)
def test_the_verdict_does_not_trust_utility_alone(workdir, recall, utility, word):
    starts = {"retrieval/span_recall@5_start": 0.3, "retrieval/utility_start": 0.2}
    fill(workdir, starts | {"retrieval/span_recall@5": recall, "retrieval/utility": utility})
    assert word in verdict(read_record(CONFIG, workdir))


def test_table_of_questions(workdir):
    fill(workdir, RESULTS)
    rows = {row["name"]: row["cells"] for row in questions_table(read_record(CONFIG, workdir), 775)}
    assert all(len(cells) == 6 for cells in rows.values())
    value, error = rows["REALM"][1]
    assert value == 0.943 and error == pytest.approx((0.943 * 0.057 / 775) ** 0.5)
    assert rows["BM25"][0] == (None, None) and rows["BM25"][4] is None


def test_new_kinds_have_a_table_and_figures_of_their_own(workdir):
    new = {"counts": RESULTS["counts"] | {"test_new_kinds": 100}, "qa/exact_match_new_kinds": 0.25}
    new |= {"retrieval/recall@5_new_kinds_start": 0.5, "qa/exact_match_dev_new_kinds": 0.125}
    fill(workdir, RESULTS | new)
    first, second = questions_tables(read_record(CONFIG, workdir))
    assert (first["split"], second["split"], second["count"], second["dev"]) == ("test", "test_new_kinds", 100, 0.125)
    rows = {row["name"]: row["cells"] for row in second["rows"]}
    assert rows["Warm start"][1] == (0.5, 0.05) and rows["REALM"][4][0] == 0.25 and rows["REALM"][1] == (None, None)
    write_report(CONFIG, workdir)
    page = (workdir.report / "index.html").read_text()
    assert page.count("Test questions, of the kinds that were trained on") == page.count("(n = 100)") == 1
    assert "100 test questions of new kinds" in page and "Exact match, new kinds" in page
    assert read_json(workdir.report / "summary.json")["qa/exact_match_new_kinds"] == 0.25


@pytest.mark.parametrize("share, count, error", [(0.5, 100, 0.05), (1.0, 9, 0.0), (None, 9, None), (0.5, None, None)])
def test_standard_error(share, count, error):
    assert standard_error(share, count) == error


def test_number():
    assert number(-0.25, 2) == "−0.25" and number(0.25, 2, True) == "+0.25"
    assert number(None) == number(float("inf")) == "not run"


@given(st.text(), st.lists(st.text(), max_size=3))
def test_highlighting_keeps_the_text(text, answers):
    pieces = highlight(text, answers)
    assert "".join(piece for piece, _ in pieces) == text
    assert all(a[1] != b[1] for a, b in zip(pieces, pieces[1:], strict=False))


@pytest.mark.parametrize(
    "text, answers, marked",
    [
        ("The city of São Tomé lies", ["sao tome"], ["São Tomé"]),
        ("in 1984, not 19845", ["1984"], ["1984"]),
        ("St. John's, and St John", ["St. John's"], ["St. John's"]),
        ("one two three", ["two three", "one two"], ["one two three"]),
        ("1,850 m high", ["1,850 m"], ["1,850 m"]),
        ("İstanbul is big", ["is big"], ["is big"]),
        ("nothing", ["", " "], []),
    ],
)
def test_highlighting_finds_what_an_uncased_tokenizer_would(text, answers, marked):
    assert [piece for piece, is_answer in highlight(text, answers) if is_answer] == marked


def test_patterns_are_highlighted_where_they_match():
    item = question() | {"answers": ["sept(ember)?|5"], "match": "regex"}
    item["after"] = [passage(body="On 25 SEPTEMBER")]
    (_, _, _), (_, after, _) = example(item)["columns"]
    assert after[0]["body"] == [("On 2", False), ("5", True), (" ", False), ("SEPTEMBER", True)]


def test_first_hits():
    (_, _, before), (_, _, after) = example(question())["columns"]
    assert (before, after) == ("2", "1")


def test_curves_are_well_formed_and_take_the_colours_of_the_page():
    curves = [Curve(f'a "<{i}>" $x$', range(1, 60), np.linspace(-1, i, 59).tolist()) for i in range(4)]
    svg = draw([*curves, Curve("none", [], [])], 'what "it" <shows>', name="one", marks=[20], zero=True)
    ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    assert not re.search(r"#[0-9a-f]{6}\b", svg.replace("url(#", "").replace('href="#', ""))
    assert all(variable in svg for variable in COLOURS.values())
    assert svg == draw([*curves, Curve("none", [], [])], 'what "it" <shows>', name="one", marks=[20], zero=True)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=50))
def test_smoothing_stays_within_its_values(values):
    result = smoothed(np.array(values))
    assert len(result) == len(values)
    assert result.min() >= min(values) - 1e-6 and result.max() <= max(values) + 1e-6


@pytest.mark.parametrize("count", [1, MOST_POINTS, MOST_POINTS + 1, 12_345])
def test_thinning_keeps_the_mean_of_a_line(count):
    steps, values = thinned(range(count), [2.0 * s for s in range(count)])
    assert len(steps) == len(values) <= MOST_POINTS
    np.testing.assert_allclose(values, 2 * steps)
