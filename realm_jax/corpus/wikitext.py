"""Wikitext as clean text: what a reader of the page reads as running text, and where its links stand.

Left out: templates, tables, references, lists of names, galleries, formulas, headings, and the sections in which only
references and links stand. `mwparserfromhell` parses; what it cannot balance is mended line by line.
"""

import html
import re
from collections.abc import Iterable, Iterator

import mwparserfromhell
from mwparserfromhell import nodes

from realm_jax.text.sentences import word_set
from realm_jax.text.tokenizer import byte_offsets

Mark = tuple[int, int]
"""start and limit in bytes"""

# Private characters stand around a link until all text is mended, so that its place is known afterwards.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")
_PRIVATE = re.compile("[\ue000-\ue002]")
_DROPPED_TAGS = word_set(
    "ref references table gallery math chem ce score timeline syntaxhighlight source pre imagemap hiero graph mapframe",
    "maplink templatedata inputbox categorytree includeonly noinclude section indicator code style",
)
_LIST_TAGS = word_set("li dd dt")
_BLOCK_TAGS = word_set("br p div blockquote center hr tr td th ul ol dl poem")
_END_SECTION = re.compile(
    r"(?:.*\b)?(?:references?|bibliography|external links?|further reading|see also|citations?|footnotes|works cited"
    r"|endnotes|reference literature)\b.*|(?:(?:explanatory|end) )?notes(?: and .*)?|(?:.* )?sources|literature"
    r"|publications|(?:selected )?works|filmography|discography|(?:image )?gallery"
    r"|(?:related|web)? ?(?:links|pages|articles)"
    r"|(?:suggested|recommended)? ?reading|awards and nominations|academic resources|further information"
)
_NAMESPACES = re.compile(
    r"\s*:?\s*(?:file|image|media|category|special|wikipedia|wp|template|help|portal|user|talk|draft|mediawiki|module"
    r"|book)\s*:",
    re.IGNORECASE,
)
"""What does not stand in running text."""
_ELSEWHERE = re.compile(
    r"\s*(?P<inline>:)?\s*(?:(?P<sister>wiktionary|wikt|commons|c|wikisource|s|wikiquote|q|wikinews|n|wikibooks|b|wikiversity"
    r"|v|species|meta|m|d)|[a-z]{2,3}(?:-[a-z-]+)?|simple)\s*:",
    re.IGNORECASE,
)
"""Other projects, and Wikipedia in other languages, which a page is linked to by its side unless a colon is before."""
_CHARACTER_TEMPLATES = {
    "'": "'", "'s": "'s", "ndash": "–", "snd": " – ", "spnd": " – ", "spaced ndash": " – ", "mdash": "—", "spaces": " ",
    "nbsp": " ", "space": " ", "·": " · ", "dot": " · ", "!": "|", "=": "=", "minus": "−", "times": "×", "-": "-",
    "sup": "", "clear": "", "circa": "c. ", "c.": "c. ", "ca.": "c. ", "floruit": "fl. ", "fl.": "fl. ", "en dash": "–",
    "em dash": "—", "degree": "°", "bc": " BC", "ad": "AD ",
}  # fmt: skip
_TEXT_TEMPLATES = word_set(
    "nowrap nobr small smaller big larger em strong quote blockquote cquote quotation sic abbr mvar",
    "visible gloss keypress code tt var math-text plainlist-text nihongo2 noitalic nwr bold",
)
_UNITS = {
    "C": "°C", "F": "°F", "sqmi": "sq mi", "sqkm": "km²", "km2": "km²", "m2": "m²", "cm2": "cm²", "m3": "m³",
    "km3": "km³", "cm3": "cm³", "ft2": "sq ft", "sqft": "sq ft", "ft3": "cu ft", "cuft": "cu ft", "USgal": "US gallons",
    "oilbbl": "barrels", "oilbbl/d": "barrels per day", "PD/sqmi": "per sq mi", "PD/km2": "per km²", "LT": "long tons",
    "ST": "short tons", "MT": "tonnes",
}  # fmt: skip
"""What {{convert}} calls otherwise than its readers; it takes all else as it is shown: km, ft, lb."""
_POWER = re.compile(r"(e3|e6|e9|k(?=oil)|[MGT](?=oil|cuft|USgal))(.+)")
_POWERS = {"e3": "thousand", "k": "thousand", "e6": "million", "M": "million", "e9": "billion", "G": "billion",
           "T": "trillion"}  # fmt: skip
