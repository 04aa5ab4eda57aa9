"""Results in words: what stands in them, and that nothing of a corpus is taken for markup."""

import html
import re
from html.parser import HTMLParser

import pytest

from realm_jax.answering.results import Answer, Explanation, Filling, Passage, Retrieved, Word
from realm_jax.answering.shown import as_text

NULL = Passage(None, "", "", "", 0.1, 0.2, "the", None, 0.01)
RIVER = Passage(7, "<b>Jura</b>", "A & B: <script>alert(1)</script> by Jena.", "x:1", 2.0, 0.7, "Jena", (36, 40), 0.6)
LAKE = Passage(8, "Lake", "It is a lake.", "x:2", 1.0, 0.3, "a lake", (6, 12), 0.25)
UNREAD = Passage(8, "Lake", "It is a lake.", "x:2", 1.0, 1.0)
ANSWER = Answer("Where <is> it?", "Jena", 0.6, 0, (RIVER, LAKE))


def gained(passages, gains):
    return tuple(Passage(**{**vars(p), "gain": gain}) for p, gain in zip(passages, gains))


FILLING = Filling("[MASK]", "Jena", 0.25, -1.386, ((Word("Jena", 0.25),),), 0.5, gained((NULL, RIVER), (-0.2, 0.2)))
EXPLAINED = Explanation(
    "Where <is> it?",
    "je<na",
    0.5,
    -0.7,
    None,
    Answer(**{**vars(ANSWER), "passages": gained(ANSWER.passages, (0.3, -0.3))}),
)
UNKNOWN = Explanation("Where?", "Paris", 0.0, None, None, ANSWER)
RESULTS = [
    ANSWER,
    FILLING,
    EXPLAINED,
    UNKNOWN,
    Explanation("[MASK]", "Jena", 0.25, -1.4, 0.4, FILLING),
    Retrieved("it?", (UNREAD,), 3),
]


class Document(HTMLParser):
    """Tags, balanced, and the text between them."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.text, self.marked = [], [], "", ""
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("br", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "mark" in self.open:
            self.marked += data


def test_an_answer_in_lines():
    assert str(ANSWER).splitlines() == [
        "answer: Jena   (p 0.60 among all spans)",
        "",
        "p(z|x) 0.700  reads 'Jena', p 0.600",
        "  <b>Jura</b>",
        "  A & B: <script>alert(1)</script> by Jena.",
        "",
        "p(z|x) 0.300  reads 'a lake', p 0.250",
        "  Lake",
        "  It is a lake.",
    ]
    assert as_text(ANSWER, 1).count("p(z|x)") == 1


def test_the_other_results_in_lines():
    assert str(FILLING).startswith(
        "answer: Jena   (log p(y|x) -1.39)\nworth of retrieval for it: +0.50 nats per mask\n"
    )
    assert "p(z|x) 0.200  r(z) -0.200  reads 'the', log p(answer|z,x) -4.61\n  (the null passage)" in str(FILLING)
    assert "truth: je<na   (p 0.50 among all spans)" in str(EXPLAINED) and "r(z) +0.300" in str(EXPLAINED)
    assert "the truth is in none of the passages read: r(z) is not defined" in str(UNKNOWN)
    assert "worth of retrieval for the truth: +0.40 nats per mask" in str(RESULTS[4])
    assert str(RESULTS[5]).startswith("the last 3 wordpieces of the text are not read") and "passage 8" in str(
        RESULTS[5]
    )


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_a_notebook_shows_passages_escaped(result):
    source = result._repr_html_()
    document = Document(source)
    structure = {"div", "table", "thead", "tbody", "tr", "th", "td", "br", "svg", "title", "rect"}
    assert {tag for tag, _ in document.tags} <= structure | {"b", "i", "u", "small", "mark"}
    assert all(not name.startswith("on") and name != "style" for _, attributes in document.tags for name in attributes)
    for passage in result.passages:
        assert passage.text in re.sub(r"\s+", " ", document.text)
    assert html.escape("<script>") in source or RIVER.title not in [passage.title for passage in result.passages]


def test_the_answer_is_marked_in_its_passage_and_gains_have_two_colours():
    assert Document(ANSWER._repr_html_()).marked == "Jena"
    bars = [
        attributes
        for tag, attributes in Document(EXPLAINED._repr_html_()).tags
        if tag == "rect" and "fill" in attributes
    ]
    widths = {attributes["fill"]: float(attributes["width"]) for attributes in bars}
    assert widths["#2a8a5c"] == widths["#c0392b"] == 15.0 and widths["#3b7dc4"] == 30.0


def test_repr_is_one_line():
    for result in RESULTS:
        assert "\n" not in repr(result) and repr(result).startswith(type(result).__name__)
