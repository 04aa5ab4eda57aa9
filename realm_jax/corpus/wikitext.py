"""Wikitext as clean text: the running text that a reader of the page sees, and the places of its links.

Left out: tables, references, lists of names, galleries, formulas, headings, the sections of only references and links,
and templates except those of sentences (`wikitext_templates.py`). If an unknown one held a number, its sentence goes,
or its bracket. `mwparserfromhell` parses; markup that it cannot balance is mended line by line.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator

import mwparserfromhell
from mwparserfromhell import nodes

from realm_jax.corpus import wikitext_templates as templates
from realm_jax.corpus.articles import unescape
from realm_jax.text import sentences
from realm_jax.text.sentences import word_set
from realm_jax.text.tokenizer import byte_offsets

Mark = tuple[int, int]
"""start and limit in bytes"""

# Private characters stand around a link until all text is mended, so that its place is known afterwards.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")
_POWER, _INDEX, _HOLE = "\ue004", "\ue007", "\ue005"
"""Begin a whole number that is set high or low; marks a number that is not known."""
_LESS = "\ue008"
"""Stands for a `<` that begins no tag."""
_PRIVATE = re.compile("[\ue000-\ue008]")
_SET_APART = {"sup": _POWER, "esp": _POWER, "sub": _INDEX}
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
    r"|einzelnachweise|weblinks|literatur|siehe auch|quellen|anmerkungen|belege|fußnoten|filmografie|diskografie"
    r"|notes et références|références|voir aussi|liens externes|bibliographie|annexes|articles connexes"
    r"|referencias|enlaces externos|véase también|bibliografía|notas(?: y referencias)?|note|voci correlate"
    r"|collegamenti esterni|altri progetti|bibliografia|referenties|externe links?|zie ook|bronnen.*|noten|literatuur"
    r"|referências|ligações externas|ver também|przypisy|linki zewnętrzne|zobacz też|uwagi"
    r"|примечания|ссылки|литература|см\. также|источники|примітки|посилання|література|див\. також|джерела"
    r"|referenser|externa länkar|se även|källor|noter|fotnoter|externí odkazy|související články|reference|poznámky"
    r"|脚注|出典|参考文献|外部リンク|関連項目|注釈|参考资料|參考資料|參考文獻|外部链接"
    r"|外部連結|参见|參見|注释|註釋|각주|외부 링크|같이 보기|참고 문헌"
    r"|مراجع|المراجع|وصلات خارجية|انظر أيضا|المصادر"
)
_LANGUAGES = word_set(
    "aa ab ace ady af ak als alt am ami an ang ann anp ar arc ary arz as ast atj av avk awa ay az azb ba ban bar",
    "bat-smg bbc bcl bdr be be-tarask be-x-old bew bg bh bi bjn blk bm bn bo bpy br bs btm bug bxr ca cbk-zam cdo",
    "ce ceb ch cho chr chy ckb co cr crh cs csb cu cv cy da dag de dga din diq dsb dtp dty dv dz ee el eml en eo",
    "es et eu ext fa fat ff fi fiu-vro fj fo fon fr frp frr fur fy ga gag gan gcr gd gl glk gn gom gor got gpe",
    "gsw gu guc gur guw gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia iba id ie ig igl ii ik ilo inh io is",
    "it iu ja jam jbo jv ka kaa kab kbd kbp kcg kg kge ki kj kk kl km kn knc ko koi kr krc ks ksh ku kus kv kw ky",
    "la lad lb lbe lez lfn lg li lij lld lmo ln lo lrc lt ltg lv lzh mad mai map-bms mdf mg mh mhr mi min mk ml",
    "mn mni mnw mo mr mrj ms mt mus mwl my myv mzn na nah nan nap nb nds nds-nl ne new ng nia nl nn no nov nqo nr",
    "nrm nso nup nv ny oc olo om or os pa pag pam pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt pwn qu rki rm",
    "rmy rn ro roa-rup roa-tara rsk ru rue rup rw sa sah sat sc scn sco sd se sg sgs sh shi shn si simple sk skr",
    "sl sm smn sn so sq sr srn ss st stq su sv sw szl szy ta tay tcy tdd te tet tg th ti tig tk tl tly tn to tpi",
    "tr trv ts tt tum tw ty tyv udm ug uk ur uz ve vec vep vi vls vo vro wa war wo wuu xal xh xmf yi yo yue za",
    "zea zgh zh zh-classical zh-min-nan zh-yue zu",
)
"""Codes of Wikipedia's languages, which links to their pages begin with (2026-11)."""
_SISTERS = word_set(
    "wiktionary wikt commons c wikisource s wikiquote q wikinews n wikibooks b wikiversity v species meta m d w"
)
"""Other projects, which a link with a text of its own leads to."""
_NAMESPACES = word_set(
    "file image media category special wikipedia wp template help portal user talk draft mediawiki module book",
    "timedtext project bild imagen archivo immagine afbeelding bestand imagem ficheiro grafika plik fichier datei файл",
)
"""Known to any Wikipedia, or to many beside those that the dump names: parts that are no running text."""
_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:(?:[a-z-]+ )?(?:disambig(?:uation)?|dab|hndis|geodis|disamb|set index(?: article)?|sia|surname"
    r"|given name|human name disambiguation|place name disambiguation"
    r"|(?:letter|airport|school|hospital|numberdis|number)[ -]?"
    r"(?:dis|disambig|disambiguation)|hndis-cleanup|disambiguation cleanup|mountainindex|shipindex|roadindex)"
    r"|begriffsklärung|homonymie|desambiguación|desambiguação|disambigua|dp|ujednoznacznienie|неоднозначность|förgrening"
    r"|неоднозначність|rozcestník|aimai|曖昧さ回避|消歧义|消歧義|동음이의)\s*[|}]|__disambig__",
    re.IGNORECASE,
)
_NO_TAG = re.compile(r"<(?!!--)(?=[^<>]*(?:<|\Z))")
"""Begins no tag, for none ends. The parser looks for a missing end in a time by the text's square."""
_MAGIC = re.compile(r"__[A-Z]{3,}__")
_TABLE_LEFT = re.compile(
    r"^\s*(?:\{\||\|[}\-+|]?|!(?!\w+ \w+ )|\}\})|\|\||^\s*(?:[a-z_-][a-z_ -]{0,19}\s*)?=\s*\S*$"
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
    (re.compile(r"(?<![\s,;:])[\s,;:]+(?=\))"), ""),
    (re.compile(r"([,;])(?:\s*[,;])+"), r"\1"),
    (re.compile(r"(?<!\s)\s+([,;:.!?)](?=[\s)]|$))"), r"\1"),
    (re.compile(r"\( +"), "("),
    (re.compile(r"^[\s,;:.)–—]+(?=\S)"), ""),
    (re.compile(r"(?<!\.)\.\.(?=\s|$)"), "."),
)
_MARKED_NUMBERS = (
    (re.compile(rf"(?<=\d){templates.AFTER_DIGIT}"), " "),
    (re.compile(rf"(?<=\d){_POWER}(?=\d+[/⁄])"), " "),
    (re.compile(rf"(?<=[\d){_CLOSE}]){_POWER}"), "^"),
    (re.compile(rf"(?<=\d){_INDEX}"), "_"),
    (re.compile(f"[{templates.AFTER_DIGIT}{_POWER}{_INDEX}]"), ""),
    # What is no part of a sentence opens its line, or follows on a word or stop without a space.
    (re.compile(f"^[^\\S\n]*{_HOLE}+", re.MULTILINE), ""),
    (re.compile(rf"(?<![\s(\[$£€¥₹~≈<>“\"{_OPEN}{_HOLE}]){_HOLE}+"), ""),
)
_HOLE_IN_BRACKETS = re.compile(rf"\([^(){_HOLE}]*{_HOLE}[^()]*\)")
_LIST = "\ue002"
"""Begins a line that is a list item."""
_ITEMS = (_LIST, "*", "#", ":", ";")
_ENDS = frozenset(".!?。।…:")
_DIGIT = re.compile(r"\d")
_LONGEST_NAME = 200
_PROSE = 8
"""Words that a list item, or a line without an end, must have to count as running text."""


