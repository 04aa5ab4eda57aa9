"""Features of rows of tokens, computed on the device: segments, bodies, joint rows, places of answers.

Rows as in the passage store: a passage is `[CLS] title [SEP] body [SEP] PAD...`, a query `[CLS] query [SEP] PAD...`.
Every function may be jitted and takes any leading axes.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

PAD = 0
Tokens = Array | np.ndarray


def valid(tokens: Integer[Tokens, "*b T"]) -> Bool[Array, "*b T"]:
    """Where a row holds a wordpiece."""
    return jnp.asarray(tokens) != PAD


def separator(tokens: Integer[Tokens, "*b T"]) -> Integer[Array, "*b 1"]:
    """[SEP] by its place, the last of every row: vocabularies number it as they like."""
    tokens = jnp.asarray(tokens)
    return jnp.take_along_axis(tokens, jnp.maximum(valid(tokens).sum(-1, keepdims=True) - 1, 0), axis=-1)


def segments(tokens: Integer[Tokens, "*b T"]) -> Int[Array, "*b T"]:
    """0 up to and with the first [SEP], 1 after it; 0 at padding."""
    sep = (jnp.asarray(tokens) == separator(tokens)).astype(jnp.int32)
    return ((jnp.cumsum(sep, axis=-1) - sep > 0) & valid(tokens)).astype(jnp.int32)


def body(passages: Integer[Tokens, "*b P"]) -> Integer[Array, "*b P"]:
    """Body and final [SEP], moved to the left; padding behind."""
    passages = jnp.asarray(passages)
    length = passages.shape[-1]
    start = jnp.argmax(passages == separator(passages), axis=-1) + 1
    source = start[..., None] + _along_last(length, passages.ndim)
    moved = jnp.take_along_axis(passages, jnp.minimum(source, length - 1), axis=-1)
    return jnp.where(source < length, moved, PAD)


def join(
    queries: Integer[Tokens, "*b Q"],
    passages: Integer[Tokens, "*b K P"],
    length: int,
    truncation: str = "passage",
) -> tuple[Integer[Array, "*b K {length}"], Int[Array, "*b K {length}"], Bool[Array, "*b K {length}"]]:
    """The reader's input: `[CLS] query [SEP] body [SEP]` without the title.

    Args:
      truncation: `passage`: the query stays whole, the body is cut; `longest_first`: see `_longest_first`.

    Returns:
      joint tokens, their segments, and where they belong to the body (without its [SEP]).
    """
    queries = jnp.asarray(queries)
    if truncation == "passage" and length < queries.shape[-1] + 1:
        raise ValueError(f"a joint row of {length} cannot hold a query row of {queries.shape[-1]} and a [SEP]")
    bodies = body(passages)
    query_size = valid(queries).sum(-1)[..., None, None]
    body_size = jnp.maximum(valid(bodies).sum(-1)[..., None] - 1, 0)
    if truncation == "longest_first":
        query_size, body_size = _longest_first(query_size - 2, body_size, length - 3)
        query_size = query_size + 2
    body_size = jnp.minimum(body_size, length - query_size - 1)

    place = _along_last(length, bodies.ndim)
    offset = place - query_size
    shape = (*bodies.shape[:-1], length)
    from_query = _take(queries[..., None, :], place, shape)
    from_body = _take(bodies, offset, shape)
    is_body = (offset >= 0) & (offset < body_size)
    tokens = jnp.where(is_body, from_body, jnp.where(offset < 0, from_query, PAD))
    tokens = jnp.where(
        (offset == body_size) | (offset == -1), jnp.maximum(separator(queries), 1)[..., None, :], tokens
    )  # a row to fill a batch has none
    return tokens, ((offset >= 0) & (offset <= body_size)).astype(jnp.int32), is_body


def _longest_first(first: Int[Array, "..."], second: Int[Array, "..."], room: int) -> tuple[Array, Array]:
    """Lengths to which two texts are cut, as Hugging Face's tokenizers do by default: the longer one down to the
    shorter, then both evenly, the longer (of equals the second) keeping the odd one."""
    short = jnp.minimum(first, second)
    long = jnp.maximum(short, room - short)
    short, long = jnp.where(short + long > room, room // 2, short), jnp.where(short + long > room, -(-room // 2), long)
    first_is_short = first <= second
    fits = first + second <= room
    return (
        jnp.where(fits, first, jnp.where(first_is_short, short, long)),
        jnp.where(fits, second, jnp.where(first_is_short, long, short)),
    )


def find(tokens: Integer[Tokens, "*#b T"], answers: Integer[Tokens, "*#b A L"]) -> Bool[Array, "*b A T"]:
    """Where an answer starts.

    Args:
      tokens: rows; give the leading axes of both arguments the same rank, they broadcast.
      answers: wordpieces, padded with PAD; an answer that is all padding is absent.
    """
    tokens, answers = jnp.asarray(tokens)[..., None, :], jnp.asarray(answers)
    size, width = tokens.shape[-1], answers.shape[-1]
    behind = jnp.pad(tokens, [(0, 0)] * (tokens.ndim - 1) + [(0, width)])
    found = answers[..., :1] != PAD
    for i in range(width):
        piece = answers[..., i : i + 1]
        found = found & ((piece == PAD) | (behind[..., i : i + size] == piece))
    return found


def holds(passages: Integer[Tokens, "*#b P"], answers: Integer[Tokens, "*#b A L"]) -> Bool[Array, "*b"]:
    """Whether a row, title or body, has some answer's wordpieces."""
    return find(passages, answers).any((-2, -1))


