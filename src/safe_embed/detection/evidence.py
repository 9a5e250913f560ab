"""What is known of a prompt, and the two sums over neighbours that scorers are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Evidence", "log_votes", "mean_nearest", "needed_for_mean", "needed_for_votes"]

Numbers = NDArray[np.float64]

_NEWTON_STEPS = 8  # from the worst start 5 give nine digits


@dataclass(frozen=True)
class Evidence:
    """What is known of n prompts.

    Args:
        unsafe: normalised similarities to the nearest unsafe exemplars, float64 of shape (n, k),
            nearest first; where there are fewer the rest of a row is -inf.
        safe: the same for safe exemplars.
        head: log-odds of the head, shape (n,); NaN where there is no head.
    """

    unsafe: Numbers
    safe: Numbers
    head: Numbers


def mean_nearest(similarities: Numbers, k: int) -> Numbers:
    """Mean of the k largest, or of all where there are fewer; 0 where there is none.

    Args:
        similarities: shape (n, m), largest first, -inf where there are fewer than m.
        k: 1 or more.
    """
    top = similarities[:, :k]
    there = np.isfinite(top)
    return np.asarray(np.where(there, top, 0.0).sum(1) / np.maximum(there.sum(1), 1))


def needed_for_mean(similarities: Numbers, k: int, mean: Numbers) -> Numbers:
    """The similarity of one more exemplar that brings `mean_nearest` to a larger value.

    Args:
        similarities: as for `mean_nearest`.
        k: as for `mean_nearest`.
        mean: to be reached, shape (n,).
    """
    others = similarities[:, : k - 1]
    there = np.isfinite(others)
    return np.asarray(mean * (there.sum(1) + 1) - np.where(there, others, 0.0).sum(1))


def log_votes(similarities: Numbers, temperature: float, near: float, width: float) -> Numbers:
    """Logarithm of the sum of votes in each row; `NeighborVote` says what a vote is.

    Args:
        similarities: shape (n, m), -inf where there are fewer than m.
        temperature: see `NeighborVote`.
        near: see `NeighborVote`.
        width: see `NeighborVote`.
    """
    votes = similarities / temperature + np.logaddexp(0, (similarities - near) / width)
    return np.asarray(np.logaddexp.reduce(votes, axis=1))


def needed_for_votes(
    others: Numbers, wanted: Numbers, temperature: float, near: float, width: float
) -> Numbers:
    """The similarity at which one exemplar has the votes that are wanted beside the others'.

    Args:
        others: logarithm of the votes that are there without it, shape (n,).
        wanted: logarithm of the votes that are to be there, shape (n,).
        temperature: see `NeighborVote`.
        near: see `NeighborVote`.
        width: see `NeighborVote`.

    Returns:
        Shape (n,); -inf where the others have as many.
    """
    enough = wanted <= others
    own = wanted + np.log1p(-np.exp(np.where(enough, -1.0, others - wanted)))
    # A vote's logarithm is convex in the similarity and above two lines: from where the nearer
    # line reaches it Newton's method comes down to the solution and never passes it.
    s = np.minimum(own * temperature, (own + near / width) / (1 / temperature + 1 / width))
    for _ in range(_NEWTON_STEPS):
        excess = np.logaddexp(0, (s - near) / width)
        slope = 1 / temperature - np.expm1(-excess) / width
        s = s - (s / temperature + excess - own) / slope
    return np.where(enough, -np.inf, s)
