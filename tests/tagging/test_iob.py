"""Entities out of labels: CoNLL's two ways of writing them mean the same."""

from hypothesis import given
from hypothesis import strategies as st

from realm_jax.tagging.iob import entities, iob2

labels = st.lists(st.sampled_from(("O", "B-PER", "I-PER", "B-LOC", "I-LOC")), max_size=12)


def test_entities_of_both_ways_of_labelling():
    wanted = [(0, 2, "PER"), (3, 4, "LOC"), (4, 6, "LOC"), (6, 7, "PER")]
    assert list(entities(["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC", "B-PER"])) == wanted
    assert list(entities(["I-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-LOC", "I-PER"])) == wanted
    assert list(entities([])) == list(entities(["O", "O"])) == []


@given(labels)
def test_iob2_keeps_the_entities(found):
    written = iob2(found)
    assert list(entities(written)) == list(entities(found)) and iob2(written) == written
    for i, (old, new) in enumerate(zip(found, written, strict=True)):
        follows = i > 0 and old[2:] == found[i - 1][2:]
        assert new == (old if old == "O" or (old[0] == "I" and follows) else f"B-{old[2:]}")
