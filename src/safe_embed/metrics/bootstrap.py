"""Percentile bootstrap intervals, seeded (Efron & Tibshirani 1993, chapter 13)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import InputError

__all__ = ["Interval", "mean_interval", "mean_of_means_interval", "percentile_interval"]

Interval = tuple[float, float]
"""Lower and upper bound of a 95 % interval."""

_VALUES_AT_ONCE = 1 << 22


def mean_interval(
    values: NDArray[np.float64], *, seed: int = 0, n_resamples: int = 2000
) -> Interval:
    """95 % interval of the mean of `values`, which are resampled with replacement.

    Args:
        values: one number for each item, shape (n,), n >= 1.
        seed: the same seed and values give the same interval.
        n_resamples: number of resamples; 2000 leave a bound uncertain by a few percent of the
            interval's width.

    Raises:
        InputError: `values` is empty.
    """
    return percentile_interval(_resampled_means(values, np.random.default_rng(seed), n_resamples))


def mean_of_means_interval(
    groups: list[NDArray[np.float64]], *, seed: int = 0, n_resamples: int = 2000
) -> Interval:
    """95 % interval of the unweighted mean of the groups' means; items resampled in their group.

    Args:
        groups: for each group its items' values; no group is empty.
        seed: as for `mean_interval`.
        n_resamples: as for `mean_interval`.
    """
    if not groups:
        raise InputError("an interval needs at least one group")
    rng = np.random.default_rng(seed)
    means = [_resampled_means(values, rng, n_resamples) for values in groups]
    return percentile_interval(np.mean(means, axis=0))


def percentile_interval(statistics: NDArray[np.float64]) -> Interval:
    """The 2.5th and 97.5th percentile of a bootstrap distribution."""
    low, high = np.percentile(statistics, [2.5, 97.5])
    return float(low), float(high)


def _resampled_means(
    values: NDArray[np.float64], rng: np.random.Generator, n_resamples: int
) -> NDArray[np.float64]:
    n = len(values)
    if n == 0:
        raise InputError("an interval needs at least one value")
    means = np.empty(n_resamples)
    block = max(1, _VALUES_AT_ONCE // n)  # bounds the memory for large n
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        means[start : start + rows] = values[rng.integers(0, n, size=(rows, n))].mean(axis=1)
    return means