@dataclasses.dataclass(frozen=True)
class Site:
    """A page's project, by its own words."""

    language: str = "en"
    namespaces: frozenset[str] = frozenset()
    """Names of all but the main one, in small letters."""


ENGLISH = Site()


def is_list_of_links(title: str, text: str) -> bool:
    """Disambiguation pages, lists and indexes, by title (as DrQA and ORQA do) or by template."""
    name = title.lower()
    if name.startswith(("list of ", "lists of ", "index of ", "outline of ")) or name.endswith("(disambiguation)"):
        return True
    return _DISAMBIGUATION.search(text) is not None


def clean(wikitext: str, site: Site = ENGLISH) -> tuple[str, list[Mark]]:
    """(text, links): paragraphs separated by line breaks; bytes of each link's text, ascending."""
    source = _MAGIC.sub("", _PRIVATE.sub("", wikitext))
    before, comment, after = source.rpartition("-->")
    source = before + comment + after.partition("<!--")[0]
    for begin, end in (("{{", "}}"), ("[[", "]]"), ("{|", "|}")):
        before, closed, after = source.rpartition(end)
        source = before + closed + after.replace(begin, "")
    source = _NO_TAG.sub(_LESS, source)
    code = mwparserfromhell.parse(source, skip_style_tags=False)
    reader = _Reader(site)
    pieces: list[str] = []
    skipping = 0
    for node in code.nodes:
        if isinstance(node, nodes.Heading):
            if skipping and node.level > skipping:
                continue
            name = _PRIVATE.sub("", "".join(reader.texts(node.title.nodes))).strip().lower()
            skipping = node.level if len(name) < _LONGEST_NAME and _END_SECTION.fullmatch(name) else 0
            pieces.append("\n\n")
        elif not skipping:
            pieces.extend(reader.text(node))
    # Other languages group digits otherwise, with what English takes for a point.
    return _paragraphs("".join(pieces).replace(templates.GROUP, "," if site.language == "en" else ""))


