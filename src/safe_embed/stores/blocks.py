"""Exemplars of one label side by side in memory, and the search among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from safe_embed.stores.base import Filter
from safe_embed.stores.candidates import Hits, exact_rows, likely_rows, merged, nearest
from safe_embed.stores.fast_search import FastIndex
from safe_embed.stores.row_data import Names, Recent, RowChecksums

__all__ = ["Block", "LabelIndex"]

_CANDIDATES = 200  # recall@20 is 0.9998 with them, on clustered vectors of 384 values
_CANDIDATES_PER_NEIGHBOR = 10
_ROWS_PER_CANDIDATE = 500  # of 500,000 rows 200 candidates have a recall of 0.96, and 400 of 1
_MOST_FOR_ROWS = 2048
_MOST_CANDIDATES = 4096  # faiss slows down above
_NARROW_SHARE = 0.1  # below, a copy of the rows is searched; copies are at most a fifth of all
_COPIES_KEPT = 2
_FETCHED_AT_ONCE = 1 << 20  # candidates of several queries, 8 MB
_MASKS_KEPT = 8  # a byte a row each
_NO_HITS = Hits(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows that are searched together; never changed, only replaced.

    Args:
        numbers: of the rows in the database, ascending, int64 of shape (n,).
        codes: of category, source and tenant in `Names`, int32 of shape (n, 3).
        matrix: the embeddings, float32 of shape (n, d).
        alive: which rows may still be found, shape (n,); None means all.
        checksums: of the rows of a mapped file; None of what is in memory.
        fast: an index over the rows; None where there is none.
    """

    numbers: NDArray[np.int64]
    codes: NDArray[np.int32]
    matrix: NDArray[np.float32]
    alive: NDArray[np.bool_] | None = None
    checksums: RowChecksums | None = None
    fast: FastIndex | None = None
    masks: Recent[Filter, tuple[NDArray[np.bool_], int]] = field(
        default_factory=lambda: Recent(_MASKS_KEPT)
    )
    """Which rows filters let through, and how many."""
    copies: Recent[Filter, tuple[NDArray[np.int64], NDArray[np.float32]]] = field(
        default_factory=lambda: Recent(_COPIES_KEPT)
    )
    """Numbers and contiguous copies of the rows that narrow filters let through."""

    @classmethod
    def empty(cls, dimension: int) -> Block:
        """A block without rows."""
        return cls(
            numbers=np.empty(0, dtype=np.int64),
            codes=np.empty((0, 3), dtype=np.int32),
            matrix=np.empty((0, dimension), dtype=np.float32),
        )

    @property
    def n_alive(self) -> int:
        """Number of rows that may be found."""
        return len(self.numbers) if self.alive is None else int(np.count_nonzero(self.alive))

    def without(self, numbers: NDArray[np.int64]) -> Block:
        """The block in which these rows are not found any more; others are passed over."""
        position = np.searchsorted(self.numbers, numbers)
        position = position[position < len(self.numbers)]
        position = position[np.isin(self.numbers[position], numbers)]
        if not position.size:
            return self
        alive = np.ones(len(self.numbers), np.bool_) if self.alive is None else self.alive.copy()
        alive[position] = False
        return Block(
            self.numbers, self.codes, self.matrix, alive, checksums=self.checksums, fast=self.fast
        )

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The embeddings of some rows, checked where they come from a mapped file.

        Raises:
            DamagedBlockError: a row does not match its checksum.
        """
        vectors = self.matrix[rows]
        if self.checksums is not None:
            self.checksums.check(vectors, self.numbers[rows], rows)
        return vectors

    def nearest(
        self,
        queries: NDArray[np.float32],
        k: int,
        only: Filter | None,
        names: Names,
        *,
        exact: bool,
    ) -> list[Hits]:
        """For each query the k nearest alive rows that a filter lets through.

        Those that tie with the k-th too; `row` is their number in the database.
        """
        allowed, n_allowed = self._allowed(only, names)
        if not n_allowed:
            return [_NO_HITS] * len(queries)
        share = n_allowed / len(self.numbers)
        if only is not None and allowed is not None and share <= _NARROW_SHARE:
            return self._narrow(queries, k, only, allowed)
        for_rows = min(len(self.numbers) // _ROWS_PER_CANDIDATE, _MOST_FOR_ROWS)
        wanted = max(_CANDIDATES, _CANDIDATES_PER_NEIGHBOR * k, for_rows)
        fetched = int(wanted / share * 1.25) if share < 1 else wanted
        if exact or self.fast is None or fetched > min(_MOST_CANDIDATES, len(self.numbers)):
            return self._exact(queries, k, allowed)
        return self._fast(self.fast, queries, k, allowed, (fetched, min(wanted, n_allowed) // 2))

    def _exact(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> list[Hits]:
        if self.checksums is not None:
            self.checksums.check_all(self.matrix, self.numbers)
        found = exact_rows(queries, self.matrix, k, allowed)
        return [
            nearest(query, self.matrix[rows], self.numbers[rows], k)
            for query, rows in zip(queries, found, strict=True)
        ]

    def _fast(
        self,
        fast: FastIndex,
        queries: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.bool_] | None,
        bounds: tuple[int, int],
    ) -> list[Hits]:
        """Among candidates of the fast index; exact where the filter left fewer than the bound."""
        fetched, fewest = bounds
        hits = []
        for query, found in zip(queries, self._fetched(fast, queries, fetched), strict=True):
            rows = found[found >= 0]
            if allowed is not None:
                rows = rows[allowed[rows]]
            if len(rows) < fewest:
                hits += self._exact(query[None], k, allowed)
                continue
            vectors = self.gather(rows)
            likely = likely_rows(query, vectors, k)
            hits.append(nearest(query, vectors[likely], self.numbers[rows[likely]], k))
        return hits

    @staticmethod
    def _fetched(
        fast: FastIndex, queries: NDArray[np.float32], n: int
    ) -> Iterator[NDArray[np.int64]]:
        size = max(1, _FETCHED_AT_ONCE // n)
        for start in range(0, len(queries), size):
            yield from fast.candidates(queries[start : start + size], n)

    def _narrow(
        self,
        queries: NDArray[np.float32],
        k: int,
        only: Filter,
        allowed: NDArray[np.bool_],
    ) -> list[Hits]:
        copy = self.copies.get(only)
        if copy is None:
            rows = np.flatnonzero(allowed)
            copy = self.copies.keep(only, (self.numbers[rows], self.gather(rows)))
        numbers, matrix = copy
        return [
            nearest(query, matrix[rows], numbers[rows], k)
            for query, rows in zip(queries, exact_rows(queries, matrix, k), strict=True)
        ]

    def _allowed(self, only: Filter | None, names: Names) -> tuple[NDArray[np.bool_] | None, int]:
        """Which rows are alive and pass the filter (None: all), and how many."""
        if only is None:
            return self.alive, self.n_alive
        if (kept := self.masks.get(only)) is not None:
            return kept
        allowed = np.ones(len(self.numbers), np.bool_) if self.alive is None else self.alive.copy()
        for column, wanted in enumerate((only.categories, only.sources, only.tenants)):
            if wanted is not None:
                allowed &= np.isin(self.codes[:, column], names.numbers(wanted))
        return self.masks.keep(only, (allowed, int(np.count_nonzero(allowed))))


@dataclass(frozen=True, slots=True, eq=False)
class LabelIndex:
    """What a search of one label may find: many rows that were indexed, and those since then.

    Args:
        base: mapped from the search file, with its fast index; empty in a small store.
        tail: newer rows, searched exactly.
    """

    base: Block
    tail: Block

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        names: Names,
        only: Filter | None,
        exact: bool,
    ) -> list[Hits]:
        """For each query the k nearest and those that tie with the k-th; `row` is their number.

        Raises:
            DamagedBlockError: the search file is not what was written.
        """
        tail = self.tail.nearest(queries, k, only, names, exact=True)
        if not len(self.base.numbers):
            return tail
        base = self.base.nearest(queries, k, only, names, exact=exact)
        return [merged(parts, k) for parts in zip(base, tail, strict=True)]
