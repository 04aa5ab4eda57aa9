"""Questions as arrays, and which passages hold an answer."""

import dataclasses
import shutil

import numpy as np
import pytest

from realm_jax.corpus.preparation import prepare_corpus
from realm_jax.corpus.texts import PassageText
from realm_jax.errors import UserError
from realm_jax.qa.answers import normalise
from realm_jax.training.question_arrays import cloze_row, probe_questions, query_row


@pytest.fixture(scope="module")
def experiment(world, tmp_path_factory):
    return world.experiment(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="module")
def train(experiment):
    return experiment.questions("train")


def test_case_is_kept_where_the_weights_keep_it_and_binds_the_data(world, tmp_path):
    vocab = tmp_path / "vocab.txt"
    shutil.copy(world.config.model.vocab, vocab)
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    experiment = world.experiment(tmp_path / "run", model={"vocab": str(vocab)})
    assert not experiment.tokenizer.lowercase
    with pytest.raises(UserError, match="was prepared with model.vocab '.*', this experiment has '.*-cased'"):
        prepare_corpus(experiment.config, experiment.data, experiment.tokenizer, say=lambda line: None)


def test_rows_are_the_questions(world, train):
    tokenizer = world.tokenizer
    assert len(train) == 14 and train.queries.shape == (14, 32) and train.pieces.shape == (14, 2, 6)
    for row, text in zip(train.queries, train.texts, strict=True):
        ids = tokenizer.encode(text).ids[:30]
        np.testing.assert_array_equal(row[row > 0], [tokenizer.cls_id, *ids, tokenizer.sep_id])


def test_answers_that_are_too_long_are_left_out(world, train):
    for answers, pieces in zip(train.answers, train.pieces, strict=True):
        fitting = [list(ids) for ids in (world.tokenizer.encode(a).ids for a in answers) if len(ids) <= 6]
        assert [row[row > 0].tolist() for row in pieces if row.any()] == fitting


def test_only_questions_with_a_fitting_answer_are_trained_on(world, tmp_path):
    train = world.experiment(tmp_path, data={"answer_length": 1}).questions("train")
    short = [i for i in range(len(train)) if train.ids[i].endswith("r")]
    assert train.trainable().tolist() == short
    seen = {int(i) for _, batch in zip(range(30), train.batches(3, 1), strict=False) for i in batch.question}
    assert seen == set(short)
    train.pieces[:] = 0
    with pytest.raises(UserError, match="data.answer_length: no question .* at most 1 wordpieces"):
        train.trainable()


def test_some_of_the_questions_are_drawn_by_the_seed(train):
    def seen(seed, count):
        batches = train.batches(2, seed, count=count)
        return {int(i) for _, batch in zip(range(30), batches, strict=False) for i in batch.question}

    assert len(seen(1, 5)) == 5 and seen(1, 5) < seen(1, 9) < seen(1, 0)
    assert len({frozenset(seen(seed, 5)) for seed in range(4)}) > 1
    usable = len(train.trainable())
    assert seen(1, usable) == seen(1, 0)
    with pytest.raises(UserError, match=rf"finetune.questions: {usable + 1}, but {usable} training questions"):
        train.batches(2, 1, count=usable + 1)


def test_a_batch_belongs_together(train):
    batch = next(iter(train.batches(5, 2)))
    for i, query, answers in zip(batch.question, batch.query, batch.answers, strict=True):
        np.testing.assert_array_equal(query, train.queries[i])
        np.testing.assert_array_equal(answers, train.pieces[i])


def test_cloze_rows_ask_for_the_first_fitting_answer(world, train):
    tokenizer = world.tokenizer
    for i in range(len(train)):
        element = train.cloze(i)
        row, places = element["query"], element["mask_positions"]
        assert (row[places] == tokenizer.mask_id).all() and (row == tokenizer.mask_id).sum() == len(places) == 6
        assert row[places[-1] + 1] == tokenizer.sep_id and not row[places[-1] + 2 :].any()
        ids = tokenizer.encode(train.texts[i]).ids[: places[0] - 1]
        np.testing.assert_array_equal(row[1 : places[0]], ids)
        np.testing.assert_array_equal(element["mask_targets"], train.pieces[i, 0])
        assert element["mask_weights"].all()  # the padding behind the answer is to be learned, too


def test_long_questions_are_cut_and_keep_their_masks(world):
    text = "river " * 99
    row = cloze_row(world.config, world.tokenizer, text)
    assert (row["query"] == world.tokenizer.mask_id).sum() == 6 and row["query"][-1] == world.tokenizer.sep_id
    row = query_row(world.config, world.tokenizer, text)
    assert (row > 0).all() and row[-1] == world.tokenizer.sep_id


def test_masks_leave_room_for_a_question(world):
    closed_book = dataclasses.replace(world.config.closed_book, steps=1)
    world.settings(data={"answer_length": 29}, closed_book=closed_book)
    with pytest.raises(
        UserError, match="data.query_length: 32 leaves no room .* data.answer_length 30; .* at least 33"
    ):
        world.settings(data={"answer_length": 30}, closed_book=closed_book)


