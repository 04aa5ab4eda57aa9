"""A small vocabulary and small articles, for the tests of this folder."""

from hypothesis import strategies as st

from realm_jax.corpus.articles import Article
from realm_jax.text import salient
from realm_jax.text.tokenizer import Tokenizer, byte_offsets

WORDS = (
    "paris",
    "oslo",
    "rome",
    "accra",
    "lake",
    "river",
    "is",
    "in",
    "the",
    "of",
    "city",
    "cafe",
    "on",
    "and",
    "capital",
)
VOCAB = (
    ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    + list(".,;:()-%$'\"")
    + [str(i) for i in range(10)]
    + [f"##{i}" for i in range(10)]
    + [chr(ord("a") + i) for i in range(26)]
    + [f"##{chr(ord('a') + i)}" for i in range(26)]
    + list(WORDS)
)


def tokenizer() -> Tokenizer:
    return Tokenizer(VOCAB)


def article(title: str, sentences: list[str], subject: str = "") -> Article:
    """Joined by single spaces, spans tagged by rule."""
    text = " ".join(sentences)
    to_byte, ranges, at = byte_offsets(text), [], 0
    for sentence in sentences:
        ranges.append((int(to_byte[at]), int(to_byte[at + len(sentence)])))
        at += len(sentence) + 1
    return Article(title, subject or title, text, ranges, salient.tag(text, ranges))


ARTICLES = [
    article(
        "France: Places", ["The capital is Paris.", "Paris is on the river Seine.", "Área: 1,234 km in 1990."], "France"
    ),
    article("France: Café", ["In the café of Paris, 234 km on.", "The lake Genève is in the city."], "France"),
    article("Norway: Places", ["The capital is Oslo.", "Oslo is 1,234 km of Paris."], "Norway"),
    article("Italy: Places", ["The capital is Rome; and the river is the Tiber, in the city of Rome."], "Italy"),
    article(
        "Ghana: Places",
        ["The capital is Accra.", "In 1957 the city of Accra is the capital.", "It is a city."],
        "Ghana",
    ),
]

words = st.sampled_from(
    (*WORDS, "Paris", "Zürich", "Ölüdeniz", "1,234", "1990", "日本", "Seine;", "a,", "x" * 120, "🙂")
)
sentence_texts = st.lists(words, min_size=1, max_size=14).map(lambda parts: " ".join(parts) + ".")
drafts = st.tuples(
    st.lists(words, min_size=1, max_size=5).map(" ".join), st.lists(sentence_texts, min_size=1, max_size=6)
)
"""(title, sentences) for `article`; beartype draws random numbers, which Hypothesis forbids within a strategy."""
