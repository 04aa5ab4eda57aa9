"""Masks hide what they say, whole, within the sentence; putting the targets back gives the sentence."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm_jax.kinds import MASKINGS
from realm_jax.text.masking import Special, mask_query

SPECIAL = Special(pad=0, cls=101, sep=102, mask=103)
V = 1_000
CONTINUES = np.arange(V) >= 700
"""In these tests wordpieces from 700 on go on with a word."""
KINDS = ("salient", "spans", "words", "tokens")


def sentence(pieces, seed=0):
    """(ids, offsets) of words of the given numbers of wordpieces; a wordpiece is 2 characters, a space 1."""
    generator, ids, offsets, at = np.random.default_rng(seed), [], [], 0
    for count in pieces:
        for i in range(count):
            ids.append(int(generator.integers(700, V) if i else generator.integers(200, 700)))
            offsets.append((at, at + 2))
            at += 2
        at += 1
    return np.array(ids, np.int32), np.array(offsets, np.int32).reshape(-1, 2)


def mask(pieces, spans=(), kind="salient", seed=0, query_length=64, max_masks=10, **more):
    ids, offsets = sentence(pieces)
    generator = np.random.default_rng(seed)
    arguments = {
        "query_length": query_length,
        "max_masks": max_masks,
        "special": SPECIAL,
        "continues": CONTINUES,
    } | more
    return ids, mask_query(ids, offsets, spans, MASKINGS[kind].load(), generator, **arguments)


def words_of(ids):
    return np.cumsum(~CONTINUES[ids]) - 1


WORDS = st.lists(st.integers(1, 4), min_size=1, max_size=30)


@st.composite
def problems(draw):
    pieces = draw(WORDS)
    _, offsets = sentence(pieces)
    words = words_of(sentence(pieces)[0])
    spans = []
    for first in draw(st.lists(st.integers(0, len(pieces) - 1), min_size=1, max_size=4)):
        inside = np.flatnonzero((words >= first) & (words <= first + draw(st.integers(0, 3))))
        spans.append((int(offsets[inside[0], 0]), int(offsets[inside[-1], 1]), 0))
    return {
        "pieces": pieces,
        "spans": spans,
        "kind": draw(st.sampled_from(KINDS)),
        "seed": draw(st.integers(0, 1000)),
        "query_length": draw(st.sampled_from([12, 40, 90])),
        "max_masks": draw(st.sampled_from([1, 5, 10])),
        "fraction": draw(st.sampled_from([0.0, 0.15, 0.5])),
        "prefix": draw(st.sampled_from([[], [150, 151, 152], list(range(200, 250))])),
    }


@settings(max_examples=300, deadline=None)
@given(problems())
def test_unmasking_restores_the_query_and_masks_stay_in_the_sentence(problem):
    ids, masked = mask(**problem)
    if masked is None:
        return
    length, prefix = problem["query_length"], problem["prefix"][: (problem["query_length"] - 2) // 2]
    kept = ids[: length - 2 - len(prefix)]
    plain = np.array([101, *prefix, *kept, 102])
    plain = np.pad(plain, (0, length - len(plain)))
    count = int(masked.mask_weights.sum())
    positions, targets = masked.mask_positions[:count], masked.mask_targets[:count]
    restored = masked.query.copy()
    restored[positions] = targets
    np.testing.assert_array_equal(restored, plain)
    np.testing.assert_array_equal(
        np.flatnonzero(masked.query == 103), positions
    )  # ascending, and nothing else is hidden
    assert 1 <= count <= problem["max_masks"]
    assert positions.min() >= 1 + len(prefix) and positions.max() <= len(prefix) + len(kept)
    np.testing.assert_array_equal(masked.mask_weights, np.arange(problem["max_masks"]) < count)
    for filled in (masked.mask_positions, masked.mask_targets, masked.mask_spans):
        assert (filled[count:] == 0).all() and filled.dtype == np.int32 and filled.shape == (problem["max_masks"],)
    groups = masked.mask_spans[:count]
    assert groups[0] == 0 and set(np.diff(groups)) <= {0, 1}


@settings(max_examples=200, deadline=None)
@given(problems())
def test_what_each_kind_hides(problem):
    ids, masked = mask(**problem)
    if masked is None:
        return
    prefix = problem["prefix"][: (problem["query_length"] - 2) // 2]
    kept = ids[: problem["query_length"] - 2 - len(prefix)]
    count = int(masked.mask_weights.sum())
    places = masked.mask_positions[:count] - 1 - len(prefix)
    if problem["kind"] == "salient":
        start, limit, _ = problem["spans"][masked.chosen]
        _, offsets = sentence(problem["pieces"])
        np.testing.assert_array_equal(places, np.flatnonzero((offsets[:, 0] >= start) & (offsets[:, 1] <= limit)))
        assert (masked.mask_spans == 0).all()
        return
    assert masked.chosen == -1
    budget = min(problem["max_masks"], max(1, round(problem["fraction"] * len(kept))))
    assert count <= budget
    if problem["kind"] == "tokens":
        assert count == budget
        return
    words = words_of(kept)
    for group in range(masked.mask_spans[:count].max() + 1):
        hidden = words[places[masked.mask_spans[:count] == group]]
        np.testing.assert_array_equal(hidden, words[np.isin(words, hidden)])  # whole words
        np.testing.assert_array_equal(np.unique(hidden), np.arange(hidden[0], hidden[-1] + 1))  # one run of them
        assert len(set(hidden)) <= (1 if problem["kind"] == "words" else 10)


@settings(max_examples=50, deadline=None)
@given(problems())
def test_the_same_generator_gives_the_same_masks(problem):
    (_, first), (_, second) = mask(**problem), mask(**problem)
    assert (first is None) == (second is None)
    if first is not None:
        for name, value in vars(first).items():
            np.testing.assert_array_equal(value, getattr(second, name))


@pytest.mark.parametrize("kind", ["spans", "words", "tokens"])
def test_words_of_one_piece_are_hidden_to_the_fraction(kind):
    counts = [int(mask([1] * 40, kind=kind, seed=seed, fraction=0.2)[1].mask_weights.sum()) for seed in range(50)]
    assert set(counts) == {8}


def test_spans_have_geometric_lengths():
    lengths = collections.Counter()
    for seed in range(400):
        _, masked = mask([1] * 400, kind="spans", seed=seed, fraction=0.5, query_length=500, max_masks=200)
        # The last run is drawn shorter where the fraction leaves no room; it is a small share of all.
        lengths.update(collections.Counter(masked.mask_spans.tolist()).values())
    total = lengths.total()
    assert max(lengths) == 10
    for length in range(1, 6):
        assert lengths[length] / total == pytest.approx(0.2 * 0.8 ** (length - 1), abs=0.03)


def test_salient_spans_are_drawn_evenly_among_the_usable():
    # words at characters: 0-2, 3-5, 6-12 (three pieces), 13-15, 16-18
    pieces, spans = [1, 1, 3, 1, 1], [(0, 2, 0), (6, 12, 1), (13, 18, 2)]
    chosen = collections.Counter(mask(pieces, spans, seed=seed)[1].chosen for seed in range(600))
    assert set(chosen) == {0, 1, 2} and min(chosen.values()) > 150
    chosen = {mask(pieces, spans, seed=seed, max_masks=2)[1].chosen for seed in range(40)}
    assert chosen == {0, 2}  # three wordpieces do not fit into two masks
    chosen = {mask(pieces, spans, seed=seed, query_length=7)[1].chosen for seed in range(40)}
    assert chosen == {0, 1}  # the last span is cut off


def test_a_span_that_ends_inside_a_wordpiece_hides_all_of_it():
    _, masked = mask([1, 2, 1], [(4, 6)])  # the word's pieces stand at 3-5 and 5-7
    np.testing.assert_array_equal(masked.mask_positions[:2], [2, 3])


@pytest.mark.parametrize(("pieces", "spans"), [([1, 1], []), ([], [(0, 2)]), ([1, 1], [(40, 50)]), ([4, 1], [(0, 8)])])
def test_nothing_to_hide_is_none(pieces, spans):
    assert mask(pieces, spans, max_masks=3)[1] is None
    for kind in ("spans", "words", "tokens"):
        assert (mask(pieces, kind=kind)[1] is None) == (not pieces)
