"""How far an approximate index must look to find the results of exact search: chosen at each build, by measuring."""

from collections.abc import Callable
from typing import Any

from realm_jax.index.base import Retriever


def reach(index: Retriever, recall_of: Callable[[Any], float], target: float) -> tuple[Retriever, float]:
    """The index at the least effort, from its own on, whose recall is `target`; at the most one where none is.

    Recall grows with effort, so that bisection finds it. Nothing is built anew: a try costs one search of the queries.

    Returns:
      the index and its recall.
    """
    low, high = index.effort, index.most_effort
    recall = recall_of(index)
    if recall >= target or low >= high:
        return index, recall
    found = index.with_effort(high)
    recall = recall_of(found)
    if recall < target:
        return found, recall
    while high - low > 1:
        middle = (low + high) // 2
        tried = index.with_effort(middle)
        reached = recall_of(tried)
        if reached < target:
            low = middle
        else:
            high, found, recall = middle, tried, reached
    return found, recall
