"""Arithmetic on embeddings: unit length, cosines, and exact nearest neighbours without self."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from safe_embed.errors import InputError

__all__ = ["cosine_rows", "nearest_neighbors", "normalize_rows"]

_BLOCK_ROWS = 512  # fewer rows make the matrix product slower, more do not make it faster
_BLOCK_VALUES = 1 << 26  # float32 similarities held at once: 256 MB at most
_GROUP = 64  # columns whose largest similarity is taken together when a threshold is sought
_SLACK = 1e-5  # far above the rounding of a float32 product of unit vectors, about 5e-7
_RESCORED_AT_ONCE = 8192


def normalize_rows(vectors: ArrayLike) -> NDArray[np.float32]:
    """Scales each row to length 1.

    Args:
        vectors: array of shape (n, d), any float type, any scale.

    Returns:
        float32 of shape (n, d); a row that is already of length 1 within rounding is kept.

    Raises:
        InputError: not two-dimensional, or a row is zero, NaN or infinite (the row is named).
    """
    array = np.asarray(vectors)
    if array.ndim != 2:
        raise InputError(f"embeddings must have shape (n, d), got {array.shape}")
    lengths = np.linalg.norm(array.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if bad.size:
        what = "is zero" if lengths[bad[0]] == 0 else "holds NaN or infinity"
        raise InputError(
            f"embedding {bad[0]} of {len(array)} {what}, so it has no direction "
            f"({bad.size} such); check the encoder and that text"
        )
    unit = array.astype(np.float32)
    off = np.abs(lengths - 1) > 1e-6
    unit[off] = array[off] / lengths[off, None]
    return unit


def cosine_rows(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Cosine of each row of `a` with the same row of `b`.

    Args:
        a: unit vectors of shape (..., d).
        b: unit vectors of a shape that broadcasts with that of `a`.

    Returns:
        float64 of shape (...), in [-1, 1] up to rounding.
    """
    return np.asarray(
        np.einsum("...d,...d->...", a.astype(np.float64), b.astype(np.float64)), dtype=np.float64
    )


def nearest_neighbors(
    unit: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest other rows of each row, by cosine, exactly.

    A row is left out of its own neighbours by its index: an identical row at another index is a
    neighbour like any other. Ties go to the lower index. A float32 product finds the candidates
    and a float64 one orders them, so the result does not hang on block sizes or threads.

    Args:
        unit: unit vectors of shape (n, d), float32.
        k: how many neighbours, 1 <= k < n.

    Returns:
        Indices int64 and cosines float64, both of shape (n, k), nearest first.

    Raises:
        InputError: there are fewer than k + 1 rows, or k < 1.

    Cost: time grows with n squared; memory is that of `unit`, the result, and at most some 400 MB.
    """
    n = len(unit)
    if k < 1:
        raise InputError(f"k must be at least 1, got {k}")
    if n < k + 1:
        raise InputError(
            f"k = {k} neighbours need at least {k + 1} prompts, got {n}; "
            "add prompts or choose a smaller k"
        )
    indices = np.empty((n, k), dtype=np.int64)
    cosines = np.empty((n, k), dtype=np.float64)
    group = min(_GROUP, max(1, n // (8 * k)))
    width = -(-n // group) * group
    block = max(1, min(n, _BLOCK_ROWS, _BLOCK_VALUES // width))
    buffer = np.full((block, width), -np.inf, dtype=np.float32)
    for start in range(0, n, block):
        rows = np.arange(start, min(start + block, n))
        similarity = buffer[: len(rows)]
        np.matmul(unit[rows], unit.T, out=similarity[:, :n])
        similarity[np.arange(len(rows)), rows] = -np.inf
        row, column = _candidates(similarity, k, group)
        cosine = _rescore(unit, rows[row], column)
        order = np.lexsort((column, -cosine, row))
        first = np.searchsorted(row, np.arange(len(rows)))  # `row` is sorted already
        top = order[first[:, None] + np.arange(k)]
        indices[rows] = column[top]
        cosines[rows] = cosine[top]
    return indices, cosines


def _candidates(
    similarity: NDArray[np.float32], k: int, group: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of every similarity that may be among the k largest of its row.

    The k-th largest of the group maxima is at most the k-th largest similarity, and there are
    far fewer of them to sort: all that reaches it is kept, and little else.
    """
    rows, width = similarity.shape
    grouped = similarity.reshape(rows, group, width // group)
    maxima = grouped.max(axis=1)
    threshold = np.partition(maxima, -k, axis=1)[:, -k] - np.float32(_SLACK)
    row, rest = np.nonzero(maxima >= threshold[:, None])
    member, part = np.nonzero(grouped[row, :, rest] >= threshold[row, None])
    return row[member], part * (width // group) + rest[member]


def _rescore(
    unit: NDArray[np.float32], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    cosine = np.empty(len(left), dtype=np.float64)
    for start in range(0, len(left), _RESCORED_AT_ONCE):
        part = slice(start, start + _RESCORED_AT_ONCE)
        cosine[part] = cosine_rows(unit[left[part]], unit[right[part]])
    return cosine
