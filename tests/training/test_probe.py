"""The recall probe against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.corpus.store import PassageStore
from realm_jax.training.probe import DEPTH, RecallProbe, probe_pool

N, Q = 30, 9
DRAW = np.random.default_rng(3)
PASSAGES = DRAW.normal(size=(N + 1, 4)).astype(np.float32)
QUERIES = DRAW.normal(size=(Q, 4)).astype(np.float32)
TABLE = np.concatenate([PASSAGES, QUERIES])


def rows(ids, length):
    """Token rows whose first token, from 1 on, tells the vector; of different lengths."""
    out = np.zeros((len(ids), length), np.int32)
    for row, i in zip(out, ids, strict=True):
        row[: 1 + i % length] = 1 + i
    return out


STORE = PassageStore(rows(np.arange(N + 1), 37), "fingerprint")
QUERY_ROWS = rows(np.arange(N + 1, N + 1 + Q), 11)
holder_lists = st.lists(st.lists(st.integers(0, N - 1), max_size=3, unique=True), min_size=Q, max_size=Q)


def embedder(params):
    return lambda tokens: TABLE[np.asarray(tokens)[:, 0] - 1] * params


def probe(sets, size=12, rows_per_batch=4):
    return RecallProbe(sets, STORE, size, 1, rows_per_batch, embedder)


@given(holders=holder_lists, size=st.integers(1, 40), seed=st.integers(0, 9))
def test_pool_has_every_holder_and_others_up_to_the_size(holders, size, seed):
    holders = [np.array(some, np.int32) for some in holders]
    pool = probe_pool(holders, size, N, seed)
    needed = set(np.concatenate(holders).tolist())
    assert needed <= set(pool.tolist()) <= set(range(N))
    assert len(pool) == max(len(needed), min(size, N)) and (np.diff(pool) > 0).all()
    np.testing.assert_array_equal(pool, probe_pool(holders, size, N, seed))


def test_pools_of_two_seeds_differ():
    assert not np.array_equal(probe_pool([], 10, N, 1), probe_pool([], 10, N, 2))


@given(
    holders=holder_lists, banned=st.lists(st.integers(-1, N - 1), min_size=Q, max_size=Q), sign=st.sampled_from([1, -1])
)
def test_recall_equals_brute_force(holders, banned, sign):
    holders, banned = [np.array(some, np.int64) for some in holders], np.array(banned)
    figures = probe({"span": (QUERY_ROWS, holders, banned)}, size=15)(sign)
    pool, hits = probe_pool(holders, 15, N, 1).tolist(), 0
    for query, wanted, ban in zip(QUERIES, holders, banned, strict=True):
        allowed = [row for row in pool if row != ban]
        best = sorted(allowed, key=lambda row: -float(PASSAGES[row] @ query))[:DEPTH]
        hits += bool(set(best) & set(wanted.tolist()))
    assert figures["probe/span_recall@5"] == pytest.approx(hits / Q)


def test_a_banned_passage_is_never_found():
    holders = [np.array([i]) for i in range(Q)]
    figures = probe({"span": (QUERY_ROWS, holders, np.arange(Q))}, size=1)(1.0)
    assert figures["probe/span_recall@5"] == 0.0
    assert probe({"span": (QUERY_ROWS, holders, np.full(Q, -1))}, size=1)(1.0)["probe/span_recall@5"] > 0.0


def test_the_first_set_gives_the_score():
    easy = [np.arange(N)] * Q
    never = [np.array([i]) for i in range(Q)]
    sets = {"span": (QUERY_ROWS, never, np.arange(Q)), "question": (QUERY_ROWS[:5], easy[:5], np.full(5, -1))}
    figures = probe(sets)(1.0)
    assert figures == {"probe/span_recall@5": 0.0, "probe/question_recall@5": 1.0, "probe/score": 0.0}
