"""The approximate index over many exemplars: faiss's fast-scan product quantisation.

The only file that imports faiss, which is optional. A vector of d values becomes d / 2 codes of 4
bits, a sixteenth of float32, and a query is compared with all of them by table look-ups that stay
in registers (André et al. 2017, "Accelerated Nearest Neighbor Search with Quick ADC"). What it
finds are candidates only; exact products choose among them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import faiss

__all__ = ["TRAINING_ROWS", "FastIndex", "can_index"]

TRAINING_ROWS = 4096
"""More are not used: faiss takes 256 for each of the 16 centroids."""


def can_index(dimension: int) -> bool:
    """Whether faiss is installed and can quantise vectors of this many values."""
    return dimension % 2 == 0 and importlib.util.find_spec("faiss") is not None


class FastIndex:
    """Finds rows that have a large inner product with a query, most of the largest among them.

    Args:
        index: of faiss, trained.
    """

    def __init__(self, index: faiss.Index) -> None:
        self._index = index

    @classmethod
    def train(cls, sample: NDArray[np.float32]) -> FastIndex:
        """An empty index for vectors like these.

        Args:
            sample: shape (n, d), d even; n at least some hundred and best `TRAINING_ROWS`.
        """
        import faiss

        dimension = sample.shape[1]
        index = faiss.index_factory(
            dimension, f"PQ{dimension // 2}x4fs", faiss.METRIC_INNER_PRODUCT
        )
        with _one_thread():
            index.train(np.ascontiguousarray(sample))
        return cls(index)

    @classmethod
    def from_bytes(cls, data: NDArray[np.uint8]) -> FastIndex:
        """Reads what `to_bytes` wrote; the caller has checked that it is whole."""
        import faiss

        return cls(faiss.deserialize_index(data))

    def to_bytes(self) -> NDArray[np.uint8]:
        """The index as bytes."""
        import faiss

        return np.asarray(faiss.serialize_index(self._index))

    def add(self, rows: NDArray[np.float32]) -> None:
        """Appends rows, shape (n, d); they are numbered in the order in which they come."""
        with _one_thread():
            self._index.add(np.ascontiguousarray(rows))

    def candidates(self, queries: NDArray[np.float32], n: int) -> NDArray[np.int64]:
        """Rows that may be the nearest, shape (queries, n), in no order; -1 where there are fewer.

        Args:
            queries: shape (q, d).
            n: how many of each query.
        """
        with _one_thread():
            _, rows = self._index.search(queries, n)
        return np.asarray(rows, dtype=np.int64)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keeps OpenMP from dividing the small steps of this thread's calls.

    Its threads wait for each other by spinning: where other work has the cores, training on two
    took ten times as long as on one. The number is the calling thread's own.
    """
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
