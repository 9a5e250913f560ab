"""Average similarity of an encoder, and the normalisation by it (paper, section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import InputError
from safe_embed.metrics.bootstrap import Interval, percentile_interval

__all__ = ["AverageSimilarity", "average_similarity", "normalized_similarity"]

Numbers = TypeVar("Numbers", float, NDArray[np.float64])


@dataclass(frozen=True, kw_only=True)
class AverageSimilarity:
    """Cosines over all pairs of two disjoint samples of arbitrary prompts."""

    mean: float
    median: float
    standard_deviation: float
    """Of the cosines, with the number of pairs less one as divisor (as in the paper's script); NaN
    for a single pair."""
    ci95: Interval
    """Of the mean: percentile bootstrap over the prompts of each sample."""
    n_head: int
    n_tail: int


def average_similarity(
    head: NDArray[np.float32],
    tail: NDArray[np.float32],
    *,
    seed: int = 0,
    n_resamples: int = 2000,
) -> AverageSimilarity:
    """Mean, median and standard deviation of the cosine over all pairs (head, tail).

    The pairs are one matrix product; no loop visits them. The interval resamples prompts, not
    pairs, because the pairs of one prompt are not independent.

    Args:
        head: unit vectors of shape (n, d).
        tail: unit vectors of shape (m, d), of other prompts than `head`.
        seed: of the bootstrap.
        n_resamples: of the bootstrap.

    Raises:
        InputError: one of the samples is empty.
    """
    if not len(head) or not len(tail):
        raise InputError("the average similarity needs at least one prompt in each sample")
    cosines = head.astype(np.float64) @ tail.astype(np.float64).T
    rng = np.random.default_rng(seed)
    head_weights = rng.multinomial(len(head), np.full(len(head), 1 / len(head)), n_resamples)
    tail_weights = rng.multinomial(len(tail), np.full(len(tail), 1 / len(tail)), n_resamples)
    means = np.einsum("rn,rn->r", head_weights @ cosines, tail_weights) / cosines.size
    return AverageSimilarity(
        mean=float(cosines.mean()),
        median=float(np.median(cosines)),
        standard_deviation=float(cosines.std(ddof=1)) if cosines.size > 1 else math.nan,
        ci95=percentile_interval(means),
        n_head=len(head),
        n_tail=len(tail),
    )


def normalized_similarity(cosine: Numbers, average: float) -> Numbers:
    """(cos - avg) / (1 - avg): 1 for the same vector, 0 for two arbitrary prompts.

    Args:
        cosine: one cosine or an array of them.
        average: the encoder's average similarity, in [-1, 1).

    Returns:
        The same shape as `cosine`; at most 1, and negative below the average.

    Raises:
        InputError: `average` is not a number in [-1, 1).
    """
    if not -1 <= average < 1:
        raise InputError(f"the average similarity must be in [-1, 1), got {average}")
    return (cosine - average) / (1 - average)
