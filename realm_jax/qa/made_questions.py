"""Questions made of the documents alone: a salient span is the answer, and the words around it in its sentence, with a
question word in front, ask for it (cloze questions; Lewis et al. 2019, "Unsupervised question answering by cloze
translation", whose noise is words left out)."""

import re

import numpy as np

from realm_jax.config import Masking
from realm_jax.corpus.sentence_source import NoSentence, Sentence, SentenceSource, Span
from realm_jax.qa.questions import Question
from realm_jax.workdir import DataDir

WORDS = {"date": ("when", "what year"), "number": ("how many", "how much", "what number")}
NAMES = ("who", "what", "which")
PLACE = ("where", "where", "what place")
"""Question words by the type of the span that is asked for; a name behind a word of `OF_PLACE` is a place."""
OF_PLACE = frozenset(["in", "at", "from", "near", "to", "into", "toward", "towards"])
LINKS = OF_PLACE | frozenset(["on", "of", "by", "since", "until", "during", "the", "a", "an", "about", "over", "than"])
"""Words that go with the span and not with the question."""
LEAST, MOST = 4, 12
"""Words of the sentence that a question keeps; questions of people have some nine."""
LEFT_OUT = 0.15
"""Share of the kept words that are left out, so that a reader does not learn to find the very same words."""
WORD = re.compile(r"\w+(?:['’.,-]\w+)*")


def made_questions(data: DataDir, count: int, seed: int, longest: int) -> list[Question]:
    """`count` questions, the same in every run of a seed; a sentence is asked again only where there are too few. None,
    if no sentence has a name, date or number with words enough around it.

    Args:
      longest: wordpieces of an answer.
    """
    try:
        source = SentenceSource(data, "train", Masking(max_masks=longest))
    except NoSentence:
        return []
    questions: list[Question] = []
    for turn in range(2 * (count // len(source) + 2)):
        for i in np.random.default_rng((seed, 9, turn)).permutation(len(source)):
            if len(questions) == count:
                return questions
            made = ask(source[int(i)], np.random.default_rng((seed, 10, turn, int(i))))
            if made is not None:
                questions.append(made)
    return questions


def ask(sentence: Sentence, draw: np.random.Generator) -> Question | None:
    """A question for one span of a sentence; None where the rest of it is too short to ask, or tells the answer."""
    span = sentence.spans[int(draw.integers(len(sentence.spans)))]
    answer = sentence.text[span.start : span.limit]
    before = [match.group() for match in WORD.finditer(sentence.text[: span.start])]
    after = [match.group() for match in WORD.finditer(sentence.text[span.limit :])]
    word = _question_word(span, before, draw)
    while before and before[-1].lower() in LINKS:
        before.pop()
    kept = int(draw.integers(LEAST, MOST + 1))
    left = min(len(before), max(kept - len(after), int(draw.integers(kept + 1))))
    words = [*before[len(before) - left :], *after[: kept - left]]
    words = [word for word in words if draw.random() >= LEFT_OUT]
    said = {word.lower() for word in words}
    subject = [word for word in WORD.findall(sentence.subject) if word.lower() not in said]
    told = {word.lower() for word in WORD.findall(answer)}
    if len(words) < LEAST - 1 or told & {word.lower() for word in (*words, *subject)}:
        return None
    number = f"made-{sentence.record}-{sentence.index}-{span.start}"
    return Question(number, " ".join([word, *subject, *words]), (answer,), sentence.subject, f"made {span.kind}")


def _question_word(span: Span, before: list[str], draw: np.random.Generator) -> str:
    place = span.kind not in WORDS and before and before[-1].lower() in OF_PLACE
    choices = PLACE if place else WORDS.get(span.kind, NAMES)
    return choices[int(draw.integers(len(choices)))]
