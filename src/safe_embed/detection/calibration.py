"""From raw scores to probabilities, and thresholds that keep a promised false-positive rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from safe_embed.detection.head import fit_logistic
from safe_embed.errors import InputError
from safe_embed.metrics.detection import conformal_threshold, min_benign

__all__ = [
    "CalibrationMethod",
    "IsotonicMap",
    "PlattMap",
    "ProbabilityMap",
    "Thresholds",
    "choose_thresholds",
    "fit_probabilities",
]

Numbers = NDArray[np.float64]
CalibrationMethod = Literal["platt", "isotonic"]

_WEAK_PENALTY = 1e6


class _Map(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlattMap(_Map):
    """1 / (1 + exp(-(slope * raw + intercept))) (Platt 1999)."""

    kind: Literal["platt"] = "platt"
    slope: Annotated[float, Field(gt=0)] = 1.0
    intercept: float = 0.0

    def probabilities(self, raw: Numbers) -> Numbers:
        """Shape (n,), in (0, 1), rising strictly with the raw score up to rounding."""
        return np.asarray(0.5 * (1 + np.tanh((self.slope * raw + self.intercept) / 2)))


class IsotonicMap(_Map):
    """A line through the centres of the blocks of an isotonic regression.

    So it rises strictly between them ("centred", Oron & Flournoy 2017); outside it goes to 0 and 1
    exponentially.
    """

    kind: Literal["isotonic"] = "isotonic"
    scores: tuple[float, ...]
    """Centres of the blocks, rising."""
    values: tuple[float, ...]
    """Probabilities there, rising, in (0, 1)."""

    def probabilities(self, raw: Numbers) -> Numbers:
        """Shape (n,), in [0, 1], rising with the raw score."""
        inside = np.interp(raw, self.scores, self.values)
        first, last = self.scores[0], self.scores[-1]
        below = self.values[0] * np.exp(np.minimum(raw - first, 0))
        above = 1 - (1 - self.values[-1]) * np.exp(np.minimum(last - raw, 0))
        return np.asarray(np.where(raw < first, below, np.where(raw > last, above, inside)))


ProbabilityMap = Annotated[PlattMap | IsotonicMap, Field(discriminator="kind")]


@dataclass(frozen=True)
class Thresholds:
    """Raw scores above which a prompt is reviewed or blocked; review <= block.

    `by_category` holds the categories that have a larger one of their own for blocking.
    """

    block: float
    review: float
    by_category: dict[str, float]


def fit_probabilities(
    raw: Numbers, unsafe: NDArray[np.bool_], method: CalibrationMethod
) -> PlattMap | IsotonicMap:
    """Fits the probability of being unsafe as a rising function of the raw score.

    Args:
        raw: scores of prompts that the scorer has not seen, shape (n,).
        unsafe: their labels.
        method: `platt` has two parameters and is the choice for few prompts; `isotonic` any
            rising shape, from about a thousand prompts on.

    Raises:
        InputError: a label is missing, or the score does not rise with harm.
    """
    if unsafe.all() or not unsafe.any():
        raise InputError("probabilities need unsafe and safe prompts; add the others")
    if method == "isotonic":
        return _isotonic(raw, unsafe)
    n_unsafe, n_safe = int(unsafe.sum()), int((~unsafe).sum())
    # Platt's targets keep the slope finite where the scores separate the labels.
    targets = np.where(unsafe, (n_unsafe + 1) / (n_unsafe + 2), 1 / (n_safe + 2))
    fitted = fit_logistic(raw[:, None], targets, strength=_WEAK_PENALTY)
    slope = float(fitted.weights[0])
    if slope <= 0:
        raise _no_rise()
    return PlattMap(slope=slope, intercept=fitted.bias)


def choose_thresholds(
    benign_raw: Numbers,
    *,
    max_fpr: float,
    review_fpr: float,
    categories: Sequence[str | None] | None = None,
) -> Thresholds:
    """Thresholds by split conformal calibration (`conformal_threshold` states the theorem).

    A category of which there are enough benign prompts gets a threshold of its own, if that is
    larger than the common one: so both the rate over all benign traffic and the rate over the
    benign traffic whose nearest category it is are at most `max_fpr`. The others keep the common.

    Args:
        benign_raw: raw scores of benign prompts, shape (n,).
        max_fpr: largest share of benign prompts to be blocked.
        review_fpr: largest share to be blocked or reviewed; equal to `max_fpr` for no review.
        categories: nearest category of each of these prompts; None for no own thresholds.

    Raises:
        InputError: the rates are not 0 < max_fpr <= review_fpr < 1, or the data cannot support it.
    """
    if review_fpr < max_fpr:
        raise InputError(
            f"review_fpr must be at least max_fpr = {max_fpr:g}, got {review_fpr:g}: what is "
            "blocked counts as reviewed too"
        )
    block = conformal_threshold(benign_raw, max_fpr)
    review = min(block, conformal_threshold(benign_raw, review_fpr))
    own = {}
    names = np.asarray([name or "" for name in categories or ()])
    for name in sorted(set(names.tolist()) - {""}):
        scores = benign_raw[names == name]
        if len(scores) >= min_benign(max_fpr):
            own[name] = max(block, conformal_threshold(scores, max_fpr))
    return Thresholds(block, review, own)


def _isotonic(raw: Numbers, unsafe: NDArray[np.bool_]) -> IsotonicMap:
    """Pools adjacent violators; a block holds its centre, its share of unsafe items, its size."""
    blocks: list[tuple[float, float, float]] = []
    for score in np.unique(raw):
        here = raw == score
        block = (float(score), float(unsafe[here].mean()), float(here.sum()))
        while blocks and blocks[-1][1] >= block[1]:
            centre, share, size = blocks.pop()
            total = size + block[2]
            block = (
                (centre * size + block[0] * block[2]) / total,
                (share * size + block[1] * block[2]) / total,
                total,
            )
        blocks.append(block)
    if len(blocks) < 2:
        raise _no_rise()
    edge = 1 / (2 * len(raw))  # below any share between 0 and 1, so the order is kept
    return IsotonicMap(
        scores=tuple(centre for centre, _, _ in blocks),
        values=tuple(float(np.clip(share, edge, 1 - edge)) for _, share, _ in blocks),
    )


def _no_rise() -> InputError:
    return InputError(
        "on these prompts the score does not rise with harm, so it is no probability; look at the "
        "labels, or choose another encoder or scorer"
    )
