"""Learned salience: what was measured decides what is drawn, and a checkpoint keeps all of it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.config import Masking
from realm_jax.text.salience import PRIOR, LearnedSalience, bucket

KINDS = ("date", "name", "word")


def salience(**settings) -> LearnedSalience:
    return LearnedSalience(Masking(kind="learned", **{"floor": 0.0, "temperature": 1.0} | settings), KINDS)


def array(*values) -> np.ndarray:
    return np.array(values)


def test_before_any_measurement_all_are_as_likely():
    np.testing.assert_allclose(salience().probabilities(array(0, 1, 2, 2), array(3, 4, 5, 6)), 0.25)


def test_estimates_are_decayed_means_filled_up_with_the_kinds():
    """By hand: two steps, in the second of which the first counts half."""
    learned = salience(decay=0.5)
    learned.observe(array(1, 1), array(7, 8), array(2.0, 4.0))
    learned.observe(array(1, 0), array(7, 9), array(1.0, -1.0))
    everything = (0.5 * 6.0 + 0.0) / (0.5 * 2 + 2)
    name = (0.5 * 6.0 + 1.0 + PRIOR * everything) / (0.5 * 2 + 1 + PRIOR)
    date = (-1.0 + PRIOR * everything) / (1 + PRIOR)
    word = everything
    np.testing.assert_allclose(learned.of_kinds(), [date, name, word])
    known = (0.5 * 2.0 + 1.0 + PRIOR * name) / (0.5 + 1 + PRIOR)
    found = learned.estimates(array(1, 1, 2), array(7, 1234, 1234))
    np.testing.assert_allclose(found, [known, name, word])


@given(
    st.lists(st.floats(-3, 3), min_size=2, max_size=9),
    st.floats(0.1, 5.0),
    st.floats(0.0, 1.0),
)
def test_probabilities_are_in_proportion_to_a_power_of_utility_above_a_floor(utilities, temperature, floor):
    learned = salience(temperature=temperature, floor=floor, decay=1.0)
    spans, kinds = np.arange(len(utilities)), np.zeros(len(utilities), int)
    for _ in range(200):  # so often that the prior counts for little
        learned.observe(kinds, spans, np.array(utilities))
    found, estimates = learned.probabilities(kinds, spans), learned.estimates(kinds, spans)
    assert found.sum() == pytest.approx(1.0) and (found >= floor / len(utilities) - 1e-12).all()
    worth = np.maximum(estimates, 0.0) ** (1 / temperature)
    if worth.sum() > 1e-9:
        np.testing.assert_allclose(found, (1 - floor) * worth / worth.sum() + floor / len(worth), rtol=1e-6, atol=1e-9)


def test_draws_follow_the_probabilities_and_never_repeat():
    learned = salience(decay=1.0, floor=0.1)
    kinds, spans = array(0, 1, 2, 2), array(1, 2, 3, 4)
    for _ in range(100):
        learned.observe(kinds, spans, array(3.0, 1.0, 0.0, -2.0))
    drawn = [learned.draw(kinds, spans, 1, np.random.default_rng(i))[0] for i in range(3000)]
    shares = np.bincount(drawn, minlength=4) / 3000
    np.testing.assert_allclose(shares, learned.probabilities(kinds, spans), atol=0.03)
    for i in range(50):
        assert len(set(learned.draw(kinds, spans, 3, np.random.default_rng(i)))) == 3


def test_with_no_floor_what_is_worth_nothing_is_drawn_only_where_nothing_else_is():
    learned = salience(decay=1.0)
    kinds, spans = array(0, 1, 2), array(1, 2, 3)
    for _ in range(100):
        learned.observe(kinds, spans, array(1.0, -1.0, -1.0))
    assert {int(learned.draw(kinds, spans, 1, np.random.default_rng(i))[0]) for i in range(50)} == {0}


def test_what_was_measured_survives_json_exactly():
    learned, draw = salience(), np.random.default_rng(2)
    for _ in range(20):
        learned.observe(draw.integers(0, 3, 8), draw.integers(0, 1 << 16, 8), draw.normal(size=8))
    again = salience()
    again.set_state(json.loads(json.dumps(learned.state())))
    kinds, spans = draw.integers(0, 3, 99), draw.integers(0, 1 << 16, 99)
    np.testing.assert_array_equal(again.estimates(kinds, spans), learned.estimates(kinds, spans))
    assert again.state() == learned.state() and len(learned.state()["spans"]) > 100


def test_a_span_has_its_own_place_whatever_type_its_numbers_have():
    assert bucket(np.array([5, 6], np.int32)) == bucket(np.array([5, 6], np.int64)) != bucket(np.array([6, 5]))
