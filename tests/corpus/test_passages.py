"""Every sentence lies whole in one passage, rows are what the text encodes to, and nothing is lost."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.corpus.articles import Article
from realm_jax.corpus.passages import cut_articles
from realm_jax.errors import UserError
from tests.corpus import toy

TOKENIZER = toy.tokenizer()
lengths = st.integers(8, 41)


def cut(article, length):
    (result,) = cut_articles([article], TOKENIZER, length)
    return result


@given(toy.drafts, lengths)
def test_rows_fit_and_encode_title_and_body(draft, length):
    article = toy.article(*draft)
    result, data = cut(article, length), article.text.encode()
    title = TOKENIZER.encode(article.title).ids[: (length - 3) // 2]
    assert len(result.rows) == len(result.passages) > 0
    for row, (start, limit) in zip(result.rows, result.passages, strict=True):
        assert len(row) <= length
        body = row[2 + len(title) : -1]
        np.testing.assert_array_equal(row[: 2 + len(title)], [TOKENIZER.cls_id, *title, TOKENIZER.sep_id])
        assert row[-1] == TOKENIZER.sep_id and TOKENIZER.sep_id not in body
        around = data[max(start - 1, 0) : start] + data[limit : limit + 1]
        if not around.strip():  # a word that is longer than a passage is cut within
            np.testing.assert_array_equal(body, TOKENIZER.encode(data[start:limit].decode()).ids)


@given(toy.drafts, lengths)
def test_sentences_lie_in_one_passage_each_and_all_text_is_kept(draft, length):
    article = toy.article(*draft)
    result = cut(article, length)
    everything = np.concatenate([row[place[0] : place[1]] for row, place in _sentence_rows(result)])
    np.testing.assert_array_equal(everything, TOKENIZER.encode(article.text).ids)
    assert result.origins == sorted(result.origins)
    last = 0
    for (start, limit), origin in zip(result.article.sentences, result.origins, strict=True):
        first, end = result.passages[origin]
        assert last <= start < limit and first <= start and limit <= end
        last = limit


@given(toy.drafts, lengths)
def test_spans_lie_in_one_sentence_and_their_tokens_in_its_row(draft, length):
    article = toy.article(*draft)
    result = cut(article, length)
    assert set(result.article.spans) <= set(article.spans)
    for (start, limit, _), tokens in zip(result.article.spans, result.span_tokens, strict=True):
        (sentence,) = [i for i, (a, b) in enumerate(result.article.sentences) if a <= start and limit <= b]
        row, (first, end) = _sentence_rows(result)[sentence]
        pieces = row[first:end].tolist()
        assert list(tokens) in [pieces[i : i + len(tokens)] for i in range(len(pieces))]


@given(st.lists(toy.drafts, min_size=1, max_size=4), lengths)
def test_an_article_is_cut_alike_in_any_company(drafts, length):
    articles = [toy.article(*draft) for draft in drafts]
    together = list(cut_articles(articles, TOKENIZER, length))
    for article, result in zip(articles, together, strict=True):
        alone = cut(article, length)
        assert (alone.passages, alone.origins, alone.places) == (result.passages, result.origins, result.places)


def test_a_long_sentence_is_cut_after_a_semicolon_and_not_within_a_span():
    text = "the river is in the city of rome; the lake is in the Big Old Town of Paris."
    span = (text.index("Big"), text.index(" of Paris"), "name")
    article = Article("a", "a", text, [(0, len(text))], [span])
    result = cut(article, 20)
    pieces = [text[a:b] for a, b in result.article.sentences]
    assert pieces[0] == "the river is in the city of rome;"
    assert result.article.spans == [span] and any("Big Old Town" in piece for piece in pieces)


def test_articles_are_taken_as_they_come():
    def endless():
        yield from toy.ARTICLES * 40
        raise AssertionError("asked for more than was needed")

    stream = cut_articles(endless(), TOKENIZER, 20)
    assert next(stream).article.title == toy.ARTICLES[0].title


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"text": " \n"}, "has no text"),
        ({"title": ""}, "has no title"),
        ({"sentences": [(0, 10_000)]}, "sentence"),
        ({"sentences": [(5, 9), (3, 12)]}, "sentence"),
        ({"spans": [(7, 7, "name")]}, "name span"),
        ({"text": "Zürich is.", "sentences": [(2, 11)], "spans": []}, r"sentence \[2, 11\) .* within a character"),
        ({"text": "Zürich is.", "sentences": [(0, 11)], "spans": [(0, 2, "LOC")]}, "LOC span .* within a character"),
    ],
)
def test_a_bad_record_is_named(change, says):
    articles = [*toy.ARTICLES[:3], dataclasses.replace(toy.ARTICLES[3], **change)]
    with pytest.raises(UserError, match=says) as error:
        list(cut_articles(articles, TOKENIZER, 20))
    assert "record 3" in str(error.value)


def _sentence_rows(result):
    return [(result.rows[origin], place) for origin, place in zip(result.origins, result.places, strict=True)]
