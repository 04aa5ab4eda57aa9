"""Every objective against NumPy and SciPy-free loops written from the formulas, and the properties they must have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax import objectives

B, K, M, S, E, V, N = 3, 4, 5, 7, 6, 11, 8
MARGINALIZE = ["token", "span"]
# As training has them: eager, every case of each would be dozens of small programs.
marginal_log_likelihood, marginal_loss, retrieval_utility, candidate_gain, masked_mean = map(
    jax.jit,
    (
        *(objectives.marginal_log_likelihood, objectives.marginal_loss, objectives.retrieval_utility),
        *(objectives.candidate_gain, objectives.masked_mean),
    ),
)


def log_sum_exp(values):
    top = np.max(values)
    return top + np.log(np.sum(np.exp(np.asarray(values) - top)))


def log_softmax(values):
    return np.asarray(values) - log_sum_exp(values)


class Case:
    """Random scores and readings; some masks are padding, one query has none."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.f = rng.normal(size=(B, K)).astype(np.float32)
        self.log_p_z = np.stack([log_softmax(row) for row in self.f])
        self.log_p_y = -rng.gamma(2.0, size=(B, K, M)).astype(np.float32)
        self.weights = (rng.random((B, M)) < 0.7).astype(np.float32)
        self.weights[0, :2] = 1
        self.weights[-1] = 0
        self.numbers = rng.integers(0, 3, (B, M)).astype(np.int32)

    def spans(self, marginalize):
        return self.numbers if marginalize == "span" else None

    def groups(self, b, marginalize):
        """Masks of query b that are read together."""
        masks = [m for m in range(M) if self.weights[b, m]]
        if marginalize == "token":
            return {m: [m] for m in masks}
        return {s: [m for m in masks if self.numbers[b, m] == s] for s in {self.numbers[b, m] for m in masks}}

    def parts(self, marginalize, b):
        return {
            place: log_sum_exp([self.log_p_z[b, k] + sum(self.log_p_y[b, k, m] for m in masks) for k in range(K)])
            for place, masks in self.groups(b, marginalize).items()
        }

    def arguments(self, marginalize):
        return self.log_p_z, self.log_p_y, self.weights, self.spans(marginalize)


@pytest.fixture(params=range(3))
def case(request):
    return Case(request.param)


def test_scores_and_retrieval_log_probs():
    rng = np.random.default_rng(0)
    queries, passages = rng.normal(size=(B, E)).astype(np.float32), rng.normal(size=(B, K, E)).astype(np.float32)
    want = np.array([[0.3 * queries[b] @ passages[b, k] for k in range(K)] for b in range(B)])
    f = objectives.scores(queries, passages, 0.3)
    np.testing.assert_allclose(f, want, rtol=1e-5)
    want = np.stack([log_softmax(row) for row in want])
    np.testing.assert_allclose(objectives.retrieval_log_probs(f), want, rtol=1e-4)


def test_target_log_probs():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(B, K, M, V)).astype(np.float32), rng.integers(0, V, (B, K, M))
    got = objectives.target_log_probs(logits, targets)
    for place in np.ndindex(B, K, M):
        assert got[place] == pytest.approx(log_softmax(logits[place])[targets[place]], rel=1e-5)


@pytest.mark.parametrize("marginalize", MARGINALIZE)
def test_marginal_log_likelihood(case, marginalize):
    want = np.zeros((B, M))
    for b in range(B):
        for place, value in case.parts(marginalize, b).items():
            want[b, place] = value
    got = marginal_log_likelihood(*case.arguments(marginalize))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("marginalize", MARGINALIZE)
