"""Cutting articles into passages: whole sentences, as many as fit `[CLS] title [SEP] body [SEP]`."""

import bisect
import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from realm_jax.corpus.articles import Article, Span, check
from realm_jax.text.sentences import split
from realm_jax.text.tokenizer import Encoding, Tokenizer, byte_offsets

_ARTICLES_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Cut:
    """An article and its passages; every sentence now lies in one passage, every span in one sentence."""

    article: Article
    passages: list[tuple[int, int]]
    """start and limit of each body, in bytes of the text"""
    rows: list[np.ndarray]
    """int32 token ids of each passage, specials included, unpadded"""
    origins: list[int]
    """for each sentence, its passage, counted within the article"""
    places: list[tuple[int, int]]
    """for each sentence, its first and past-the-last position in the passage's row"""
    span_tokens: list[tuple[int, ...]]
    """for each span, its wordpieces"""


def cut_articles(articles: Iterable[Article], tokenizer: Tokenizer, passage_length: int) -> Iterator[Cut]:
    """Sentences that an article lacks are found by rule; spans that it lacks are none.

    Raises:
      UserError: an article without text or with offsets that make no sense; the message names the record.
    """
    numbered = enumerate(map(with_sentences, articles))
    while batch := list(itertools.islice(numbered, _ARTICLES_AT_ONCE)):
        for number, article in batch:
            check(article, number)
        texts = tokenizer.encode_batch([article.text for _, article in batch])
        titles = tokenizer.encode_batch([article.title for _, article in batch])
        for (_, article), text, title in zip(batch, texts, titles, strict=True):
            yield _cut(article, text, title.ids, tokenizer, passage_length)


def with_sentences(article: Article) -> Article:
    """The article, its sentences found by rule where its source gave none."""
    if article.sentences is not None:
        return article
    to_byte = byte_offsets(article.text)
    found = [(int(to_byte[start]), int(to_byte[limit])) for start, limit in split(article.text)]
    return dataclasses.replace(article, sentences=found)


def _cut(article: Article, text: Encoding, title: np.ndarray, tokenizer: Tokenizer, length: int) -> Cut:
    title = title[: (length - 3) // 2]  # a title longer than its passage would leave no room for a body
    room = length - 3 - len(title)
    to_byte = byte_offsets(article.text)
    starts, limits = to_byte[text.offsets[:, 0]], to_byte[text.offsets[:, 1]]

    def tokens(start: int, limit: int) -> tuple[int, int]:
        """First and past-the-last token that lies in a range of bytes."""
        return int(np.searchsorted(starts, start)), int(np.searchsorted(limits, limit, side="right"))

    if article.spans is None:
        article = dataclasses.replace(article, spans=[])
    sentences = []
    for start, limit in article.sentences:
        if article.whole:  # what is past the row's end has no place in it
            pieces = [(start, limit)] if tokens(start, limit)[1] <= room else []
        else:
            pieces = _fitting(article, start, limit, room, starts, limits, tokens, tokenizer.continues[text.ids])
        sentences += [piece for piece in pieces if tokens(*piece)[0] < tokens(*piece)[1]]

    passages: list[tuple[int, int]] = []
    rows, origins, places = [], [], []
    prefix = [tokenizer.cls_id, *title, tokenizer.sep_id]
    if article.whole:
        passages = [(0, int(to_byte[-1]))]
    for start, limit in sentences:
        first, last = tokens(start, limit)
        if not article.whole and passages and last - tokens(*passages[-1])[0] <= room:
            passages[-1] = (passages[-1][0], limit)
        elif not article.whole:
            passages.append((start, limit))
        begin = tokens(*passages[-1])[0]
        origins.append(len(passages) - 1)
        places.append((len(prefix) + first - begin, len(prefix) + last - begin))
    for passage in passages:
        first, last = tokens(*passage)
        rows.append(np.array([*prefix, *text.ids[first : min(last, first + room)], tokenizer.sep_id], np.int32))

    spans, span_tokens = _spans_within(article.spans, sentences, tokens, text.ids)
    return Cut(
        dataclasses.replace(article, sentences=sentences, spans=spans), passages, rows, origins, places, span_tokens
    )


def _fitting(
    article: Article, start: int, limit: int, room: int, starts, limits, tokens, continues
) -> Iterator[tuple[int, int]]:
    """A sentence in pieces of up to `room` tokens: cut after `;` or `,`, else before a word, not in a span."""
    first, last = tokens(start, limit)
    if last - first <= room:
        yield start, limit
        return
    data = article.text.encode()
    inside = {t for a, b, _ in article.spans for t in range(*tokens(a, b)) if starts[t] > a}
    while last - first > room:
        pieces = -(-(last - first) // room)
        words = [t for t in range(first + 1, first + room + 1) if not continues[t]] or [first + room]
        words = [t for t in words if starts[t] > limits[t - 1]] or words  # at white space, if there is any
        words = [t for t in words if t not in inside] or words
        late = [t for t in words if 3 * (t - first) > room]
        semicolons, commas = (
            [t for t in late if data[limits[t - 1] - 1 : limits[t - 1]] == mark] for mark in (b";", b",")
        )
        commas = [t for t in commas if last - t <= (pieces - 1) * room]  # no comma is worth another piece
        even = first + (last - first) / pieces
        best = semicolons or commas
        at = min(best, key=lambda t, even=even: abs(t - even)) if best else words[-1]
        yield start, int(limits[at - 1])
        start, first = int(starts[at]), at
    yield start, limit


def _spans_within(spans: list[Span], sentences, tokens, ids) -> tuple[list[Span], list[tuple[int, ...]]]:
    """The spans that lie in one sentence, and their wordpieces."""
    kept, pieces = [], []
    limits = [limit for _, limit in sentences]
    for span in spans:
        sentence = bisect.bisect_left(limits, span[1])
        if sentence < len(sentences) and sentences[sentence][0] <= span[0]:
            first, last = tokens(span[0], span[1])
            if first < last:
                kept.append(span)
                pieces.append(tuple(int(i) for i in ids[first:last]))
    return kept, pieces
