"""A Wikipedia dump, `pages-articles.xml.bz2`: the articles of the main namespace.

Redirects, disambiguation pages and lists of links are left out. A dump of many streams (`-multistream`) is read in
parts of some streams each; a dump of one stream is one part of any size.
"""

import bz2
import html
import mmap
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from realm_jax.corpus import wikitext
from realm_jax.corpus.articles import Article, Bad
from realm_jax.corpus.source import BLOCK, MAX_RECORD, Shard, Source, digest_of, files_at
from realm_jax.errors import shown_path
from realm_jax.packages import Package, fetch

SHARD_BYTES = 8 << 20
"""Packed bytes of a shard, about; some 10,000 pages."""
_MAGIC = re.compile(rb"BZh[1-9]\x31\x41\x59\x26\x53\x59")
"""A bzip2 stream begins so; by chance, so do one in 10^23 places."""
_PAGE, _END = b"<page>", b"</page>"
_LANGUAGE = re.compile(rb'<mediawiki\b[^<>]*\bxml:lang="([a-z-]+)"')
_NAMESPACE = re.compile(rb'<namespace key="-?[1-9]\d*"[^<>]*>([^<>]+)</namespace>')
EXCERPT = Package(
    name="gensim",
    version="4.4.0",
    sha256="91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    folder="gensim/test/test_data",
    files=("enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",),
    target=("--python-version", "3.11", "--abi", "cp311", "--platform", "manylinux_2_28_x86_64"),
)
"""206 pages of a real dump, 96 articles among them; the wheel's code is left alone."""


class WikipediaDump(Source):
    """`path` is one .xml.bz2 (or .xml) file, or a folder of them."""

    version = "3"
    suffixes = (".bz2", ".xml")

    def __init__(self, path: str, shard_bytes: int = SHARD_BYTES):
        self._path, self._shard_bytes = path, shard_bytes

    def shards(self) -> list[Shard]:
        result = []
        for file in files_at(self._path, "data.path", self.suffixes):
            for start, limit in self._ranges(file):
                digest = digest_of(file, start, limit)
                result.append(Shard(f"{shown_path(file.name)}:{start}", digest, (str(file),), start, limit))
        return result

    def _ranges(self, file: Path) -> Iterator[tuple[int, int]]:
        size, start = file.stat().st_size, 0
        if file.suffix.lower() == ".bz2" and size > self._shard_bytes:
            with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for match in _MAGIC.finditer(data):
                    if match.start() - start >= self._shard_bytes:
                        yield start, match.start()
                        start = match.start()
        yield start, size

    def read(self, shard: Shard) -> Iterator[Article | Bad]:
        file = Path(shard.files[0])
        name = shown_path(file.name) + (f", stream at byte {shard.start}" if shard.start else "")
        site = _site(file)
        for page in _pages(_unpacked(file, shard.start, shard.limit), name):
            article = page if isinstance(page, Bad) else _article(*page, site)
            if article is not None:
                yield article


def _site(file: Path) -> wikitext.Site:
    """The project, by the dump's first block; of English where it says nothing, as a piece of a dump does."""
    head = next(_unpacked(file, 0, file.stat().st_size), b"")
    head = b"" if isinstance(head, Bad) else head.partition(_PAGE)[0]
    language = _LANGUAGE.search(head)
    names = (html.unescape(name.decode("utf-8", "replace")).lower() for name in _NAMESPACE.findall(head))
    return wikitext.Site(language[1].decode() if language else "en", frozenset(names))


def _unpacked(file: Path, start: int, limit: int) -> Iterator[bytes | Bad]:
    """Blocks of the dump. If it is damaged, the rest of the stream is passed over."""
    with open(file, "rb") as opened:
        opened.seek(start)

        def more() -> bytes:
            return opened.read(min(BLOCK, limit - opened.tell()))

        if file.suffix.lower() != ".bz2":
            yield from iter(more, b"")
            return
        packed, begun = more(), start
        while packed:
            stream = bz2.BZ2Decompressor()
            try:
                while not stream.eof:
                    if data := stream.decompress(packed, max_length=BLOCK):
                        yield data
                    packed = more() if stream.needs_input else b""
                    if stream.needs_input and not packed:
                        yield Bad(
                            f"{shown_path(file.name)}: byte {limit}",
                            "the bzip2 stream ends too early; fetch the file again",
                        )
                        return
                packed = stream.unused_data or more()
                begun = opened.tell() - len(packed)
            except (OSError, EOFError):
                yield Bad(
                    f"{shown_path(file.name)}: stream at byte {begun}",
                    "damaged bzip2, its pages are lost; fetch it again",
                )
                begun = _next_stream(file, begun + 1, limit)
                opened.seek(begun)
                packed = more()


def _next_stream(file: Path, start: int, limit: int) -> int:
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        match = _MAGIC.search(data, start, limit)
        return match.start() if match else limit


def _pages(blocks: Iterator[bytes | Bad], name: str) -> Iterator[tuple[bytes, str] | Bad]:
    """(a page's XML, its place). Pages are told by their tags alone, so that one damaged page harms no other."""
    held, offset = b"", 0  # of `held` in the unpacked dump

    def place(at: int) -> str:
        return f"{name}: unpacked byte {offset + at}"

    for block in blocks:
        if isinstance(block, Bad):
            yield block
            offset, held = offset + len(held), b""
            continue
        held += block
        used = 0
        while (begin := held.find(_PAGE, used)) >= 0:
            following = held.find(_PAGE, begin + 1)
            end = held.find(_END, begin, following if following >= 0 else None)
            if end < 0 <= following:
                yield Bad(place(begin), "a page without an end; mend the dump or fetch it again")
                used = following
                continue
            if end < 0:
                break
            used = end + len(_END)
            yield held[begin:used], place(begin)
        if begin >= 0 and len(held) - begin > MAX_RECORD:
            yield Bad(place(begin), f"a page of more than {MAX_RECORD >> 20} MiB; no article is as long")
            begin = -1
        keep = begin if begin >= 0 else max(used, len(held) - len(_PAGE))
        held, offset = held[keep:], offset + keep
    if _PAGE in held:
        yield Bad(place(held.find(_PAGE)), "a page without an end; the dump is cut off")


def _article(page: bytes, where: str, site: wikitext.Site) -> Article | Bad | None:
    """None for a page that is no article."""
    try:
        root = ElementTree.fromstring(page)
    except (ElementTree.ParseError, ValueError) as error:
        return Bad(where, f"invalid XML or UTF-8 ({error})")
    title, text = root.findtext("title"), root.findtext("revision/text")
    if not title or root.find("revision/text") is None:
        return Bad(where, "a page without <title> or <text>; is this a dump of pages-articles?")
    if root.findtext("ns", "0") != "0" or root.find("redirect") is not None or not text:
        return None
    if text[:9].lower() == "#redirect" or wikitext.is_list_of_links(title, text):
        return None
    cleaned, links = wikitext.clean(text, site)
    # A page of nothing but tables or a list has no running text, and that is no fault of the dump's.
    return Article(title, title, cleaned, links=links, origin=where, id=title) if cleaned else None


def dump_or_excerpt(path: str, option: str = "data.path") -> WikipediaDump:
    """The dump at `path`; for the path `excerpt`, `EXCERPT` out of the package registry."""
    return WikipediaDump(str(fetch(EXCERPT, option) / EXCERPT.files[0]) if path == "excerpt" else path)
