"""Arithmetic of a search: which rows may be among the k nearest, and in which order.

A float32 product finds the rows that may be meant and a float64 one gives the cosine that counts.
So it does not hang on the size of a batch, on threads or on where a row lies which row is nearer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safe_embed.vectors import cosine_rows

__all__ = ["Pairs", "exact_pairs", "joined", "nearest_pairs", "none_found", "shortlist"]

_SLACK = np.float32(1e-5)  # far above the rounding of a float32 product, about 5e-7
_BLOCK_VALUES = 1 << 24  # similarities held at once: 64 MB at most
_RESCORED_AT_ONCE = 8192


class Pairs(NamedTuple):
    """Queries with rows, one pair an entry.

    Args:
        query: index of the query, int64 of shape (n,); ascending where a function promises it.
        row: index of the row, int64 of shape (n,).
        similarity: their cosine, float32 of shape (n,).
    """

    query: NDArray[np.int64]
    row: NDArray[np.int64]
    similarity: NDArray[np.float32]


def exact_pairs(
    queries: NDArray[np.float32],
    matrix: NDArray[np.float32],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Pairs:
    """Every row that may be among the k nearest of a query, by a product with all rows.

    Args:
        queries: shape (n, d), rows of length 1.
        matrix: shape (m, d), rows of length 1.
        k: 1 or more.
        allowed: rows that may be found, shape (m,); None means all.

    Returns:
        At least min(k, number allowed) rows for each query; all that come within 1e-5 of the k-th.
    """
    found = [none_found()]
    for start, similarity in _blocks(queries, matrix):
        if allowed is not None:
            similarity[:, ~allowed] = -np.inf
        if k < similarity.shape[1]:
            kth = np.partition(similarity, -k, axis=1)[:, -k, None]
        else:
            kth = np.full((len(similarity), 1), -np.inf, dtype=np.float32)
        query, row = np.nonzero((similarity >= kth - _SLACK) & np.isfinite(similarity))
        found.append(Pairs(query + start, row, similarity[query, row]))
    return joined(found)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """One sequence of pairs after the other; not in the order of the queries."""
    return Pairs(*map(np.concatenate, zip(*parts, strict=True)))


def shortlist(pairs: Pairs, k: int) -> Pairs:
    """The pairs that may be among the k nearest of their query, by their float32 similarities."""
    order, rank, query = _ranked(pairs)
    similarity = pairs.similarity[order]
    kth = _kth(query, rank, similarity, k) - _SLACK
    keep = order[similarity >= kth]
    return Pairs(pairs.query[keep], pairs.row[keep], pairs.similarity[keep])


def nearest_pairs(
    queries: NDArray[np.float32],
    gather: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    pairs: Pairs,
    k: int,
) -> Pairs:
    """The k nearest of each query, by query and nearest first; those that tie with the k-th too.

    Args:
        queries: shape (n, d).
        gather: gives the vectors of some rows, in their order.
        pairs: p candidates; their similarities are computed anew.
        k: 1 or more.
    """
    exact = np.empty(len(pairs.row), dtype=np.float32)
    for start in range(0, len(exact), _RESCORED_AT_ONCE):
        part = slice(start, start + _RESCORED_AT_ONCE)
        exact[part] = cosine_rows(gather(pairs.row[part]), queries[pairs.query[part]])
    pairs = Pairs(pairs.query, pairs.row, exact)
    order, rank, query = _ranked(pairs)
    similarity = exact[order]
    keep = order[similarity >= _kth(query, rank, similarity, k)]
    return Pairs(pairs.query[keep], pairs.row[keep], exact[keep])


def _blocks(
    queries: NDArray[np.float32], matrix: NDArray[np.float32]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    if not len(matrix):
        return
    size = max(1, _BLOCK_VALUES // len(matrix))
    for start in range(0, len(queries), size):
        part = queries[start : start + size]
        # For one query BLAS would start threads, which then wait for those of the encoder's last
        # run (5 ms for what takes 0.3).
        one = len(part) == 1
        yield start, np.einsum("md,nd->nm", matrix, part) if one else part @ matrix.T


def _ranked(pairs: Pairs) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Order by query and falling similarity, with each entry's rank in its query."""
    order = np.lexsort((-pairs.similarity, pairs.query))
    query = pairs.query[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    return order, rank, query


def _kth(
    query: NDArray[np.int64],
    rank: NDArray[np.int64],
    similarity: NDArray[np.float32],
    k: int,
) -> NDArray[np.float32]:
    """For each ranked entry the k-th similarity of its query; -inf where there are fewer."""
    last = rank == k - 1
    kth = np.full(int(query[-1]) + 1 if len(query) else 0, -np.inf, dtype=np.float32)
    kth[query[last]] = similarity[last]
    return np.asarray(kth[query])


def none_found() -> Pairs:
    """No pair at all."""
    none = np.empty(0, dtype=np.int64)
    return Pairs(none, none, np.empty(0, dtype=np.float32))