def test_marginal_loss_and_utility(case, marginalize):
    total = sum(sum(case.parts(marginalize, b).values()) for b in range(B))
    null = sum(case.log_p_y[b, 0, m] for b in range(B) for m in range(M) if case.weights[b, m])
    loss = marginal_loss(*case.arguments(marginalize))
    utility = retrieval_utility(*case.arguments(marginalize))
    assert loss == pytest.approx(-total / case.weights.sum(), rel=1e-5)
    assert utility == pytest.approx((total - null) / case.weights.sum(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("marginalize", MARGINALIZE)
def test_candidate_gain_is_the_papers_formula(case, marginalize):
    want = np.zeros((B, K))
    for b in range(B):
        parts = case.parts(marginalize, b)
        for place, masks in case.groups(b, marginalize).items():
            for k in range(K):
                reading = np.exp(sum(case.log_p_y[b, k, m] for m in masks))
                want[b, k] += (reading / np.exp(parts[place]) - 1) * np.exp(case.log_p_z[b, k])
    got = candidate_gain(*case.arguments(marginalize))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("marginalize", MARGINALIZE)
def test_gradient_of_the_loss_is_the_candidate_gain(case, marginalize):
    def loss(f):
        log_p_z = objectives.retrieval_log_probs(f)
        return marginal_loss(log_p_z, case.log_p_y, case.weights, case.spans(marginalize))

    gain = candidate_gain(*case.arguments(marginalize))
    np.testing.assert_allclose(jax.grad(loss)(case.f), -gain / case.weights.sum(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gain.sum(-1), 0, atol=1e-5)


@pytest.mark.parametrize("marginalize", MARGINALIZE)
@given(order=st.permutations(range(K)), seed=st.integers(0, 99))
def test_order_of_candidates_does_not_matter(marginalize, order, seed):
    case, order = Case(seed), np.array(order)
    moved = case.log_p_z[:, order], case.log_p_y[:, order], case.weights, case.spans(marginalize)
    loss = marginal_loss(*case.arguments(marginalize))
    assert marginal_loss(*moved) == pytest.approx(float(loss), rel=1e-5)
    gain = candidate_gain(*case.arguments(marginalize))[:, order]
    np.testing.assert_allclose(candidate_gain(*moved), gain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("marginalize", MARGINALIZE)
def test_equal_passages_give_the_readers_own_loss(case, marginalize):
    """And then retrieval is worth nothing, and no candidate gains."""
    log_p_y = np.repeat(case.log_p_y[:, :1], K, axis=1)
    arguments = case.log_p_z, log_p_y, case.weights, case.spans(marginalize)
    own = -masked_mean(log_p_y[:, 0], case.weights)
    assert own == pytest.approx(-(log_p_y[:, 0] * case.weights).sum() / case.weights.sum(), rel=1e-5)
    assert marginal_loss(*arguments) == pytest.approx(float(own), rel=1e-5)
    assert retrieval_utility(*arguments) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(candidate_gain(*arguments), 0, atol=1e-5)


def test_spans_of_one_mask_are_tokens(case):
    each = np.tile(np.arange(M), (B, 1))
    got = marginal_loss(case.log_p_z, case.log_p_y, case.weights, each)
    assert got == pytest.approx(float(marginal_loss(*case.arguments("token"))), rel=1e-6)


@pytest.mark.parametrize("marginalize", MARGINALIZE)
@pytest.mark.parametrize("value", [0.0, -np.inf, np.nan])
def test_empty_masks_give_no_loss_and_no_gradient(case, marginalize, value):
    log_p_y, none = np.full_like(case.log_p_y, value), np.zeros_like(case.weights)
    loss = lambda f, y: marginal_loss(jax.nn.log_softmax(f), y, none, case.spans(marginalize))  # noqa: E731
    got, gradients = jax.value_and_grad(loss, argnums=(0, 1))(case.f, log_p_y)
    assert got == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)
    assert retrieval_utility(case.log_p_z, log_p_y, none, case.spans(marginalize)) == 0
    assert masked_mean(log_p_y[:, 0], none) == 0


def test_ict_loss():
    rng = np.random.default_rng(0)
    queries, passages = rng.normal(size=(B, E)).astype(np.float32), rng.normal(size=(N, E)).astype(np.float32)
    want = -np.mean([log_softmax(0.5 * passages @ queries[b])[b] for b in range(B)])
    assert objectives.ict_loss(queries, passages, 0.5) == pytest.approx(want, rel=1e-5)


def test_early_loss():
    rng = np.random.default_rng(0)
    f, hits = rng.normal(size=(B, K)).astype(np.float32), rng.random((B, K)) < 0.5
    hits[0], hits[1], hits[2] = [True, False, True, False], False, True
    losses, gradient = objectives.early_loss(f, hits), jax.grad(lambda f: objectives.early_loss(f, hits).sum())(f)
    assert losses[0] == pytest.approx(log_sum_exp(f[0]) - log_sum_exp(f[0, [0, 2]]), rel=1e-5)
    among_hits = hits[0] * np.exp(f[0] - log_sum_exp(f[0, [0, 2]]))
    np.testing.assert_allclose(gradient[0], np.exp(log_softmax(f[0])) - among_hits, rtol=1e-4, atol=1e-6)
    # Nothing but misses, nothing but hits: no loss, no gradient.
    np.testing.assert_array_equal(losses[1:], 0)
    np.testing.assert_array_equal(gradient[1:], 0)


def test_span_loss_sums_over_all_passages():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(B, K, S)).astype(np.float32), rng.random((B, K, S)) < 0.2
    labels[0, 1, 3], labels[1] = True, False
    losses = objectives.span_loss(logits, labels)
    for b in (0, 2):
        want = log_sum_exp(logits[b]) - log_sum_exp(logits[b][labels[b]])
        assert losses[b] == pytest.approx(want, rel=1e-5)
    assert losses[1] == 0
    assert np.isfinite(jax.grad(lambda x: objectives.span_loss(x, labels).sum())(logits)).all()


def test_shapes_are_checked():
    with pytest.raises(TypeError):
        objectives.marginal_loss(jnp.zeros((B, K)), jnp.zeros((B, K + 1, M)), jnp.zeros((B, M)))