def span_table(length: int, max_width: int) -> Int[np.ndarray, "S 2"]:
    """(first, last) of every span, both inclusive, in the span reader's order: width by width, starts ascending."""
    spans = [(start, start + width) for width in range(min(max_width, length)) for start in range(length - width)]
    return np.array(spans, np.int32)


def span_labels(
    tokens: Integer[Tokens, "*#b J"],
    answers: Integer[Tokens, "*#b A L"],
    is_body: Bool[Tokens, "*#b J"],
    max_width: int,
) -> Bool[Array, "*b S"]:
    """Which spans of the body are an answer, in the order of `span_table`."""
    starts, size = find(tokens, answers), valid(answers).sum(-1)[..., None]
    return _labels_by_width(lambda width: (starts & (size == width)).any(-2), is_body, max_width)


def span_labels_of_widths(
    widths: Integer[Tokens, "*b P"], is_body: Bool[Tokens, "*b J"], max_width: int
) -> Bool[Array, "*b S"]:
    """`span_labels` of answers found in the text: of how many wordpieces, if any, is an answer that begins at this
    wordpiece of the body."""
    is_body = jnp.asarray(is_body)
    place = _along_last(is_body.shape[-1], is_body.ndim) - is_body.argmax(-1)[..., None]
    here = _take(jnp.asarray(widths), place, is_body.shape)
    return _labels_by_width(lambda width: here == width, is_body, max_width)


def _labels_by_width(
    starts: Callable[[int], Bool[Array, "*b J"]], is_body: Bool[Tokens, "*b J"], max_width: int
) -> Bool[Array, "*b S"]:
    """Labels in the order of `span_table`, from where answers of a width start; those that leave the body are none."""
    is_body, length = jnp.asarray(is_body), is_body.shape[-1]
    labels = []
    for width in range(1, min(max_width, length) + 1):
        inside = is_body[..., : length - width + 1] & is_body[..., width - 1 :]
        labels.append(starts(width)[..., : length - width + 1] & inside)
    return jnp.concatenate(labels, axis=-1)


def _along_last(size: int, rank: int) -> Int[Array, "..."]:
    """0, 1, ..., size - 1 along the last of `rank` axes."""
    return jnp.arange(size).reshape((1,) * (rank - 1) + (size,))


def _take(rows: Integer[Array, "..."], places: Int[Array, "..."], shape: tuple[int, ...]) -> Integer[Array, "..."]:
    """Tokens of `rows` at `places`, both broadcast to `shape`; places outside a row give some token of it."""
    rows = jnp.broadcast_to(rows, (*shape[:-1], rows.shape[-1]))
    return jnp.take_along_axis(rows, jnp.clip(jnp.broadcast_to(places, shape), 0, rows.shape[-1] - 1), axis=-1)
