"""The threshold is the best of all on dev, curves and figures are counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.evaluation.confidence import BELOW, POINTS, curve, figures, measure, threshold
from realm_jax.workdir import Workdir, read_json

answers = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=20)


@given(answers, st.sampled_from([0.0, 0.5, 1.0, 3.0]))
def test_no_threshold_is_better(found, cost):
    p, right = np.array([p for p, _ in found]), np.array([right for _, right in found])

    def worth(below):
        given = p >= below
        return right[given].sum() - cost * (~right[given]).sum()

    below = threshold(p, right, cost)
    assert worth(below) == max(map(worth, [0.0, *p, 1.1]))
    if not cost:
        assert worth(below) == right.sum()


def test_the_threshold_lies_between_two_answers():
    p, right = np.array([0.9, 0.2, 0.6, 0.4]), np.array([True, False, True, False])
    assert threshold(p, right, 1.0) == pytest.approx(0.5)
    assert threshold(p, ~right, 1.0) == 0.0 or threshold(p, ~right, 3.0) > 0.9
    assert threshold(p, np.ones(4, bool), 1.0) == 0.0
    assert threshold(p, np.zeros(4, bool), 1.0) > 0.9


def test_curves_go_from_the_surest_answer_to_all():
    p, right = np.array([0.2, 0.9, 0.6]), np.array([False, True, True])
    np.testing.assert_allclose(curve(p, right), [[1 / 3, 0, 0.9], [2 / 3, 0, 0.6], [1, 1 / 3, 0.2]])
    many = curve(np.linspace(0, 1, 999), np.arange(999) % 2 == 0)
    assert len(many) == POINTS and many[-1][0] == 1 and many[-1][1] == pytest.approx(499 / 999)


def test_figures_of_what_is_answered():
    p, right = np.array([0.2, 0.9, 0.6, 0.5]), np.array([False, True, False, True])
    two_of_three = pytest.approx(2 / 3)
    assert figures(p, right, 0.5, "_dev") == {"qa/coverage_dev": 0.75, "qa/exact_match_answered_dev": two_of_three}
    assert figures(p, right, 1.1, "") == {"qa/coverage": 0.0, "qa/exact_match_answered": 0.0}


def test_dev_chooses_and_the_workdir_keeps_it(tmp_path):
    workdir, sure = Workdir(tmp_path), (np.array([0.9, 0.1]), np.array([True, False]))
    suffixes = {"dev": "_dev", "test": ""}
    found = measure(workdir, {"dev": sure, "test": (sure[0], ~sure[1])}, suffixes, 1.0)
    assert found["qa/unknown_below"] == pytest.approx(0.5) == read_json(workdir.unknown)[BELOW]
    assert (found["qa/coverage_dev"], found["qa/exact_match_answered"]) == (0.5, 0.0)
    assert set(found["risk_coverage"]) == {"dev", "test"}
    assert measure(workdir, {"test": sure}, suffixes, 1.0) == {} and not workdir.unknown.exists()