_PARTS = {("ft", "in"), ("yd", "ft"), ("mi", "yd"), ("lb", "oz"), ("st", "lb")}
"""Units of one measure: 6 ft 4 in."""
_LANGUAGE = re.compile(r"(?:lang(?:-[a-z-]+)?|transl|transliteration|langx|script|zh-full|wikt-lang)$")
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:[a-z-]+ )?(?:disambig(?:uation)?|dab|hndis|geodis|disamb|set index(?: article)?|sia|surname|given name"
    r"|human name disambiguation|place name disambiguation|(?:letter|airport|school|hospital|numberdis|number)[ -]?"
    r"(?:dis|disambig|disambiguation)|hndis-cleanup|disambiguation cleanup|mountainindex|shipindex|roadindex)\s*[|}]",
    re.IGNORECASE,
)
_MAGIC = re.compile(r"__[A-Z]{3,}__")
_TABLE_LEFT = re.compile(
    r"^\s*(?:\{\||\|[}\-+|]?|!(?!\w+\w* \w+ )|\}\})|\|\||^\s*[a-z_ -]{1,20}\s*=\s*\S*$"
    r"|\|\s*(?:thumb|left|right|\w+ ?=)",
    re.IGNORECASE,
)
"""A line of a table or template that the parser could not balance."""
_BOOK = re.compile(
    r"\b(?:ISBN|ISSN|OCLC|doi|JSTOR|PMID|arXiv)\b|^[^\W\d_][\w'-]+, [^\W\d_][^.]{0,60}[.,] .*\b(?:1[5-9]|20)\d\d\b"
)
"""A list item that names a publication."""
_BRACKETS = re.compile(r"\[\d{1,3}\]|\[\[|\]\]|\{\{+|\}\}+|\{\||\|\}|'{2,}|<[/!]?[a-zA-Z][^<>]{0,200}>")
_SPACES = re.compile(r"[^\S\n]+")
_INNER = rf"[\s,;:–—/·{_OPEN}{_CLOSE}]"
_MENDS = (
    (re.compile(rf"[(\[]{_INNER}*[)\]]"), ""),  # what held only templates
    (re.compile(rf"\((?:{_INNER}|\bor\b|\band\b)+(?=[^\s,;:–—/·)])(?<![{_OPEN}])"), "("),
    (re.compile(r"(?<=\()\s*[,;:]\s*"), ""),
    (re.compile(r"[\s,;:]+(?=\))"), ""),
    (re.compile(r"([,;])(?:\s*[,;])+"), r"\1"),
    (re.compile(r"\s+([,;:.!?)](?=[\s)]|$))"), r"\1"),
    (re.compile(r"\( +"), "("),
    (re.compile(r"^[\s,;:.)–—]+(?=\S)"), ""),
    (re.compile(r"(?<!\.)\.\.(?=\s|$)"), "."),
)
_LIST = "\ue002"
"""Begins a line that is a list item."""
_ITEMS = (_LIST, "*", "#", ":", ";")
_ENDS = frozenset(".!?。।…:")
_PROSE = 8
"""Words that a list item, or a line without an end, must have to count as running text."""


def is_list_of_links(title: str, text: str) -> bool:
    """Disambiguation pages, lists and indexes, by title (as DrQA and ORQA do) or by template."""
    name = title.lower()
    if name.startswith(("list of ", "lists of ", "index of ", "outline of ")) or name.endswith("(disambiguation)"):
        return True
    return _DISAMBIGUATION.search(text) is not None