class _Reader:
    """The text of nodes that a reader of the site sees."""

    def __init__(self, site: Site):
        self._site = site

    def texts(self, all_nodes: Iterable[nodes.Node]) -> Iterator[str]:
        for node in all_nodes:
            yield from self.text(node)

    def text(self, node: nodes.Node) -> Iterator[str]:
        if isinstance(node, nodes.Text):
            yield str(node)
        elif isinstance(node, nodes.Wikilink):
            if self._is_shown(node):
                shown = "".join(self.texts((node.text if node.text is not None else node.title).nodes)).lstrip(":")
                yield f"{_OPEN}{_MARKS.sub('', shown)}{_CLOSE}"
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                yield from self.texts(node.title.nodes)
        elif isinstance(node, nodes.HTMLEntity):
            yield unescape(str(node))  # half a character becomes U+FFFD, as in a browser
        elif isinstance(node, nodes.Template):
            yield self._template(node)
        elif isinstance(node, nodes.Tag):
            yield from self._tag(node)
        elif isinstance(node, nodes.Heading):
            yield "\n\n"

    def _is_shown(self, link: nodes.Wikilink) -> bool:
        target = str(link.title).strip()
        prefix, colon, _ = target.lstrip(": ").partition(":")
        name = " ".join(prefix.replace("_", " ").lower().split())
        if not colon:
            return True
        if {name, name.removesuffix(" talk")} & _NAMESPACES or name in self._site.namespaces:
            return False
        if name in _LANGUAGES:
            return link.text is not None and target.startswith(":")
        return link.text is not None or name not in _SISTERS

    def _tag(self, node: nodes.Tag) -> Iterator[str]:
        name = str(node.tag).strip().lower()
        if name in _DROPPED_TAGS or _is_hidden(node):
            return
        if name in _LIST_TAGS and node.self_closing:
            yield f"\n{_LIST}"
            return
        if name in _BLOCK_TAGS or name in _LIST_TAGS:
            yield "\n\n"
        if node.contents is not None and not node.self_closing:
            shown = "".join(self.texts(node.contents.nodes))
            yield _set_apart(name, shown)
        if name in _BLOCK_TAGS and name != "br":
            yield "\n\n"

    def _template(self, node: nodes.Template) -> str:
        """Those within sentences; all others vanish, or leave a hole where they held a number."""
        given = "".join(self.texts(node.name.nodes)).replace("_", " ").strip()
        function, colon, argument = given.partition(":")
        name = " ".join((function if colon else given).lower().split())
        read = templates.reader_of(name)
        if read is None:
            has_number = any(_DIGIT.search(str(p.value)) for p in node.params if _place(p))
            return _HOLE if (has_number or templates.is_computed(name)) and not templates.is_note(name) else ""
        values = {_place(p) or str(p.name).strip(): "".join(self.texts(p.value.nodes)).strip() for p in node.params}
        most = max((place for place in values if isinstance(place, int)), default=0)
        plain = [argument.strip()] * bool(colon) + [values.pop(i, "") for i in range(1, most + 1)]
        return _set_apart(name, read(plain, values))


def _place(parameter) -> int:
    """1 for the first unnamed value of a template, also where `1=` is before it; 0 for named ones."""
    name = str(parameter.name).strip()
    return int(name) if name.isascii() and name.isdigit() and len(name) < 3 else 0


def _set_apart(name: str, text: str) -> str:
    """Behind a digit, 10<sup>7</sup> is 10^7 and 20<sub>16</sub> 20_16."""
    return _SET_APART.get(name, "") + text if re.fullmatch(r"[-−–+]?\d+", text.strip()) else text


def _is_hidden(node: nodes.Tag) -> bool:
    return any(
        str(a.name).strip().lower() == "class" and a.value is not None and "navbox" in str(a.value)
        for a in node.attributes
    )


def _paragraphs(text: str) -> tuple[str, list[Mark]]:
    text = unescape(text).replace(_LESS, "<")
    for pattern, replacement in _MARKED_NUMBERS:
        text = pattern.sub(replacement, text)
    marked = "\n".join(filter(None, map(_mended, _joined(text.split("\n")))))
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
    line = _SPACES.sub(" ", _BRACKETS.sub("", line))
    if _HOLE in line:
        line = _without_holes(line)
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


def _without_holes(line: str) -> str:
    """The line without the parts that lack a number: remarks in brackets, and sentences."""
    line = _HOLE_IN_BRACKETS.sub("", line)
    at = [i for i, character in enumerate(line) if character not in (_OPEN, _CLOSE)]
    starts = [
        at[start] - (line[at[start] - 1 : at[start]] == _OPEN) for start, _ in sentences.split(_MARKS.sub("", line))
    ]
    pieces = [line[start:limit] for start, limit in itertools.pairwise([*starts, len(line)])]
    return "".join(piece for piece in pieces if _HOLE not in piece)


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
