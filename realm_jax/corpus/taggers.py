"""Taggers of salient spans. Several may work on one corpus; where two spans overlap, the tagger named first has it."""

import abc
import re
from collections.abc import Iterator, Sequence

import numpy as np

from realm_jax.corpus.articles import Article, Span
from realm_jax.text import salient
from realm_jax.text.tokenizer import byte_offsets, characters

_WORD = re.compile(r"\w+")
_REMARK = re.compile(r"(?<!\s)\s*\([^()]*\)$")


class Tagger(abc.ABC):
    """Finds salient spans in articles whose sentences are known."""

    uses_device = False
    """Whether it computes on JAX's device, which worker processes must leave alone."""

    @abc.abstractmethod
    def tag(self, articles: Sequence[Article]) -> list[list[Span]]:
        """The spans of each article, in bytes of its text, each within one sentence."""


class Rules(Tagger):
    """Dates, names by their capitals, and numbers: needs neither links nor a model (`text/salient.py`)."""

    def tag(self, articles: Sequence[Article]) -> list[list[Span]]:
        return [salient.tag(article.text, article.sentences) for article in articles]


class Dates(Tagger):
    """Dates by rule, as in the paper."""

    def tag(self, articles: Sequence[Article]) -> list[list[Span]]:
        return [salient.dates(article.text, article.sentences) for article in articles]


class Links(Tagger):
    """Entities: the names that the article links to, and its title, wherever the article has that text.

    Wikipedia links only the first mention. A link in small letters ("president") is no name.
    """

    def tag(self, articles: Sequence[Article]) -> list[list[Span]]:
        return [list(self._tag(article)) for article in articles]

    def _tag(self, article: Article) -> Iterator[Span]:
        text, by_word = article.text, {}
        places = characters(text, np.asarray(article.links, np.int64).reshape(-1, 2))
        names = {text[start:limit] for start, limit in places}
        names.add(_REMARK.sub("", article.title))
        for name in sorted(names, key=lambda name: (-len(name), name)):
            first = _WORD.search(name)
            if first and first.start() == 0 and any(c.isalpha() and not c.islower() for c in name):
                by_word.setdefault(first.group(), []).append(name)
        to_byte, after = byte_offsets(text), 0
        for word in _WORD.finditer(text):
            start = word.start()
            for name in by_word.get(word.group(), ()) if start >= after else ():
                limit = start + len(name)
                if text.startswith(name, start) and not (name[-1].isalnum() and text[limit : limit + 1].isalnum()):
                    yield int(to_byte[start]), int(to_byte[limit]), "entity"
                    after = limit
                    break


RULE_TAGGERS = {"rules": Rules, "dates": Dates, "links": Links}


def spans_of(articles: Sequence[Article], taggers: Sequence[Tagger]) -> list[list[Span]]:
    """The spans that the taggers find: ascending, apart from each other, each within one sentence."""
    found = zip(*(tagger.tag(articles) for tagger in taggers)) if taggers else ([] for _ in articles)
    return [_apart(article, [span for spans in by for span in spans]) for article, by in zip(articles, found)]


def _apart(article: Article, spans: list[Span]) -> list[Span]:
    """`spans` in order of precedence, without those that overlap an earlier one or cross a sentence's end."""
    limits = np.array([limit for _, limit in article.sentences] or [0])
    covered = np.zeros(len(article.text.encode()) + 1, bool)
    kept = []
    for start, limit, kind in spans:
        sentence = int(np.searchsorted(limits, limit))
        inside = sentence < len(article.sentences) and article.sentences[sentence][0] <= start < limit
        if inside and not covered[start:limit].any():
            covered[start:limit] = True
            kept.append((start, limit, kind))
    return sorted(kept)