def clean(wikitext: str) -> tuple[str, list[Mark]]:
    """(text, links): paragraphs separated by line breaks; bytes at which each link's text stands, ascending."""
    source = _MAGIC.sub("", _PRIVATE.sub("", wikitext))
    code = mwparserfromhell.parse(source, skip_style_tags=False)
    pieces: list[str] = []
    skipping = 0
    for node in code.nodes:
        if isinstance(node, nodes.Heading):
            if skipping and node.level > skipping:
                continue
            name = _MARKS.sub("", "".join(_texts(node.title.nodes))).strip().lower()
            skipping = node.level if _END_SECTION.fullmatch(name) else 0
            pieces.append("\n\n")
        elif not skipping:
            pieces.extend(_text(node))
    return _paragraphs("".join(pieces))


def _texts(all_nodes: Iterable[nodes.Node]) -> Iterator[str]:
    for node in all_nodes:
        yield from _text(node)


def _text(node: nodes.Node) -> Iterator[str]:
    """What a reader sees of a node."""
    if isinstance(node, nodes.Text):
        yield str(node)
    elif isinstance(node, nodes.Wikilink):
        if _is_shown(node):
            shown = "".join(_texts((node.text if node.text is not None else node.title).nodes)).lstrip(":")
            yield f"{_OPEN}{_MARKS.sub('', shown)}{_CLOSE}"
    elif isinstance(node, nodes.ExternalLink):
        if node.title is not None:
            yield from _texts(node.title.nodes)
    elif isinstance(node, nodes.HTMLEntity):
        yield html.unescape(str(node))  # half a character becomes U+FFFD, as in a browser
    elif isinstance(node, nodes.Template):
        yield from _template(node)
    elif isinstance(node, nodes.Tag):
        yield from _tag(node)
    elif isinstance(node, nodes.Heading):
        yield "\n\n"


def _is_shown(link: nodes.Wikilink) -> bool:
    target = str(link.title)
    if _NAMESPACES.match(target):
        return False
    elsewhere = _ELSEWHERE.match(target)
    return elsewhere is None or link.text is not None and bool(elsewhere["inline"] or elsewhere["sister"])


def _tag(node: nodes.Tag) -> Iterator[str]:
    name = str(node.tag).strip().lower()
    if name in _DROPPED_TAGS or _is_hidden(node):
        return
    if name in _LIST_TAGS and node.self_closing:
        yield f"\n{_LIST}"
        return
    if name in _BLOCK_TAGS or name in _LIST_TAGS:
        yield "\n\n"
    if node.contents is not None and not node.self_closing:
        yield from _texts(node.contents.nodes)
    if name in _BLOCK_TAGS and name != "br":
        yield "\n\n"


def _is_hidden(node: nodes.Tag) -> bool:
    return any(
        str(a.name).strip().lower() == "class" and a.value is not None and "navbox" in str(a.value)
        for a in node.attributes
    )


def _template(node: nodes.Template) -> Iterator[str]:
    """The few that stand within sentences; all others vanish."""
    name = str(node.name).strip().lower()
    plain = [p for p in node.params if not p.showkey]
    if name in ("convert", "cvt") and len(plain) >= 2:
        yield _converted([_shown(p) for p in plain])
    elif name in ("circa", "c.", "ca.") and plain:
        yield f"c. {_shown(plain[0])}"
    elif name in _CHARACTER_TEMPLATES:
        yield _CHARACTER_TEMPLATES[name]
    elif _LANGUAGE.match(name) and plain:
        yield _shown(plain[-1] if name in ("lang", "langx", "transl", "transliteration") else plain[0])
    elif name in _TEXT_TEMPLATES or name in ("as of", "start date", "nihongo", "ill", "interlanguage link"):
        if name == "as of" and plain:
            yield f"As of {_shown(plain[0])}"
        elif plain:
            yield _shown(plain[0])
    elif name in ("frac", "sfrac") and len(plain) >= 2:
        yield "/".join(_shown(p) for p in plain[-2:])
    elif name in ("val", "formatnum", "gaps", "number") and plain:
        yield _shown(plain[0])
    elif name in ("us$", "usd", "gbp", "inr", "eur", "a$", "c$") and plain:
        sign = {"gbp": "£", "eur": "€", "inr": "₹"}.get(name, "$")
        yield f"{sign}{_shown(plain[0])}"