@pytest.mark.parametrize("kind", ["tokens", "normalized", "bytes"])
def test_labels_equal_a_search_in_the_text(world, tmp_path, kind):
    experiment = world.experiment(tmp_path, finetune={"labels": kind})
    questions = experiment.questions("dev")
    rows = np.tile(np.arange(experiment.store.num_passages), (len(questions), 1))
    labels = experiment.labels(questions)(np.arange(len(questions)), rows)
    assert labels.shape == rows.shape and labels.any(1).all() and not labels.all(1).any()
    for answers, found in zip(questions.answers, labels, strict=True):
        for row, label in enumerate(found):
            title, text = experiment.texts[row].title, experiment.texts[row].text
            if kind == "bytes":
                expected = any(answer in text for answer in answers)
            else:  # no answer of this world is a part of a longer word
                text = f"{title} {text}" if kind == "tokens" else text
                expected = any(normalise(answer) in normalise(text) for answer in answers)
            assert label == expected


@pytest.mark.parametrize(("kind", "titles"), [("tokens", True), ("normalized", False), ("bytes", False)])
def test_whether_titles_count(world, tmp_path, kind, titles):
    experiment = world.experiment(tmp_path, finetune={"labels": kind})
    questions, rows = experiment.questions("dev"), np.arange(experiment.store.num_passages)
    labels = experiment.labels(questions)
    named = [row for row in rows if experiment.texts[row].title not in experiment.texts[row].text]
    questions.answers[0] = [experiment.texts[named[0]].title]
    assert labels(np.array([0]), np.array([named[:1]]))[0, 0] == titles


def test_the_null_passage_holds_no_answer(experiment):
    questions = experiment.questions("dev")
    null = np.full((len(questions), 1), experiment.store.null_id)
    assert not experiment.labels(questions)(np.arange(len(questions)), null).any()


def test_patterns_that_match_behind_the_row_teach_nothing(world, tmp_path, monkeypatch):
    """Published passages keep their whole text where their rows are cut."""
    experiment = world.experiment(tmp_path, questions=world.patterns(tmp_path))
    questions = experiment.questions("train")
    labels, length = experiment.labels(questions), experiment.config.data.passage_length
    questions.answers[0] = ["river"]
    monkeypatch.setattr(labels, "_texts", [PassageText("River", "river river" + " city" * (length - 3) + " river" * 3)])
    widths = labels.widths(np.array([0]), np.array([[0]]), np.array([[True]]))
    assert widths.shape == (1, 1, length) and np.flatnonzero(widths).tolist() == [0, 1, length - 1]


def test_probe_questions_know_all_passages_that_hold_an_answer(experiment):
    questions = experiment.questions("dev")
    labels = experiment.labels(questions)
    queries, holders = probe_questions(labels, questions, experiment.store, 3, seed=1)
    assert len(queries) == len(holders) == 3
    for query, rows in zip(queries, holders, strict=True):
        (i,) = np.flatnonzero((questions.queries == query).all(1))
        everything = np.arange(experiment.store.num_passages)
        np.testing.assert_array_equal(rows, everything[labels(np.array([i]), everything[None])[0]])
    again, _ = probe_questions(labels, questions, experiment.store, 3, seed=1)
    np.testing.assert_array_equal(queries, again)


@pytest.mark.parametrize("kind", ["normalized", "bytes"])
def test_probe_reads_each_passage_once(world, tmp_path, monkeypatch, kind):
    experiment = world.experiment(tmp_path, finetune={"labels": kind})
    questions, texts, read = experiment.questions("dev"), experiment.texts, []

    class Texts:
        def __getitem__(self, row):
            read.append(row)
            return texts[row]

    labels = experiment.labels(questions)
    monkeypatch.setattr(labels, "_texts", Texts())
    monkeypatch.setattr("realm_jax.training.question_arrays._ROWS_AT_ONCE", 2)
    queries, holders = probe_questions(labels, questions, experiment.store, len(questions), seed=1)
    assert read == list(range(experiment.store.num_passages))
    assert len(queries) > 1 and all(holder.tolist() == sorted(set(holder.tolist())) for holder in holders)
    few, _ = probe_questions(labels, questions, experiment.store, 2, seed=1)
    np.testing.assert_array_equal(few, queries[:2])


def test_probe_leaves_out_questions_that_no_passage_answers(experiment):
    questions = experiment.questions("dev")
    questions.answers[1] = ["nowhere at all"]
    queries, _ = probe_questions(experiment.labels(questions), questions, experiment.store, 99, seed=1)
    assert len(queries) == len(questions) - 1
    assert not (queries == questions.queries[1]).all(1).any()
    questions.answers = [["nowhere at all"]] * len(questions)
    queries, holders = probe_questions(experiment.labels(questions), questions, experiment.store, 99, seed=1)
    assert queries.shape == (0, questions.queries.shape[1]) and holders == []
