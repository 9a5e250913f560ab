"""How well scores tell unsafe prompts from safe ones, and a threshold with a promise.

Each ranking metric takes weights of shape (r, n), how often each item counts in each of r
resamples, and returns one number a resample; so a bootstrap is one call. `point_value` gives the
plain number, `estimate` the number with its interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import InputError
from safe_embed.metrics.bootstrap import Interval, percentile_interval

__all__ = [
    "Estimate",
    "Metric",
    "auprc",
    "auroc",
    "calibration_error",
    "conformal_threshold",
    "estimate",
    "f1",
    "false_positive_rate",
    "min_benign",
    "oracle_f1",
    "pair_accuracy",
    "point_value",
    "precision",
    "tpr_at_fpr",
    "true_positive_rate",
]

Numbers = NDArray[np.float64]
Metric = Callable[[Numbers, NDArray[np.bool_], Numbers], Numbers]
"""(scores (n,), unsafe (n,), weights (r, n)) -> (r,); NaN where it has no value."""

_TIE = 1e-6  # a single and a batched product differ by some 1e-7
_ROUNDING = 1e-9
_VALUES_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95 % interval; both NaN where the data have no such number."""

    value: float
    ci95: Interval


def auroc(scores: Numbers, unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """Probability that an unsafe item scores above a safe one, ties counting half.

    Args:
        scores: higher means more unsafe, shape (n,).
        unsafe: the labels, shape (n,).
        weights: shape (r, n), none below 0.

    Returns:
        Shape (r,), in [0, 1]; NaN where a label is missing.
    """
    positive, negative = _by_score(scores, unsafe, weights)
    above = np.cumsum(negative, axis=1) - negative / 2  # of the negatives, counted from the top
    return 1 - _ratio((positive * above).sum(1), positive.sum(1) * negative.sum(1))


def auprc(scores: Numbers, unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """Average precision: precision at each score, weighted by the recall gained there.

    Args:
        scores: as for `auroc`.
        unsafe: as for `auroc`.
        weights: as for `auroc`.

    Returns:
        Shape (r,), in [0, 1]; the share of unsafe items for a constant score.
    """
    positive, negative = _by_score(scores, unsafe, weights)
    hits, flagged = np.cumsum(positive, axis=1), np.cumsum(positive + negative, axis=1)
    gained = positive * np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
    return np.where(negative.sum(1) > 0, _ratio(gained.sum(1), positive.sum(1)), np.nan)


def tpr_at_fpr(max_fpr: float) -> Metric:
    """Largest share of unsafe items found while at most `max_fpr` of the safe ones are flagged.

    The points of the curve are those of the scores, without a line between them. The threshold
    belongs to the scored data, so this compares scorers; a promised rate needs
    `conformal_threshold`.
    """

    def metric(scores: Numbers, unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
        positive, negative = _by_score(scores, unsafe, weights)
        safe = negative.sum(1)
        allowed = np.cumsum(negative, axis=1) <= (max_fpr + _ROUNDING) * safe[:, None]
        found = np.where(allowed, np.cumsum(positive, axis=1), 0.0).max(1)
        return np.where(safe > 0, _ratio(found, positive.sum(1)), np.nan)

    return metric


def oracle_f1(scores: Numbers, unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """F1 at the best threshold for these very data: an upper bound, never a result."""
    positive, negative = _by_score(scores, unsafe, weights)
    flagged = np.cumsum(positive + negative, axis=1)
    total = positive.sum(1)[:, None] + flagged
    curve = np.divide(
        2 * np.cumsum(positive, axis=1), total, out=np.zeros_like(total), where=total > 0
    )
    best = curve.max(1)
    return np.where(positive.sum(1) > 0, best, np.nan)


def true_positive_rate(flagged: Numbers, unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """Share of the unsafe items that were flagged (recall); `flagged` holds 1 or 0."""
    return _ratio(weights @ (flagged * unsafe), weights @ unsafe.astype(float))


def false_positive_rate(flagged: Numbers, unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """Share of the safe items that were flagged; `flagged` holds 1 or 0."""
    return _ratio(weights @ (flagged * ~unsafe), weights @ (~unsafe).astype(float))


def precision(flagged: Numbers, unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """Share of unsafe items among the flagged; NaN where none is flagged."""
    return _ratio(weights @ (flagged * unsafe), weights @ flagged)


def f1(flagged: Numbers, unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """Harmonic mean of precision and recall; 0 where nothing is flagged, NaN without unsafe."""
    n_unsafe = weights @ unsafe.astype(float)
    value = _ratio(2 * (weights @ (flagged * unsafe)), weights @ flagged + n_unsafe)
    return np.where(n_unsafe > 0, value, np.nan)


def calibration_error(n_bins: int = 15) -> Metric:
    """Expected calibration error over bins of equal width (Guo et al. 2017).

    The mean over items of |share of unsafe items - mean score| of the item's bin. The scores are
    probabilities in [0, 1]; lower is better.
    """

    def metric(scores: Numbers, unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
        bins = np.clip((scores * n_bins).astype(int), 0, n_bins - 1)
        gap = unsafe - scores
        total = sum(np.abs(weights[:, bins == one] @ gap[bins == one]) for one in range(n_bins))
        return _ratio(np.asarray(total, dtype=float), weights.sum(1))

    return metric


def pair_accuracy(difference: Numbers, _unsafe: NDArray[np.bool_], weights: Numbers) -> Numbers:
    """Share of pairs whose unsafe side scores above its safe side.

    Args:
        difference: score of the unsafe side less that of the safe one, shape (n,); less than 1e-6
            is a tie and counts half.
        weights: shape (r, n).
    """
    hit = np.where(np.abs(difference) < _TIE, 0.5, difference > 0)
    return _ratio(weights @ hit, weights.sum(1))


def min_benign(alpha: float) -> int:
    """Number of benign scores that `conformal_threshold` needs: ceil(1 / alpha - 1)."""
    return math.ceil(1 / alpha - 1 - _ROUNDING)


def conformal_threshold(benign_scores: Numbers, alpha: float) -> float:
    """The threshold of split conformal calibration: ceil((n + 1)(1 - alpha))-th smallest score.

    Theorem (Vovk et al. 2005; Lei et al. 2018, theorem 2): if the n scores and the score S of a
    new benign prompt are exchangeable, then P(S > threshold) <= alpha, for every n and every
    distribution. Proof: the rank of S among the n + 1 scores, ties broken at random, is uniform,
    and S exceeds the r-th smallest of the others only if its rank is above r; that has
    probability at most (n + 1 - r) / (n + 1) <= alpha. The probability is over the draw of the
    calibration prompts too: for one such draw of distinct scores the true rate has the
    distribution Beta(n + 1 - r, r), of mean (n + 1 - r) / (n + 1).

    The scorer must not have seen these prompts, and an item is flagged iff its score is *above*
    the threshold.

    Args:
        benign_scores: of prompts drawn as the benign traffic is, shape (n,), n >= 1 / alpha - 1.
        alpha: promised false-positive rate, in (0, 1).

    Returns:
        One of the scores.

    Raises:
        InputError: alpha is not in (0, 1), there are too few scores for it, or one is not finite.
    """
    if not 0 < alpha < 1:
        raise InputError(f"a false-positive rate must be above 0 and below 1, got {alpha}")
    n = len(benign_scores)
    if n < min_benign(alpha):
        possible = f"at least {1 / (n + 1):.4g}" if n else "none"
        raise InputError(
            f"a false-positive rate of {alpha:g} needs {min_benign(alpha):,} benign prompts, got "
            f"{n:,}; add benign prompts, or promise a larger rate (with these: {possible})"
        )
    if not np.isfinite(benign_scores).all():
        raise InputError("a benign score is not finite; look at the scorer")
    rank = math.ceil((n + 1) * (1 - alpha) - _ROUNDING)
    return float(np.sort(benign_scores)[rank - 1])


def point_value(metric: Metric, scores: Numbers, unsafe: NDArray[np.bool_]) -> float:
    """A metric of the items as they are, each counting once.

    Raises:
        InputError: there is no item, shapes differ, or a score is NaN.
    """
    if not len(scores) or scores.shape != unsafe.shape:
        raise InputError(
            f"a metric needs one score and one label of each item, got {len(scores)} scores and "
            f"{len(unsafe)} labels"
        )
    if np.isnan(scores).any():
        raise InputError("a score is NaN; an item without a score must be left out")
    return float(metric(scores, unsafe, np.ones((1, len(scores))))[0])


def estimate(
    metric: Metric,
    scores: Numbers,
    unsafe: NDArray[np.bool_],
    *,
    clusters: Sequence[str] | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
) -> Estimate:
    """A metric with its 95 % percentile bootstrap interval.

    Args:
        metric: one of this module.
        scores: shape (n,), n >= 1.
        unsafe: shape (n,).
        clusters: the pair or contrast set of each item; whole clusters are resampled, because
            their items are not independent. Each item for itself when None.
        seed: the same seed and values give the same interval.
        n_resamples: resamples in which the metric has no value do not count.

    Raises:
        InputError: as `point_value`.
    """
    value = point_value(metric, scores, unsafe)
    if math.isnan(value):
        return Estimate(value=value, ci95=(math.nan, math.nan))
    names = np.asarray(clusters) if clusters is not None else np.arange(len(scores))
    _, member = np.unique(names, return_inverse=True)
    n = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    parts = []
    block = max(1, _VALUES_AT_ONCE // len(scores))  # bounds the memory
    for start in range(0, n_resamples, block):
        counts = rng.multinomial(n, np.full(n, 1 / n), min(block, n_resamples - start))
        parts.append(metric(scores, unsafe, counts[:, member].astype(float)))
    found = np.concatenate(parts)
    return Estimate(value=value, ci95=percentile_interval(found[np.isfinite(found)]))


def _by_score(
    scores: Numbers, unsafe: NDArray[np.bool_], weights: Numbers
) -> tuple[Numbers, Numbers]:
    """Weight of the unsafe and of the safe items at each distinct score, highest score first."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    sorted_weights, sorted_unsafe = weights[:, order], unsafe[order]
    positive = np.add.reduceat(sorted_weights * sorted_unsafe, starts, axis=1)
    negative = np.add.reduceat(sorted_weights * ~sorted_unsafe, starts, axis=1)
    return positive, negative


def _ratio(part: Numbers, whole: Numbers) -> Numbers:
    part = np.asarray(part, dtype=float)
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=np.asarray(whole) > 0)
