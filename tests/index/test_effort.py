"""How far an index looks: the least that reaches the recall asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.config import Index
from realm_jax.index import embed_passages, scann, snapshots
from realm_jax.index.effort import reach
from realm_jax.index.exact import ExactIndex, recall_against_exact
from realm_jax.index.scann import Parameters, ScannIndex
from tests.index.test_scann import clustered


class Ladder(ExactIndex):
    """An index that is given its recall at each effort."""

    def __init__(self, recalls, effort):
        self.recalls, self.effort, self.most_effort = recalls, effort, len(recalls) - 1

    def with_effort(self, effort):
        return Ladder(self.recalls, effort)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40).map(sorted), st.floats(0, 1), st.data())
def test_the_least_effort_that_reaches_it_is_taken(recalls, target, data):
    start, tried = data.draw(st.integers(0, len(recalls) - 1)), []

    def recall_of(index):
        tried.append(index.effort)
        return recalls[index.effort]

    index, recall = reach(Ladder(recalls, start), recall_of, target)
    enough = [effort for effort in range(start, len(recalls)) if recalls[effort] >= target]
    assert index.effort == (enough[0] if enough else len(recalls) - 1)
    assert recall == recalls[index.effort]
    assert len(tried) == len(set(tried)) <= 2 + np.log2(len(recalls)) + 1


@pytest.fixture(scope="module")
def narrow():
    """An index whose own effort finds too little, its vectors and queries."""
    vectors = clustered(5_000, 32)
    queries = vectors[::25] + 0.3 * np.random.default_rng(1).standard_normal((200, 32), dtype=np.float32)
    return ScannIndex(vectors, Parameters(len(vectors), 71, 1, 1, reorder=10)), vectors, queries


def test_scann_looks_into_more_leaves_and_then_computes_more_scores(narrow):
    index, vectors, queries = narrow
    recalls = [recall_against_exact(index.with_effort(effort), vectors, queries, 10) for effort in (1, 5, 20, 71, 75)]
    assert recalls == sorted(recalls) and recalls[0] < 0.8 and recalls[-1] > max(0.99, recalls[-2])
    assert index.with_effort(71).looks == {"leaves": 71, "leaves_to_search": 71, "reorder": 10}
    assert index.with_effort(75).looks == {"leaves": 71, "leaves_to_search": 71, "reorder": 160}
    assert index.most_effort == 75 and index.effort == 1  # the first one is as it was


def test_a_snapshot_keeps_how_far_its_index_looks(narrow, tmp_path, monkeypatch, capsys):
    _, vectors, queries = narrow
    monkeypatch.setattr(scann, "choose_parameters", lambda count: Parameters(count, 71, 1, 1, reorder=100))
    tokens = np.arange(len(vectors) + 1, dtype=np.int32)[:, None] + 1

    def built(step, recall, asked=None):
        def embed(rows):
            return np.concatenate([vectors, vectors[:1]])[np.asarray(rows)[:, 0] - 1]

        settings = Index(kind="scann", recall=recall)
        embed_passages.build_snapshot(step, embed, tokens, "f00d", settings, tmp_path, queries=lambda: asked)
        snapshot = snapshots.load(tmp_path, step)
        return snapshot.manifest, snapshot.index(settings)

    manifest, index = built(0, 0.9, queries)
    assert (
        manifest.recall == pytest.approx(recall_against_exact(index, vectors, queries, 10)) and manifest.recall >= 0.9
    )
    assert manifest.looks == index.looks and 1 < index.looks["leaves_to_search"] < 71
    least = index.with_effort(index.effort - 1)
    assert recall_against_exact(least, vectors, queries, 10) < 0.9
    assert built(1, 0.0)[1].effort == 1  # the rule's own
    assert "warning" not in capsys.readouterr().err
    monkeypatch.setattr(ScannIndex, "most_effort", 2)
    manifest, index = built(2, 1.0, queries)
    assert index.effort == 2 and manifest.recall < 1
    said = capsys.readouterr().err
    assert "warning: index.recall: 1.0 of the 10 best passages" in said and f"finds {manifest.recall:.3f}" in said
