"""What goes with the rows of a block: numbers for their names, and checksums of mapped ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["DamagedBlockError", "Names", "Recent", "RowChecksums", "row_checksums"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_ODD = np.uint64(0x9E3779B97F4A7C15)  # spreads small numbers over 64 bits


class DamagedBlockError(Exception):
    """Rows of a mapped file are not what was written; the file has to be made again."""


class Names:
    """Numbers for names, so that a filter compares numbers; shared by all blocks of a store."""

    def __init__(self) -> None:
        self.names: list[str | None] = []
        self._numbers: dict[str | None, int] = {}

    def number(self, name: str | None) -> int:
        """The number of a name, given when it is first seen."""
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number

    def numbers(self, names: frozenset[str]) -> NDArray[np.int32]:
        """The numbers of those names that were seen."""
        seen = [self._numbers[name] for name in names if name in self._numbers]
        return np.array(seen, dtype=np.int32)


class Recent(Generic[Key, Value]):
    """A few things that were made and may be asked for again; the oldest goes first.

    Args:
        size: how many are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """What was kept under a key; None where there is nothing."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Key, value: Value) -> Value:
        """Keeps a thing, and returns it."""
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value

    def values(self) -> list[Value]:
        """All that is kept."""
        with self._lock:
            return list(self._kept.values())


class RowChecksums:
    """What the rows of a mapped file must be; each is checked when a search first reads it.

    Args:
        values: as `row_checksums` gives them, uint64 of shape (n,).
    """

    def __init__(self, values: NDArray[np.uint64]) -> None:
        self._values = values
        self._checked = np.zeros(len(values), dtype=np.bool_)
        self._all_checked = False

    def check(
        self, vectors: NDArray[np.float32], numbers: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> None:
        """Checks some rows.

        Args:
            vectors: of the rows, shape (n, d).
            numbers: of the rows in the database, shape (n,).
            rows: their places in the file, shape (n,).

        Raises:
            DamagedBlockError: one is not what was written.
        """
        if self._all_checked:
            return
        new = np.flatnonzero(~self._checked[rows])
        if not new.size:
            return
        if not np.array_equal(row_checksums(vectors[new], numbers[new]), self._values[rows[new]]):
            raise DamagedBlockError
        self._checked[rows[new]] = True

    def check_all(self, matrix: NDArray[np.float32], numbers: NDArray[np.int64]) -> None:
        """Checks all rows, once and for all.

        Raises:
            DamagedBlockError: one is not what was written.
        """
        if not self._all_checked:
            if not np.array_equal(row_checksums(matrix, numbers), self._values):
                raise DamagedBlockError
            self._all_checked = True


def row_checksums(matrix: NDArray[np.float32], numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A checksum of each row and its number, cheap enough to be taken in each search.

    Args:
        matrix: shape (n, d), contiguous.
        numbers: of the rows, shape (n,).

    Returns:
        uint64 of shape (n,): the sum of the row's words, each times an odd number of its own.
    """
    words = matrix.view(np.uint64 if matrix.shape[1] % 2 == 0 else np.uint32)
    weights = np.arange(words.shape[1], dtype=np.uint64) * np.uint64(
        0x9E3779B97F4A7C16
    ) + np.uint64(1)
    return np.asarray(
        np.einsum("nw,w->n", words, weights, dtype=np.uint64, casting="unsafe")
        + numbers.astype(np.uint64) * _ODD
    )
