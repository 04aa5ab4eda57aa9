"""Spans of all taggers: exact bytes of any Unicode text, apart from each other, never across sentences."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.config import Model
from realm_jax.corpus.articles import Article
from realm_jax.corpus.passages import cut_articles, with_sentences
from realm_jax.corpus.taggers import Dates, Links, Rules, Tagger, spans_of
from realm_jax.tagging.ner import Ner
from realm_jax.text.tokenizer import byte_offsets
from tests.corpus import toy
from tests.models import bert_files

NAMES = (
    "Oslo",
    "Zürich",
    "Ölüdeniz",
    "São Tomé",
    "E\u0301cole",
    "東京",
    "Москва",
    "القاهرة",
    "दिल्ली",
    "New York",
    "🇳🇴 Norge",
    "İzmir",
)
FILL = (
    "is",
    "the",
    "of",
    "ß",
    "ﬁsh",
    "한국어",
    "e\u0301\u0302",
    "👩‍👩‍👧",
    "\u200f",
    "Ⅷ",
    "𝒜",
    "\u00a0",
    "1999",
    "3 May 2001",
    "in 1905",
    "...",
    "(",
)
words = st.sampled_from(NAMES + FILL) | st.text(max_size=6).map(lambda text: text.replace("\r", " "))


@st.composite
def articles(draw):
    """An article of any script, with links; a sentence may end anywhere."""
    parts = draw(st.lists(st.tuples(words, st.booleans(), st.sampled_from((" ", ". ", "\n", ", ", "! "))), max_size=25))
    text, links = "", []
    for word, is_link, end in parts:
        if is_link and word:
            links.append((len(text), len(text) + len(word)))
        text += word + end
    text = text.encode("utf-8", "ignore").decode()
    return draw(st.sampled_from(NAMES)), text, links


def made(draft):
    title, text, links = draft
    to_byte = byte_offsets(text)
    links = [(int(to_byte[a]), int(to_byte[b])) for a, b in links if b <= len(text)]
    return with_sentences(Article(title, title, text, links=links))


def check(article, spans):
    data, last = article.text.encode(), 0
    for start, limit, kind in spans:
        assert last <= start < limit and kind
        assert data[start:limit].decode()  # whole characters
        assert sum(a <= start and limit <= b for a, b in article.sentences) == 1
        last = limit


@given(articles())
def test_spans_are_whole_characters_within_sentences(draft):
    article = made(draft)
    for taggers in ([Rules()], [Dates()], [Links()], [Dates(), Links(), Rules()]):
        (spans,) = spans_of([article], taggers)
        check(article, spans)
    if article.text.strip():
        (cut,) = cut_articles([article], toy.tokenizer(), 24)
        check(cut.article, cut.article.spans)


def test_links_are_tagged_wherever_they_stand_again():
    text = "Oslo lies near Bergen. The king of Oslo is no Osloer; Bergen is. President of New York."
    at = [(text.index("Bergen"), text.index("Bergen") + 6), (text.index("king"), text.index("king") + 4)]
    article = with_sentences(Article("Oslo (town)", "Oslo", text, links=at))
    (spans,) = spans_of([article], [Links()])
    assert [text[a:b] for a, b, _ in spans] == ["Oslo", "Bergen", "Oslo", "Bergen"]
    assert {kind for _, _, kind in spans} == {"entity"}


def test_the_first_tagger_has_precedence():
    text = "It was on 3 May 2001 in May."
    article = with_sentences(Article("A", "A", text, links=[(12, 15), (24, 27)]))
    assert [(text[a:b], kind) for a, b, kind in spans_of([article], [Dates(), Links()])[0]] == [
        ("3 May 2001", "date"),
        ("May", "entity"),
    ]
    assert [text[a:b] for a, b, _ in spans_of([article], [Links(), Dates()])[0]] == ["May", "May"]


def test_spans_across_sentences_are_left_out():
    class Wrong(Tagger):
        def tag(self, articles):
            return [[(0, 12, "x"), (7, 11, "x"), (9, 11, "x")] for _ in articles]

    article = with_sentences(Article("A", "A", "It is. It was."))
    assert spans_of([article], [Wrong()]) == [[(7, 11, "x")]]


PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "anna",
    "##s",
    "oslo",
    "of",
    "met",
    ".",
    "in",
    "the",
    "ü",
    "müller",
]
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TAGS = {"anna": 1, "müller": 2, "oslo": 3, "the": 4}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier whose trunk does nothing but look words up: each piece's embedding points at its label."""
    weights, size = bert_files.tensors(), bert_files.H
    for name in weights:
        if not name.startswith("embeddings.LayerNorm") and "LayerNorm.weight" not in name:
            weights[name] = np.full_like(weights[name], 1e-9)  # nothing, but not as weights never saved
        else:
            weights[name] = np.full_like(weights[name], float(name.endswith("weight")))
    for i in range(len(PIECES)):
        weights["embeddings.word_embeddings.weight"][i, TAGS.get(PIECES[i], 0)] = 1
    weights["classifier.weight"] = np.eye(5, size, dtype=np.float32)
    weights["classifier.bias"] = np.zeros(5, np.float32)
    names = {"id2label": {str(i): label for i, label in enumerate(LABELS)}}
    folder = bert_files.write(tmp_path_factory.mktemp("ner"), weights, names)
    pieces = PIECES + [f"piece{i}" for i in range(bert_files.V - len(PIECES))]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    return folder


@pytest.fixture(scope="module")
def ner(classifier):
    return Ner(classifier, Model())


def test_entities_by_a_token_classifier(ner):
    texts = ["annas müller met oslo the. anna anna met müller.", "🙂 oslo in the oslo", "met"]
    found = ner.tag([made(("T", text, [])) for text in texts])
    shown = [[(text.encode()[a:b].decode(), kind) for a, b, kind in spans] for text, spans in zip(texts, found)]
    assert shown[0] == [
        ("annas müller", "PER"), ("oslo the", "LOC"), ("anna", "PER"), ("anna", "PER"), ("müller", "PER"),
    ]  # fmt: skip
    assert shown[1] == [("oslo", "LOC"), ("the", "LOC"), ("oslo", "LOC")] and shown[2] == []


@given(draft=articles())
def test_entities_of_any_text_are_whole_words_within_sentences(ner, draft):
    article = made((draft[0], f"anna {draft[1]} müller oslo", []))
    check(article, *spans_of([article], [ner]))
