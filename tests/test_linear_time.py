"""No regular expression that reads users' texts takes more than a time that grows with the text's length alone.

Each with a repetition that has no bound is fed a megabyte of what is worst for it: by the length's square it would take
hours, and pytest would end it.
"""

import importlib
import re

import pytest

from realm_jax.corpus.documents import markdown
from realm_jax.corpus.html_document import html
from realm_jax.corpus.wikitext import clean
from realm_jax.text import salient, sentences

MODULES = ["articles", "documents", "html_document", "pdf_document", "rst_document", "taggers"]
MODULES += ["wikipedia", "wikitext", "wikitext_templates"]
MODULES = [f"corpus.{name}" for name in MODULES] + ["qa.answers", "qa.question_files", "text.salient", "text.sentences"]
SIZE = 1_000_000
WORST = {
    "corpus.articles._ENTITY": "&#1",
    "corpus.documents._KEY": "a",
    "corpus.documents._TITLE": 'title: "',
    "corpus.documents._UNSEEN": "</script ",
    "corpus.documents._TAG_IN_LINE": "<a ",
    "corpus.documents._TAG": "<a ",
    "corpus.pdf_document._NO_TITLE": ".doc",
    "corpus.rst_document._DIRECTIVE": ".. a::\n :a:",
    "corpus.taggers._WORD": "a",
    "corpus.taggers._REMARK": " ",
    "corpus.wikipedia._LANGUAGE": "<mediawiki ",
    "corpus.wikipedia._NAMESPACE": '<namespace key="1">',
    "corpus.wikitext._END_SECTION": "a",
    "corpus.wikitext._NO_TAG": "<",
    "corpus.wikitext._DISAMBIGUATION": "{{ ",
    "corpus.wikitext._MAGIC": "__A",
    "corpus.wikitext._TABLE_LEFT": " ",
    "corpus.wikitext._BOOK": "Aa, a, ",
    "corpus.wikitext._BRACKETS": "<a ",
    "corpus.wikitext._SPACES": " ",
    "corpus.wikitext._MENDS": ", ",
    "corpus.wikitext._MARKED_NUMBERS": "\ue005 ",
    "corpus.wikitext._HOLE_IN_BRACKETS": "(\ue005",
    "corpus.wikitext_templates._NUMBER": "1",
    "corpus.wikitext_templates._LANGUAGE": "lang-",
    "corpus.wikitext_templates._NOTES": "a ",
    "corpus.wikitext_templates._COMPUTED": "a ",
    "corpus.wikitext_templates._POWER": "k",
    "qa.question_files._DESCRIPTION": "(description ",
    "qa.question_files._LIST": "['a' ",
    "text.salient._NUMBER": "1,111",
    "text.salient._NAME": "A.",
    "text.salient._LETTERS": "a",
    "text.salient._WITHIN": "a A",
    "text.salient._TABLE_YEAR": "(2020 est ",
    "text.sentences._END": '." ',
    "text.sentences._LAST_WORD": "a",
    "text.sentences._MONTHS": "Mai",
}
USED = {"_KEY": "match", "_TITLE": "fullmatch", "_END_SECTION": "fullmatch", "_NOTES": "match", "_COMPUTED": "match",
        "_LANGUAGE": "fullmatch", "_NUMBER": "fullmatch", "_POWER": "match", "_MONTHS": "match", "_LIST": "fullmatch",
        "_LAST_WORD": "match", "_NO_TITLE": "fullmatch", "_DIRECTIVE": "match"}  # fmt: skip
"""Where a pattern is not searched for all over a text: the last word's is within a few characters."""


def _html(text):
    return html(text.encode())


def _markdown(text):
    return markdown(text.encode())


def patterns(value):
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from patterns(part)


ALL = {
    f"{module}.{name}": list(patterns(value))
    for module in MODULES
    for name, value in vars(importlib.import_module(f"realm_jax.{module}")).items()
    if any(patterns(value))
}
UNBOUNDED = re.compile(r"[*+]|\{\d+,\}")


def test_every_pattern_has_its_worst_case():
    assert {name for name, found in ALL.items() if any(UNBOUNDED.search(_text(p)) for p in found)} <= set(WORST)
    assert set(WORST) <= set(ALL)


def _text(pattern):
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode()
    return re.sub(r"\\.|\[[^\]]*\]", "a", source)


@pytest.mark.parametrize("name", WORST)
def test_patterns(name):
    for pattern in ALL[name]:
        text = WORST[name] * (SIZE // len(WORST[name])) + "\x00"
        text = text.encode() if isinstance(pattern.pattern, bytes) else text
        way = USED.get(name.rpartition(".")[2]) if "wikipedia" not in name else None
        found = [getattr(pattern, way)(text)] if way else pattern.finditer(text)
        assert sum(1 for _ in found) <= SIZE + 2


@pytest.mark.parametrize(
    ("read", "pumped"),
    [
        (sentences.split, "A. "),
        (sentences.split, ".) "),
        (salient.tag, "King "),
        (salient.tag, "Aa's "),
        (salient.tag, "(2020 est "),
        (_markdown, "---\n# a\n"),
        (_markdown, "---\ntitle: a  \n"),
        (clean, "a , ; "),
        (_html, "<p>"),
        (_html, "<!"),
        (_html, "<nav <"),
        (_html, "&a"),
        (clean, "<a "),
        (clean, "<!--"),
        (clean, "[[a|"),
        (clean, "({{x|1}} "),
    ],
)
def test_readers(read, pumped):
    """What they make of it is other tests' affair."""
    assert read(pumped * (SIZE // 20 // len(pumped))) is not None
