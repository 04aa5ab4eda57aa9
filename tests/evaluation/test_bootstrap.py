"""The interval of a difference, against a plain NumPy form and by its properties."""

import numpy as np
import pytest

from realm_jax.evaluation.bootstrap import mean_and_error, paired_difference


def plain(one, other, groups, samples):
    """Draw by draw."""
    draw, names = np.random.default_rng(5), sorted(set(groups))
    places = {name: [i for i, group in enumerate(groups) if group == name] for name in names}
    means = []
    for _ in range(samples):
        seeds = draw.integers(len(one), size=len(one))
        questions = [i for name in draw.choice(names, len(names)) for i in places[name]]
        means.append((one[seeds][:, questions] - other[seeds][:, questions]).mean())
    return np.percentile(means, [2.5, 97.5])


@pytest.fixture
def arms():
    """Two arms, 3 seeds, 60 questions in groups of unequal sizes, which are right or wrong together."""
    draw = np.random.default_rng(0)
    groups = np.sort(draw.integers(12, size=60))
    hard = draw.random(12)[groups]
    shift = np.array([[0.0], [0.1], [0.25]])
    one = (draw.random((3, 60)) + shift > hard).astype(float)
    return one, (draw.random((3, 60)) > hard).astype(float), [f"country {group}" for group in groups]


def test_equals_the_plain_form(arms):
    found = paired_difference(*arms, samples=20_000)
    assert found.mean == pytest.approx((arms[0] - arms[1]).mean())
    assert (found.low, found.high) == pytest.approx(plain(*arms, samples=20_000), abs=0.008)


def test_is_the_same_every_time_and_turns_round(arms):
    one, other, groups = arms
    found, again, turned = (
        paired_difference(one, other, groups),
        paired_difference(one, other, groups),
        paired_difference(other, one, groups),
    )
    assert found == again
    assert (turned.mean, turned.low, turned.high) == pytest.approx((-found.mean, -found.high, -found.low))


def test_pairing_takes_away_what_questions_have_in_common(arms):
    """Equal arms differ by nothing, however hard the questions are; one that is always better is surely so."""
    one, _, groups = arms
    assert paired_difference(one, one, groups) == paired_difference(one * 0, one * 0, groups)
    better = paired_difference(np.ones((2, 60)), np.zeros((2, 60)), groups)
    assert (better.mean, better.low, better.high) == (1, 1, 1) and better.is_sure


def test_questions_of_a_group_count_as_fewer():
    """Ten questions that are always right together say no more than one."""
    one = np.repeat(np.arange(8) % 2, 10).astype(float)[None]
    together = paired_difference(one, one * 0 + 0.5, [i // 10 for i in range(80)])
    alone = paired_difference(one, one * 0 + 0.5, range(80))
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_seeds_that_disagree_widen_it():
    one = np.repeat([[0.0], [1.0], [0.5]], 50, axis=1)
    found = paired_difference(one, one * 0, range(50))
    assert found.high - found.low > 0.5  # questions alone would leave nothing open
    assert paired_difference(one[2:], one[2:] * 0, range(50)).high == 0.5


def test_mean_and_standard_error():
    assert mean_and_error([0.3]) == (0.3, None)
    mean, error = mean_and_error([1.0, 2.0, 6.0])
    assert (mean, error) == pytest.approx((3.0, np.sqrt(7.0 / 3.0)))
