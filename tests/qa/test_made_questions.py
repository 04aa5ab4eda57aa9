"""Questions made of the documents alone."""

import dataclasses

import numpy as np
import pytest

from realm_jax.config import Config, Data, Finetune, Questions
from realm_jax.corpus.preparation import prepare_corpus
from realm_jax.corpus.sentence_source import NO_HOLDERS, Sentence, Span
from realm_jax.errors import UserError
from realm_jax.qa.made_questions import LEAST, MOST, WORDS, ask, made_questions
from realm_jax.workdir import DataDir
from tests.corpus import toy

TEXT = "The old bridge over the wide river was built by Ann Lee in 1871 and closed again much later in Bern."
KINDS = {"Ann Lee": "name", "1871": "date", "Bern": "name"}


def sentence(answer, kind, text=TEXT, subject="Old Bridge"):
    start = text.index(answer)
    span = Span(start, start + len(answer), kind, NO_HOLDERS, 0)
    return Sentence("title", subject, text, [span], 3, (1, 9), 5, 2)


def asked(count=60, **changes):
    made = (ask(sentence(**changes), np.random.default_rng(i)) for i in range(count))
    return [question for question in made if question is not None]


@pytest.mark.parametrize(("answer", "kind"), KINDS.items())
def test_a_question_asks_for_its_span_with_words_of_its_sentence(answer, kind):
    for question in asked(answer=answer, kind=kind):
        assert question.answers == (answer,) and question.kind == f"made {kind}"
        words = question.question.split()
        assert not {word.lower() for word in answer.split()} & {word.lower() for word in words}
        first = next(i for i, word in enumerate(words) if word in TEXT or word in "Old Bridge")
        rest = words[first:]
        assert all(word in TEXT or word in ("Old", "Bridge") for word in rest) and first in (1, 2)
        assert LEAST - 1 <= len(rest) <= MOST + 2


def test_question_words_are_of_the_span_s_type():
    starts = {
        answer: {q.question.split()[0] for q in asked(answer=answer, kind=kind)} for answer, kind in KINDS.items()
    }
    assert starts["1871"] == {words.split()[0] for words in WORDS["date"]}
    assert starts["Bern"] == {"where", "what"}  # it stands behind "in"
    assert starts["Ann Lee"] == {"who", "what", "which"}


def test_a_question_that_tells_its_answer_or_is_too_short_is_none():
    assert not asked(answer="Bern", kind="name", subject="Bern: Bridges")
    assert not asked(answer="Bern", kind="name", text="It is Bern.")


def test_as_many_as_are_asked_for_and_the_same_in_every_run(world):
    made = made_questions(world.data, 50, 3, 6)
    assert len(made) == 50 and len({q.question for q in made}) > 20
    assert made[:20] == made_questions(world.data, 20, 3, 6) != made_questions(world.data, 20, 4, 6)
    texts = world.experiment(world.data.root).texts
    texts = " ".join(texts[row].text for row in range(len(texts)))
    assert all(answer in texts for question in made for answer in question.answers)


def test_made_questions_come_first_and_then_the_labelled(world, tmp_path):
    """And alone, again and again, where none is labelled."""
    run = world.experiment(tmp_path, finetune={"made_steps": 2, "batch_size": 3, "steps": 5})
    questions, made = run.questions_to_learn()
    assert made == 6 and questions.texts[made:] == run.questions("train").texts
    batches = iter(questions.batches(3, 0, first=made))
    taken = np.stack([next(batches).question for _ in range(7)])
    assert taken[:2].ravel().tolist() == list(range(6)) and (taken[2:] >= made).all()
    place = batches.get_state()
    more = next(batches).question
    again = iter(questions.batches(3, 0, first=made))
    again.set_state(place)
    np.testing.assert_array_equal(next(again).question, more)

    alone = world.experiment(
        tmp_path, questions=Questions(by_kind=True), finetune={"made_steps": 2, "batch_size": 3, "steps": 5}
    )
    questions, made = alone.questions_to_learn()
    assert made == len(questions) == 15
    batches = iter(questions.batches(3, 0, first=made))
    taken = np.concatenate([next(batches).question for _ in range(10)])
    assert sorted(taken[:15]) == list(range(15)) == sorted(taken[15:])


def test_documents_that_no_question_can_be_made_of(world, tmp_path, monkeypatch):
    """Labelled questions are enough; where there are none either, that is said."""
    monkeypatch.setattr("realm_jax.qa.made_questions.ask", lambda sentence, draw: None)
    run = world.experiment(tmp_path, finetune={"made_steps": 2, "batch_size": 3, "steps": 5})
    questions, made = run.questions_to_learn()
    assert made == 0 and questions.texts == run.questions("train").texts
    alone = world.experiment(
        tmp_path, questions=Questions(by_kind=True), finetune={"made_steps": 2, "batch_size": 3, "steps": 5}
    )
    with pytest.raises(UserError, match="finetune.made_steps: 2, but no question can be made of the documents"):
        alone.questions_to_learn()


def test_sentences_without_a_name_date_or_number_give_no_question(tmp_path):
    data, config = DataDir(tmp_path), Config(data=Data(passage_length=32, heldout_fraction=0.0))
    article = toy.article("notes", ["the river is in the city, and the lake is on the river."])
    prepare_corpus(config, data, toy.tokenizer(), iter([article]), lambda line: None)
    assert made_questions(data, 5, 0, 6) == []


def test_without_made_questions_nothing_is_as_it_was_not(world, tmp_path):
    run = world.experiment(tmp_path)
    questions, made = run.questions_to_learn()
    assert made == 0 and questions.texts == run.questions("train").texts


def test_patterns_have_no_made_questions():
    with pytest.raises(UserError, match="finetune.made_steps: 4, but questions.match regex has patterns"):
        dataclasses.replace(Config(), questions=Questions(match="regex"), finetune=Finetune(made_steps=4))
