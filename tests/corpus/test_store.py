"""The store holds what was written, the null passage last, and appears whole or not at all."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.corpus import store
from realm_jax.corpus.store import PassageStore, write_store
from realm_jax.errors import UserError
from tests.corpus import toy

TOKENIZER = toy.tokenizer()
P = 11
rows = st.lists(st.lists(st.integers(1, TOKENIZER.vocab_size - 1), min_size=1, max_size=P), max_size=9)


@given(rows, st.integers(1, 4))
def test_round_trip_whatever_is_written_at_once(tmp_path_factory, content, at_once):
    directory = tmp_path_factory.mktemp("data") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_ROWS_AT_ONCE", at_once)
        count = write_store(directory, (np.array(row, np.int32) for row in content), P, TOKENIZER)
    opened = PassageStore.open(directory)
    assert count == opened.num_passages == opened.null_id == len(content)
    assert opened.tokens.shape == (len(content) + 1, P) and opened.tokens.dtype == np.uint16
    for stored, row in zip(opened.tokens, content, strict=False):
        assert stored.tolist() == row + [TOKENIZER.pad_id] * (P - len(row))
    null = opened.rows(np.array([[opened.null_id]]))
    assert null.shape == (1, 1, P) and null.dtype == np.int32
    assert null[0, 0, :4].tolist() == [TOKENIZER.cls_id, TOKENIZER.sep_id, TOKENIZER.sep_id, TOKENIZER.pad_id]


def test_fingerprints_tell_contents_apart(tmp_path):
    def fingerprint(name, content, length=P):
        write_store(tmp_path / name, (np.array(row) for row in content), length, TOKENIZER)
        return PassageStore.open(tmp_path / name).fingerprint

    first = fingerprint("a", [[5, 6], [7]])
    assert first == fingerprint("b", [[5, 6], [7]])
    assert len({first, fingerprint("c", [[5, 7], [7]]), fingerprint("d", [[7], [5, 6]]), fingerprint("e", [], 12)}) == 4


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def failing():
        yield np.array([5, 6])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "store", failing(), P, TOKENIZER)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="run `prepare` first"):
        PassageStore.open(tmp_path / "store")


def test_a_store_that_is_not_what_it_says(tmp_path):
    write_store(tmp_path / "store", [np.array([5, 6])], P, TOKENIZER)
    np.save(tmp_path / "store" / "tokens.npy", np.zeros((5, P), np.uint16))
    with pytest.raises(UserError, match=r"tokens.npy: uint16 \[5, .*run `prepare` again"):
        PassageStore.open(tmp_path / "store")


def test_a_token_that_has_changed_is_noticed(tmp_path):
    """Also by a sample, where the store is so small that it has all of it."""
    write_store(tmp_path / "store", [np.array([5, 6])] * 3, P, TOKENIZER)
    tokens = np.load(tmp_path / "store" / "tokens.npy")
    tokens[1, 0] ^= 4
    np.save(tmp_path / "store" / "tokens.npy", tokens)
    for most in (None, 1):
        with pytest.raises(UserError, match=r"tokens.npy: damaged, rows 0 to 3 .*run `prepare` again"):
            PassageStore.open(tmp_path / "store", most)
    assert PassageStore.open(tmp_path / "store", 0).num_passages == 3, "nobody asked to compare any"
    meta = json.loads((tmp_path / "store" / "meta.json").read_text())
    del meta["checksums"]
    (tmp_path / "store" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="damaged, its rows have not the fingerprint of meta.json"):
        PassageStore.open(tmp_path / "store")
    tokens[1, 0] ^= 4
    np.save(tmp_path / "store" / "tokens.npy", tokens)
    assert PassageStore.open(tmp_path / "store").num_passages == 3, "of an earlier version"
