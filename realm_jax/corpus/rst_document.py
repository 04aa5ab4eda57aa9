"""reStructuredText, by docutils (extra `[rst]`): roles and directives of Sphinx, which it does not know, leave their
words."""

import re
from collections.abc import Iterator

from docutils import core, nodes
from docutils.utils import SystemMessage

from realm_jax.corpus.documents import BadDocument, Document, Line, decoded

_SETTINGS = {
    "report_level": 5,  # nothing is printed
    "halt_level": 5,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "smart_quotes": False,
    "syntax_highlight": "none",
}
_ROLE = re.compile(r":[\w:+.-]{1,40}:`([^`]{1,1000})`")
_DIRECTIVE = re.compile(r"\.\. ([\w:+.-]{1,40})::[^\n]*(?:\n[ \t]+:[\w-]+:[^\n]*)*")
_ELSEWHERE = ("toctree", "include", "literalinclude", "index", "auto")
"""Directives that have no text of their own, or how such begin."""
_UNSEEN = (nodes.comment, nodes.substitution_definition, nodes.target, nodes.raw, nodes.meta, nodes.image)


def rst(data: bytes) -> Document:
    """Paragraphs, items, cells and lines of code a line each, without the title."""
    text = decoded(data)
    try:
        tree = core.publish_doctree(text, settings_overrides=_SETTINGS)
    except (SystemMessage, RecursionError) as error:
        raise BadDocument(f"no reStructuredText ({type(error).__name__}); mend its markup") from None
    lines = [(level, shown) for level, line in _lines(tree, 0) if (shown := " ".join(_words(line).split()))]
    title = tree.get("title", "")
    if lines and lines[0][0] == 1 and title in ("", lines[0][1]):
        title = lines.pop(0)[1]
    return Document(lines, title)


def _lines(node: nodes.Node, level: int) -> Iterator[Line]:
    for child in node.children:
        if isinstance(child, nodes.system_message):
            yield from _unknown(child, level)
        elif isinstance(child, nodes.title | nodes.subtitle | nodes.rubric):
            # docutils makes a lone first section's title the document's.
            yield max(level, 1) + isinstance(child, nodes.subtitle), child.astext()
        elif isinstance(child, nodes.FixedTextElement):
            yield from ((0, line) for line in child.astext().splitlines())
        elif isinstance(child, nodes.TextElement):
            yield 0, child.astext()
        elif not isinstance(child, _UNSEEN) and "contents" not in child.get("classes", ()):
            yield from _lines(child, level + isinstance(child, nodes.section))


def _unknown(message: nodes.system_message, level: int) -> Iterator[Line]:
    """The content of a directive that docutils does not know, which it quotes."""
    for block in message.findall(nodes.literal_block):
        content = block.astext()
        if (head := _DIRECTIVE.match(content)) and not head[1].startswith(_ELSEWHERE):
            inner = core.publish_doctree(_dedented(content[head.end() :]), settings_overrides=_SETTINGS)
            yield from _lines(inner, level)


def _dedented(text: str) -> str:
    lines = text.strip("\n").splitlines()
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)


def _words(text: str) -> str:
    """Unknown roles as their text."""
    return _ROLE.sub(lambda role: (role[1].partition(" <")[0] or role[1]).lstrip("~!"), text)
