"""Two encoders on the same items: the difference, its interval, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import InputError
from safe_embed.metrics.bootstrap import Interval, mean_of_means_interval

__all__ = ["PairedDifference", "holm", "paired_difference"]

_VALUES_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class PairedDifference:
    """Mean of second - first.

    Args:
        difference: unweighted mean of the groups' mean differences.
        ci95: paired percentile bootstrap, items resampled in their group.
        p_value: two-sided, of a sign-flip permutation test; at least 1 / (n_permutations + 1).
        n: number of items.
    """

    difference: float
    ci95: Interval
    p_value: float
    n: int


def paired_difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    groups: Sequence[str] | None = None,
    *,
    seed: int = 0,
    n_resamples: int = 2000,
    n_permutations: int = 10_000,
) -> PairedDifference:
    """Compares two encoders item by item.

    Under the hypothesis that the encoders are alike, each item's difference could as well have the
    other sign (Good 2005, "Permutation, Parametric, and Bootstrap Tests of Hypotheses", ch. 3).

    Args:
        first: a number for each item, shape (n,), n >= 1.
        second: of the same items in the same order.
        groups: where the score is a mean of groups' means, the group of each item.
        seed: the same seed and values give the same result.
        n_resamples: for the interval.
        n_permutations: for the p-value.

    Raises:
        InputError: no item, or shapes that differ.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise InputError(
            f"a comparison needs the same items of both, at least one; got shapes {first.shape} "
            f"and {second.shape}"
        )
    differences = second - first
    names = np.asarray(groups if groups is not None else [""] * len(first))
    if len(names) != len(first):
        raise InputError(f"{len(first)} items need as many groups, got {len(names)}")
    by_group = [differences[names == name] for name in np.unique(names)]
    weights = np.empty(len(first))
    for name in np.unique(names):
        weights[names == name] = 1 / ((names == name).sum() * len(by_group))
    weighted = differences * weights  # their sum is the mean of the groups' means
    return PairedDifference(
        difference=float(weighted.sum()),
        ci95=mean_of_means_interval(by_group, seed=seed, n_resamples=n_resamples),
        p_value=_sign_flip_p(weighted, np.random.default_rng(seed), n_permutations),
        n=len(first),
    )


def _sign_flip_p(
    weighted: NDArray[np.float64], rng: np.random.Generator, n_permutations: int
) -> float:
    # Equal sums that only rounding tells apart count as equal.
    observed = abs(weighted.sum()) - 1e-12 * np.abs(weighted).sum()
    as_large = 0
    block = max(1, _VALUES_AT_ONCE // len(weighted))
    for start in range(0, n_permutations, block):
        rows = min(block, n_permutations - start)
        signs = rng.integers(0, 2, size=(rows, len(weighted)), dtype=np.int8) * 2 - 1
        as_large += int((np.abs(signs @ weighted) >= observed).sum())
    return (as_large + 1) / (n_permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for being several (Holm 1979): family-wise, never below the given ones.

    Args:
        p_values: each in [0, 1].

    Returns:
        In the order of `p_values`.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