def _converted(values: list[str]) -> str:
    """`{{convert|3|to|5|km|mi}}` is "3 to 5 km", `{{convert|6|ft|4|in|cm}}` "6 ft 4 in"; what it converts to is left
    out."""
    first, unit, *rest = values
    word = unit.removesuffix("(-)")
    if word in ("to", "and", "by", "x", "-", "–", "or") and len(rest) >= 2:
        joint = {"-": "–", "–": "–", "x": " × "}.get(word, f" {word} ")
        return f"{_grouped(first)}{joint}{_grouped(rest[0])} {_unit(rest[1])}"
    if len(rest) >= 2 and (unit, rest[1]) in _PARTS:
        return f"{_grouped(first)} {unit} {rest[0]} {rest[1]}"
    return f"{_grouped(first)} {_unit(unit)}"


def _grouped(number: str) -> str:
    return f"{int(number):,}" if number.isascii() and number.isdigit() else number


def _unit(code: str) -> str:
    if power := _POWER.match(code):
        return f"{_POWERS[power[1]]} {_unit(power[2])}"
    return _UNITS.get(code, code)


def _shown(parameter) -> str:
    return "".join(_texts(parameter.value.nodes)).strip()


def _paragraphs(text: str) -> tuple[str, list[Mark]]:
    marked = "\n".join(filter(None, map(_mended, _joined(html.unescape(text).split("\n")))))
    clean_text = _MARKS.sub("", marked)
    return clean_text, list(_places(marked, clean_text))


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Paragraphs: a line goes on with the one before it unless that one is blank or either is a list item."""
    paragraph: list[str] = []
    for line in lines:
        is_item = line.lstrip().startswith(_ITEMS)
        left_over = _TABLE_LEFT.search(_MARKS.sub("", line)) is not None
        if paragraph and (is_item or left_over or not line.strip()):
            yield " ".join(paragraph)
            paragraph = []
        if is_item and not left_over:
            yield line
        elif not left_over and line.strip():
            paragraph.append(line)
    if paragraph:
        yield " ".join(paragraph)


def _mended(line: str) -> str:
    """A paragraph, mended; nothing where it is no running text."""
    is_item = line.lstrip().startswith(_ITEMS)
    line = _SPACES.sub(" ", line.replace(_LIST, "")).strip(" *#:;" if is_item else " ")
    line = _BRACKETS.sub("", line)
    for pattern, replacement in _MENDS:
        line = pattern.sub(replacement, line)
    line = _SPACES.sub(" ", line).strip()
    bare = _MARKS.sub("", line)
    words, last = bare.count(" ") + 1, bare.rstrip("\"'”’)»")[-1:]
    if not any(c.isalpha() for c in bare) or (is_item and _BOOK.search(bare)):
        return ""
    # Too short or without an end: captions, cells, labels, what announces a list that was left out.
    if words < _PROSE and (is_item or last not in _ENDS) or is_item and last not in _ENDS or last == ":" and words < 12:
        return ""
    return line


def _places(marked: str, text: str) -> Iterator[Mark]:
    to_byte, at, opened = byte_offsets(text), 0, None
    for piece in re.split(f"([{_OPEN}{_CLOSE}])", marked):
        if piece == _OPEN:
            opened = at
        elif piece == _CLOSE:
            if opened is not None and opened < at:
                yield int(to_byte[opened]), int(to_byte[at])
            opened = None
        else:
            at += len(piece)
