"""Calibrates a detector: scores prompts, and chooses probabilities and thresholds by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from safe_embed.detection.calibration import (
    CalibrationMethod,
    PlattMap,
    choose_thresholds,
    fit_probabilities,
)
from safe_embed.detection.documents import Calibration, HeadDocument, texts_digest
from safe_embed.detection.heads import Heads, fit_heads_without
from safe_embed.detection.judge import Judge
from safe_embed.detection.prepare import prepare
from safe_embed.detection.scorers import scorer_settings
from safe_embed.errors import InputError
from safe_embed.metrics.detection import min_benign
from safe_embed.records import Prompt

__all__ = ["Rates", "make_calibration"]


@dataclass(frozen=True)
class Rates:
    """Promised false-positive rates.

    Args:
        max_fpr: of blocking.
        review: of blocking or reviewing; five times `max_fpr`, at most 0.5, when None.
    """

    max_fpr: float
    review: float | None = None

    @property
    def review_fpr(self) -> float:
        """The rate of blocking or reviewing."""
        if self.review is not None:
            return self.review
        return max(self.max_fpr, min(5 * self.max_fpr, 0.5))


def make_calibration(
    judge: Judge,
    head: HeadDocument | None,
    prompts: Sequence[Prompt],
    rates: Rates,
    *,
    method: CalibrationMethod,
    per_category: bool,
) -> Calibration:
    """Scores labelled prompts and calibrates by them; `Detector.calibrate` says how.

    Args:
        judge: what scores.
        head: the head of the judge; None where its scorer has none.
        prompts: each with a label.
        rates: the promise.
        method: how probabilities are fitted.
        per_category: own thresholds for categories.

    Raises:
        InputError: as `Detector.calibrate`.
    """
    _require_usable(prompts, rates)
    version = judge.store.version
    known = {one.text for one in judge.store.exemplars()} & {one.text for one in prompts}
    if known and head is not None:
        judge = replace(judge, heads=Heads(judge.heads.main, fit_heads_without(judge.store)))
    batches = list(judge.score(prepare([one.text for one in prompts]), leave_out=frozenset(known)))
    raw = np.concatenate([one.raw for one in batches])
    nearest = [next(iter(one), None) for batch in batches for one in batch.categories()]
    unsafe = np.array([one.label == "unsafe" for one in prompts], dtype=bool)
    thresholds = choose_thresholds(
        raw[~unsafe],
        max_fpr=rates.max_fpr,
        review_fpr=rates.review_fpr,
        categories=[nearest[row] for row in np.flatnonzero(~unsafe)] if per_category else None,
    )
    fitted = bool(unsafe.any())
    return Calibration(
        encoder_fingerprint=judge.encoder.fingerprint,
        index_version=version,
        scorer=scorer_settings(judge.scorer),
        head_digest=head.digest() if head is not None else None,
        average_similarity=judge.average,
        data_digest=texts_digest((one.text, str(one.label)) for one in prompts),
        n_unsafe=int(unsafe.sum()),
        n_benign=int((~unsafe).sum()),
        n_exemplars=sum(one.text in known for one in prompts),
        probability=fit_probabilities(raw, unsafe, method) if fitted else PlattMap(),
        probability_is_fitted=fitted,
        max_fpr=rates.max_fpr,
        review_fpr=rates.review_fpr,
        block=thresholds.block,
        review=thresholds.review,
        block_by_category=thresholds.by_category,
    )


def _require_usable(prompts: Sequence[Prompt], rates: Rates) -> None:
    """Refuses what cannot work before anything is encoded."""
    for one in prompts:
        if one.label is None:
            raise InputError(f"prompt {one.id!r} has no label; a calibration needs all of them")
    n_benign = sum(one.label == "safe" for one in prompts)
    if 0 < rates.max_fpr < 1 and n_benign < (needed := min_benign(rates.max_fpr)):
        raise InputError(
            f"a false-positive rate of {rates.max_fpr:g} needs {needed:,} benign prompts, got "
            f"{n_benign:,}; add benign prompts, or promise a larger rate"
        )
