"""Arithmetic of a search: which rows may be among the k nearest, and in which order.

A float32 product finds the rows that may be meant and a float64 one gives the cosine that counts,
query by query. So it does not hang on the other queries, on threads or on where a row lies which
row is nearer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safe_embed.vectors import cosine_rows

__all__ = ["Hits", "exact_rows", "likely_rows", "merged", "nearest"]

_SLACK = np.float32(1e-5)  # far above the rounding of a float32 product, about 5e-7
_BELOW_ANY = np.float32(-2)  # no cosine, and above the -inf of what is not allowed
_BLOCK_VALUES = 1 << 23  # similarities held at once: 32 MB at most
_GROUP = 8  # columns whose largest similarity is taken together when a threshold is sought


class Hits(NamedTuple):
    """Rows near to one query.

    Args:
        row: their indices, int64 of shape (n,).
        similarity: their cosines with the query, float32 of shape (n,).
    """

    row: NDArray[np.int64]
    similarity: NDArray[np.float32]


def exact_rows(
    queries: NDArray[np.float32],
    matrix: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Iterator[NDArray[np.int64]]:
    """For each query every row that may be among its k nearest, by a product with all rows.

    Args:
        queries: shape (n, d), rows of length 1.
        matrix: shape (m, d), rows of length 1.
        k: 1 or more.
        allowed: rows that may be found, shape (m,); None means all.

    Yields:
        At least min(k, number allowed) rows, ascending; all that come within 1e-5 of the k-th.
    """
    for similarity in _products(queries, matrix):
        if allowed is not None:
            similarity[:, ~allowed] = -np.inf
        # Looking in one long row takes a third of the time of looking in two dimensions.
        query, row = np.divmod(
            np.flatnonzero(similarity >= _least(similarity, k)[:, None]), similarity.shape[1]
        )
        bounds = np.searchsorted(query, np.arange(len(similarity) + 1)).tolist()
        yield from (row[start:end] for start, end in pairwise(bounds))


def likely_rows(
    query: NDArray[np.float32], vectors: NDArray[np.float32], k: int
) -> NDArray[np.int64]:
    """Indices of the vectors that may be among the k nearest, as `exact_rows` finds them.

    Args:
        query: shape (d,).
        vectors: shape (n, d).
        k: 1 or more.
    """
    similarity = np.einsum("nd,d->n", vectors, query)
    return np.flatnonzero(similarity >= _least(similarity[None], k))


def nearest(
    query: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> Hits:
    """The k nearest of some rows, nearest first, and those that tie with the k-th.

    Args:
        query: shape (d,).
        vectors: of the rows, shape (n, d).
        rows: their indices, shape (n,).
        k: 1 or more.
    """
    return _first(Hits(rows, cosine_rows(vectors, query).astype(np.float32)), k)


def merged(parts: Sequence[Hits], k: int) -> Hits:
    """The k nearest of all parts, nearest first, and those that tie with the k-th."""
    parts = [part for part in parts if len(part.row)] or list(parts[:1])
    if len(parts) == 1:
        return parts[0]
    return _first(Hits(*map(np.concatenate, zip(*parts, strict=True))), k)


def _first(hits: Hits, k: int) -> Hits:
    order = np.argsort(-hits.similarity, kind="stable")
    ranked = hits.similarity[order]
    if k < len(ranked):
        order = order[: np.searchsorted(-ranked, -ranked[k - 1], side="right")]
    return Hits(hits.row[order], hits.similarity[order])


def _products(
    queries: NDArray[np.float32], matrix: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Similarities of some queries at a time with all rows."""
    size = max(1, _BLOCK_VALUES // max(1, len(matrix)))
    for start in range(0, len(queries), size):
        part = queries[start : start + size]
        # For one query BLAS would start threads, which then wait for those of the encoder's last
        # run (5 ms and more for what takes 0.3).
        one = len(part) == 1
        yield np.einsum("md,d->m", matrix, part[0])[None] if one else part @ matrix.T


def _least(similarity: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """For each row a similarity that the k largest reach, and few others; shape (n,).

    The k-th largest of the group maxima is at most the k-th largest similarity, and there are
    far fewer of them to sort.
    """
    n, width = similarity.shape
    if k >= width:
        return np.full(n, _BELOW_ANY)
    group = max(1, min(_GROUP, width // (4 * k)))
    maxima = similarity[:, : width - width % group].reshape(n, group, -1).max(axis=1)
    kth = np.partition(maxima, -k, axis=1)[:, -k]
    return np.asarray(np.maximum(kth - _SLACK, _BELOW_ANY))
