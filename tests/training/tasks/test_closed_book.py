"""The baseline that retrieves nothing: what it learns, and what its answers are."""

import jax
import jax.numpy as jnp
import numpy as np

from realm_jax.training.tasks.closed_book import ClosedBook, cloze_answers
from tests.training.tasks.losses import B, gradients, learns, never


def test_closed_book_teaches_the_reader(experiment, questions, params):
    batches = questions.cloze_batches(B, 1)
    task = ClosedBook(experiment.models, batches, never, never)
    loss, _, found = gradients(task, {"reader": params["reader"]}, next(iter(batches)))
    assert learns(found, "reader") and loss > 0


def test_cloze_answers_end_at_the_first_padding(world, tmp_path):
    """A reader that says the right answer, then padding, then rubbish."""
    experiment = world.experiment(tmp_path, evaluation={"batch_size": 4})
    questions = experiment.questions("dev")
    pieces = [world.tokenizer.encode(answers[0]).ids for answers in questions.answers]
    said = np.full((len(questions), 6), 150)
    for row, ids in zip(said, pieces, strict=True):
        row[: len(ids) + 1] = [*ids, 0][:6]
    assert said.shape == (4, 6)
    experiment.models.read = lambda *_: jax.nn.one_hot(jnp.asarray(said), world.tokenizer.vocab_size)
    assert cloze_answers(experiment, {}, questions) == [world.tokenizer.decode(ids) for ids in pieces]


def test_cloze_answers_do_not_depend_on_the_batch(world, tmp_path, questions, params):
    found = []
    for size in (4, 14):
        experiment = world.experiment(tmp_path, evaluation={"batch_size": size})
        found.append(cloze_answers(experiment, params["reader"], questions))
    assert found[0] == found[1] and len(found[0]) == len(questions)
