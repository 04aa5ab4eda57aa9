"""The reader's warm-up: which passages it reads, and what they teach it."""

import dataclasses

import numpy as np
import pytest

from realm_jax.corpus.holders import MAX_HOLDERS
from realm_jax.training.tasks.warm_up import WarmUp
from tests.training.tasks.losses import B, gradients, learns, never, row_ids


def warm_up(world, experiment, **settings):
    settings = {"steps": 101, "distractor": 0.0, "null_passage": 0.0} | settings
    return WarmUp(world.settings(warm_up=settings), experiment.models, experiment.store, None, never)


def drawn(task, experiment, steps, holders=(5, 6, -1)):
    """Which rows the queries of passage 2 were read with, over many steps."""
    count = 50
    row = next(iter(experiment.masked_queries("train").batches(1, 1)))[np.zeros(count, int)]
    known = np.pad(np.array(holders, np.int32), (0, MAX_HOLDERS - len(holders)), constant_values=-1)
    batch = dataclasses.replace(row, origin=np.full(count, 2, np.int32), holders=np.tile(known, (count, 1)))
    passages = [task.retrieve(None, batch, step)[0].passages for step in steps]
    return row_ids(experiment, np.concatenate(passages)).ravel()


def share(rows, *which):
    return float(np.isin(rows, which).mean())


def test_warm_up_reads_a_falling_share_of_own_passages(world, experiment):
    task = warm_up(world, experiment, own_passage_start=1.0, own_passage_end=0.2)
    assert share(drawn(task, experiment, [0]), 2) == 1.0
    middle = drawn(task, experiment, range(40, 61))
    assert share(middle, 2) == pytest.approx(0.6, abs=0.06)
    assert share(middle, 5) == pytest.approx(0.2, abs=0.05) == share(middle, 6)
    assert share(drawn(task, experiment, [100] * 1), 2) == pytest.approx(0.2, abs=0.2)
    assert share(middle, 2, 5, 6) == 1.0


def test_warm_up_reads_its_own_passage_where_no_other_holds_the_answer(world, experiment):
    task = warm_up(world, experiment, own_passage_start=0.0, own_passage_end=0.0)
    assert share(drawn(task, experiment, range(3), holders=(-1, -1, -1)), 2) == 1.0
    assert share(drawn(task, experiment, range(3)), 2) == 0.0


def test_warm_up_reads_the_null_passage_and_distractors(world, experiment):
    task = warm_up(world, experiment, null_passage=0.25, distractor=0.5)
    rows, null = drawn(task, experiment, range(40)), experiment.store.null_id
    told = share(rows, 2, 5, 6)
    assert told == pytest.approx(0.25, abs=0.04)
    assert share(rows, null) >= 0.25 - 0.04
    distractors = set(rows.tolist()) - {2, 5, 6, null}
    assert len(distractors) > experiment.store.num_passages // 2


def test_warm_up_draws_the_same_in_every_run_and_anew_at_every_step(world, experiment):
    task, again = (warm_up(world, experiment, null_passage=0.2, distractor=0.3) for _ in range(2))
    np.testing.assert_array_equal(drawn(task, experiment, [3, 4]), drawn(again, experiment, [3, 4]))
    assert not np.array_equal(drawn(task, experiment, [3]), drawn(task, experiment, [4]))


def test_warm_up_teaches_the_reader(world, experiment, params):
    task = warm_up(world, experiment)
    batch, _ = task.retrieve(None, next(iter(experiment.masked_queries("train").batches(B, 1))), 0)
    loss, metrics, found = gradients(task, {"reader": params["reader"]}, batch)
    assert learns(found, "reader") and loss > 0 and 0 <= metrics["reader/token_accuracy"] <= 1
