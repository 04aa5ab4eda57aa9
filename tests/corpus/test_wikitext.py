"""What a reader of a page reads as running text is kept, all else goes, and links stand where they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.corpus.wikitext import Site, clean, is_list_of_links

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
        ("It varies by {{convert|7|–|8|C-change|F-change}}, or {{convert|5|°C-change|0}}.",
         "It varies by 7–8 °C, or 5 °C."),
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
    ("wikitext", "text"),
    [
        ("{{formatnum:12345}}", "12,345"), ("{{formatnum: 3003}}", "3,003"),
        ("{{FORMATNUM:1234567.891}}", "1,234,567.891"),
        ("{{formatnum:12,345|R}}", "12345"), ("{{nts|12345}}", "12,345"), ("{{number|-4000}}", "-4,000"),
        ("{{frac|7|1|2}}", "7 1/2"), ("7{{frac|1|2}}", "7 1/2"), ("{{frac|3}}", "1/3"), ("{{sfrac|2|1|4}}", "2 1/4"),
        ("7{{sfrac|3|4}}", "7 3/4"), ("{{1/2}}", "1/2"), ("7<sup>1</sup>/<sub>2</sub>", "7 1/2"),
        ("{{val|1234.5|u=km}}", "1,234.5 km"), ("{{val|5.98|0.01|e=24|ul=kg}}", "5.98±0.01×10^24 kg"),
        ("{{gaps|1|234|567}}", "1,234,567"), ("300{{e|9}}", "300×10^9"), ("10<sup>-7</sup>", "10^-7"),
        ("20<sub>16</sub>", "20_16"),
        ("{{val|20|ul=%}}", "20%"), ("{{10^|6}}", "10^6"), ("{{convert|5+1/2|in}}", "5 1/2 in"),
        ("{{convert|10|x|20|x|3000|cm|in}}", "10 × 20 × 3,000 cm"), ("{{cvt|10|st|7|lb|kg}}", "10 st 7 lb"),
        ("{{convert|3|and|5|mi|km|abbr=on}}", "3 and 5 mi"), ("{{convert|1435|mm}}", "1,435 mm"),
        ("{{track gauge|1435mm}}", "1,435 mm"), ("{{RailGauge|4ft8.5in}}", "4 ft 8.5 in"),
        ("{{height|ft=6|in=4}}", "6 ft 4 in"), ("{{percentage|1|3|1}}", "33.3%"), ("{{ordinal|112}}", "112th"),
        ("{{pop density|3645257|640081.87|km2|prec=1}}", "5.7/km²"), ("{{deg|51|30|N}}", "51°30′N"),
        ("{{GBP|5000}}", "£5,000"), ("{{US$|12.5}}", "US$12.5"), ("{{INRConvert|500|c}}", "₹500 crore"),
        ("{{start date|2001|5|3}}", "May 3, 2001"), ("{{birth date and age|df=y|1950|12|09}}", "9 December 1950"),
        ("{{dts|1990-01-02}}", "January 2, 1990"), ("{{as of|2015|6|30|lc=y}}", "as of 30 June 2015"),
        ("{{OldStyleDate|2 February|1905|20 January}}", "2 February [O.S. 20 January] 1905"),
        ("1939{{ndash}}45", "1939–45"), ("{{circa|1870|1880}}", "c. 1870 – c. 1880"),
        ("{{fl.|1200|1210}}", "fl. 1200–1210"),
        ("{{BCE|44}}", "44 BCE"), ("15{{nbsp}}September 1972", "15 September 1972"),
        ("{{nowrap|1=''x'' = 3}}", "x = 3"),
        ("{{bibleverse|2|Kings|3:25}}", "2 Kings 3:25"), ("{{US patent|1781541}}", "U.S. Patent 1,781,541"),
        ("{{chem|H|2|O}}", "H2O"), ("{{chem|Si|4|4-}}", "Si4^4-"), ("{{nuclide|uranium|235}}", "uranium-235"),
    ],
)  # fmt: skip
def test_numbers_of_templates(wikitext, text):
    assert clean(f"The mill has {wikitext} of it, as all say.")[0] == f"The mill has {text} of it, as all say."


@pytest.mark.parametrize(
    "wikitext",
    ["{{inflation|US|5|1929}}", "{{age|1969|7|20}}", "{{CURRENTYEAR}}", "{{unheard of|12}}", "{{#expr:3*4}}"],
)
def test_a_number_that_is_not_known_takes_its_sentence_or_bracket_along(wikitext):
    text = f"It cost much. It was {wikitext} years ''ago'' in [[Oslo]]. [[Bergen]] is ({wikitext} or so) far off."
    cleaned, links = clean(text)
    assert cleaned == "It cost much. Bergen is far off."
    assert [cleaned.encode()[a:b].decode() for a, b in links] == ["Bergen"]
    assert clean(f"{wikitext} It cost much.")[0] == "It cost much."  # at the head of a paragraph nothing lacks it
    assert clean(f"It cost much.{wikitext} So it did.")[0] == "It cost much. So it did."


@pytest.mark.parametrize(
    "note", ["{{sfn|Ola|1999|p=3}}", "{{rp|25}}", "{{citation needed|date=May 2010}}", "{{IPA|1}}"]
)
def test_notes_harm_no_sentence(note):
    assert clean(f"It was built {note} in 1999.")[0] == "It was built in 1999."


@pytest.mark.parametrize(
    ("link", "shown"),
    [("[[CSI: Miami]]", "CSI: Miami"), ("[[UFO: Enemy Unknown|UFO]]", "UFO"), ("[[Mao: The Story]]", "Mao: The Story"),
     ("[[Ben-Hur: A Tale of the Christ|Ben-Hur]]", "Ben-Hur"), ("[[de: Wien|Vienna]]", ""), ("[[zh-min-nan:Wien]]", ""),
     ("[[:de:Wien|Vienna]]", "Vienna"), ("[[User talk:Ola]]", ""), ("[[user_talk: Ola|me]]", "")],
)  # fmt: skip
def test_only_codes_of_languages_and_names_of_namespaces_take_links_away(link, shown):
    assert clean(f"She played {link} here.")[0] == f"She played {shown} here.".replace("  ", " ")


GERMAN = Site("de", frozenset({"datei", "kategorie", "benutzer", "spezial"}))


def test_other_languages():
    page = """[[Datei:Mill.jpg|mini|Die alte Mühle]]Die Mühle hat {{formatnum:12345}} Räder aus Holz und Stein.
== Einzelnachweise ==
* Diese Zeile steht in einem Abschnitt, der nur Belege für die Leser hat.
== Weblinks ==
* Auch diese Zeile steht in einem Abschnitt, der nur Belege für die Leser hat.
[[Kategorie:Mühle]] [[Spezial:Suche|Suche]]"""
    assert clean(page, GERMAN)[0] == "Die Mühle hat 12345 Räder aus Holz und Stein."
    assert is_list_of_links("Mühle", "Mühle steht für: {{Begriffsklärung}}")


def test_numbers_of_many_digits_are_no_error():
    assert clean(f"A mill &#{'9' * 5000}; has {{{{formatnum:{'1' * 5000}}}}} wheels.")[0].startswith(
        "A mill \ufffd has 111"
    )


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
