"""What a reader of a page reads as running text is kept, all else goes, and links stand where they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.corpus.wikitext import clean, is_list_of_links

LONG = "This is a paragraph of running text that ends with a full stop"


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Oslo''' is the ''capital'' of [[Norway]].", "Oslo is the capital of Norway."),
        ("The [[river|big river]]s of [[Norway#Rivers|the country]].", "The big rivers of the country."),
        ("It is {{convert|3|to|5|km|mi}} long and {{convert|40|ft}} wide.", "It is 3 to 5 km long and 40 ft wide."),
        ("He was {{convert|6|ft|4|in|cm|0}} tall, {{convert|2413|ft|0|abbr=on}} up, {{convert|3|–|5|C}} cold.",
         "He was 6 ft 4 in tall, 2,413 ft up, 3–5 °C cold."),
        ("It has {{convert|481321|sqmi|km2}}, {{convert|22|e6acre}} of wood, {{convert|9|koilbbl/d}} of oil.",
         "It has 481,321 sq mi, 22 million acre of wood, 9 thousand barrels per day of oil."),
        ("A [[wikt:brigand|brigand]] met [[:fr:Mohamed Racim|Racim]].\n[[fr:Brigand]]\n[[s:Book]] [[de:Bandit|x]]",
         "A brigand met Racim."),
        ("Old ({{lang-la|Ansloa}}; {{IPAc-en|x}}) town<ref>Book, p. 3.</ref> of {{lang|no|Norge}}.",
         "Old (Ansloa) town of Norge."),
        ("Text ({{IPA|x}}, {{audio|y}}) goes on, and {{citation needed}} ends.", "Text goes on, and ends."),
        ("First line\ngoes on here.\n\nA second paragraph.", "First line goes on here.\nA second paragraph."),
        ("[[File:A.jpg|thumb|A [[lake]] of [[Oslo]]]] The lake.", "The lake."),
        ("See [http://x.org the site] or [http://y.org].", "See the site or."),
        ("One &amp; two &mdash; it&nbsp;is H<sub>2</sub>O.", "One & two — it is H2O."),
        ("A smile &#55357; and &#xD800; half, &#150; it ends.", "A smile \ufffd and \ufffd half, – it ends."),
        ("Before.\n{| class=wikitable\n! a\n|-\n| b || c\n|}\nAfter it all.", "Before.\nAfter it all."),
        ("Half a table.\n|-\n| cell || cell\n|}\nAfter it all.", "Half a table.\nAfter it all."),
        ("{{Infobox\n| name = Oslo\n| {{nested|{{x}}}} }}Oslo is a town.", "Oslo is a town."),
        ("Names:\n* [[Ola]]\n* [[Kari]]\n* Per was the first of them all to cross the lake in winter.",
         "Per was the first of them all to cross the lake in winter."),
        ("A.<!-- hidden --> B.__NOTOC__", "A. B."),
        ("<gallery>\nA.jpg|b\n</gallery>\nA formula <math>x^2</math> here.", "A formula here."),
        ("[[Category:Towns]]\n[[fr:Oslo]]\n[[:Category:Towns|Towns]] It is one.", "It is one."),
    ],
)  # fmt: skip
def test_clean(wikitext, text):
    assert clean(wikitext)[0] == text


@pytest.mark.parametrize(
    "name", ["References", "See also", "External links", "Notes", "Further reading", "Notes and references", "Sources"]
)
def test_sections_of_references_go_with_their_subsections(name):
    wikitext = f"{LONG}.\n== {name} ==\n* {LONG} one.\n=== Books ===\n{LONG} two.\n== History ==\n{LONG} three."
    assert clean(wikitext)[0] == f"{LONG}.\n{LONG} three."


def test_books_in_lists_go():
    assert (
        clean(f"{LONG}.\n* Ibsen, Henrik. Peer Gynt, Oslo: House of Books, 1867.\n* {LONG}.")[0] == f"{LONG}.\n{LONG}."
    )


def test_links_stand_where_they_say():
    text, links = clean(
        "Zürich 🙂 lies on [[Lake Zürich|the  lake]] ( [[Swiss|Swiß]] ), near [[Bern]]&nbsp;, in [[日本]]."
    )
    data = text.encode()
    assert text == "Zürich 🙂 lies on the lake (Swiß), near Bern, in 日本."
    assert [data[a:b].decode() for a, b in links] == ["the lake", "Swiß", "Bern", "日本"]


pieces = st.sampled_from(
    ["[[", "]]", "{{", "}}", "|", "{|", "|}", "\n", "\n* ", "==", "''", "<ref>", "</ref>", "Oslo", " a town ", "é",
     "🙂", "(", ")", ",", "<br>", "&lt;", "[http://x ", "]", "<!--", "-->", "e\u0301", "मराठी", "\ue000", "."]
)  # fmt: skip


@given(st.lists(pieces, max_size=25).map("".join))
def test_no_wikitext_breaks_it(wikitext):
    text, links = clean(wikitext)
    assert not any(mark in text for mark in ("[[", "]]", "{{", "}}", "{|", "\ue000", "\ue001", "\ue002", "\n\n"))
    last = 0
    for start, limit in links:
        assert last <= start < limit <= len(text.encode())
        assert text.encode()[start:limit].decode()
        last = limit


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("Mercury", "{{disambiguation}}", True),
        ("Mercury", "{{Hndis|Mercury}}", True),
        ("Mercury (disambiguation)", "", True),
        ("List of rivers", "", True),
        ("Mercury (planet)", "{{About|the planet}} A list of {{Infobox}} things.", False),
        ("Listening", "The {{dabnote}} of it.", False),
    ],
)
def test_lists_of_links(title, text, expected):
    assert is_list_of_links(title, text) is expected
