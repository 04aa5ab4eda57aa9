"""Holders against a search that looks at every place of every passage."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.corpus.holders import MAX_HOLDERS, Holders
from realm_jax.corpus.passages import cut_articles
from realm_jax.corpus.store import PassageStore
from tests.corpus import toy

TOKENIZER = toy.tokenizer()
PIECES = [TOKENIZER.encode(text).ids.tolist() for text in ("paris", "oslo", "x1", "1,234", "234", "zz,", ".", "lake")]
bodies = st.lists(
    st.lists(st.sampled_from(PIECES), max_size=5).map(lambda parts: sum(parts, [])), min_size=1, max_size=30
)
spans = st.lists(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map(lambda parts: tuple(sum(parts, []))),
    min_size=1,
    max_size=6,
)


def store_of(contents, length=30):
    rows = np.zeros((len(contents) + 1, length), np.uint16)
    title = TOKENIZER.encode("oslo x1").ids.tolist()
    for row, body in zip(rows, contents, strict=False):
        filled = [TOKENIZER.cls_id, *title, TOKENIZER.sep_id, *body[: length - 3 - len(title)], TOKENIZER.sep_id]
        row[: len(filled)] = filled
    rows[-1, :3] = [TOKENIZER.cls_id, TOKENIZER.sep_id, TOKENIZER.sep_id]
    return PassageStore(rows, "")


def holds(row, span):
    """Whether the span stands in the row's body as whole words and whole numbers."""
    first, last = [i for i, token in enumerate(row) if token == TOKENIZER.sep_id][:2]
    names = [TOKENIZER.piece(int(token)) for token in row]

    def amid(i):
        digit = [name.lstrip("#")[:1].isdigit() for name in names]
        after_mark = names[i - 1] in (",", ".") and digit[i - 2] and digit[i]
        at_mark = names[i] in (",", ".") and digit[i - 1] and i + 1 < len(names) and digit[i + 1]
        return names[i].startswith("##") or after_mark or at_mark

    n = len(span)
    return any(
        tuple(row[i : i + n]) == span and not amid(i) and not amid(i + n) for i in range(first + 1, last - n + 1)
    )


@given(bodies, spans, st.data())
def test_brute_force(contents, wanted, data):
    store = store_of(contents)
    holders = Holders(store, iter(wanted), TOKENIZER)
    for span in wanted:
        origin = data.draw(st.integers(0, store.num_passages - 1))
        expected = [i for i in range(store.num_passages) if i != origin and holds(store.tokens[i].tolist(), span)]
        rows, count = holders(span, origin)
        assert count == len(expected)
        assert rows.tolist() == (expected + [-1] * MAX_HOLDERS)[:MAX_HOLDERS]


def test_whole_words_and_numbers_only():
    store = store_of(
        [TOKENIZER.encode(text).ids.tolist() for text in ("1,234 x", "234", "oslo12 paris", "paris, oslo")]
    )
    span = {text: tuple(TOKENIZER.encode(text).ids.tolist()) for text in ("234", "oslo", "paris", "1,234")}
    holders = Holders(store, span.values(), TOKENIZER)
    assert [holders(span[text], 3)[0][:2].tolist() for text in span] == [[1, -1], [-1, -1], [2, -1], [0, -1]]


def test_titles_hold_nothing():
    span = tuple(TOKENIZER.encode("oslo").ids.tolist())
    assert Holders(store_of([[7], [8]]), [span], TOKENIZER)(span, 0)[1] == 0


def test_more_holders_than_are_listed():
    span = tuple(TOKENIZER.encode("paris").ids.tolist())
    rows, count = Holders(store_of([list(span)] * 40), [span], TOKENIZER)(span, 5)
    assert count == 39
    assert rows.tolist() == [i for i in range(17) if i != 5]


def test_realistic_articles():
    cuts = list(cut_articles(toy.ARTICLES, TOKENIZER, 32))
    store = store_of(
        [row[row.tolist().index(TOKENIZER.sep_id) + 1 : -1].tolist() for cut in cuts for row in cut.rows], 64
    )
    wanted = [tokens for cut in cuts for tokens in cut.span_tokens]
    holders = Holders(store, wanted, TOKENIZER)
    paris = tuple(TOKENIZER.encode("Paris").ids.tolist())
    assert paris in wanted
    assert holders(paris, 0)[1] == sum(holds(row.tolist(), paris) for row in store.tokens[1:-1])
