"""Turns a scored prompt into a verdict that a person can read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safe_embed.detection.calibration import PlattMap, ProbabilityMap, Thresholds
from safe_embed.detection.evidence import Evidence
from safe_embed.detection.judge import Scored
from safe_embed.detection.scorers import Scorer
from safe_embed.detection.scoring import SLACK, Found, flip_similarity
from safe_embed.detection.verdict import (
    Decision,
    EncoderName,
    Nearest,
    Neighbor,
    Verdict,
    VerdictWindow,
)
from safe_embed.records import Label
from safe_embed.stores.base import Exemplar

__all__ = ["UNCALIBRATED", "Levels", "explain"]

Numbers = NDArray[np.float64]

_SHOWN = 3  # exemplars of each label
_FIRES = 0.25
_TOLD = 0.01


@dataclass(frozen=True)
class Levels:
    """How raw scores are read: as probabilities, and against which thresholds."""

    probability: ProbabilityMap
    thresholds: Thresholds
    calibrated: bool


UNCALIBRATED = Levels(
    PlattMap(), Thresholds(block=0.0, review=-0.5, by_category={}), calibrated=False
)
"""Before a calibration: the logistic function of the raw score, blocked above 1/2."""


def explain(
    scored: Scored,
    scorer: Scorer,
    levels: Levels,
    *,
    average: float,
    encoder: EncoderName,
    index_version: int,
    notes: tuple[str, ...],
) -> list[Verdict]:
    """Verdicts of scored prompts, in their order.

    Args:
        scored: as the detector makes it.
        scorer: that made the raw scores.
        levels: of the calibration, or `UNCALIBRATED`.
        average: average similarity, by which similarities are normalised.
        encoder: named in the verdicts.
        index_version: the store's.
        notes: that hold for all prompts.
    """
    weights = scored.categories()
    own = levels.thresholds.by_category
    top = [next(iter(one), "") for one in weights]
    block = np.array([own.get(name, levels.thresholds.block) for name in top])
    review = np.minimum(block, levels.thresholds.review)
    levels_of = np.array([scored.raw, block, review])
    decisions = [_decision(*one) for one in levels_of.T.tolist()]
    score, high, low = levels.probability.probabilities(levels_of).tolist()
    flips = _flips(scored.found.evidence, scorer, block, review, decisions)
    verdicts = []
    for row, prompt in enumerate(scored.prompts):
        shares, piece = weights[row], scored.pieces[row]
        evidence = _nearest(scored.found, row, average)
        fired = [name for name, share in shares.items() if share >= _FIRES]
        scores = {name: share * score[row] for name, share in shares.items()}
        verdicts.append(
            Verdict(
                decision=decisions[row],
                score=score[row],
                raw_score=float(scored.raw[row]),
                threshold=high[row],
                review_threshold=low[row],
                calibrated=levels.calibrated,
                categories={name: one for name, one in scores.items() if one >= _TOLD},
                fired_categories=() if decisions[row] == "allow" else tuple(fired),
                evidence=evidence,
                margin=_margin(evidence),
                flip=flips[row],
                window=VerdictWindow(
                    start=piece.start,
                    end=piece.end,
                    text=piece.text,
                    of=piece.of,
                    n_windows=len(prompt.pieces),
                ),
                encoder=encoder,
                index_version=index_version,
                notes=(*prompt.notes, *notes),
            )
        )
    return verdicts


def _decision(raw: float, block: float, review: float) -> Decision:
    if raw > block + SLACK:
        return "block"
    return "review" if raw > review + SLACK else "allow"


def _nearest(found: Found, row: int, average: float) -> Nearest:
    def shown(exemplars: Sequence[Exemplar], similarities: Numbers) -> tuple[Neighbor, ...]:
        return tuple(
            [
                Neighbor(
                    id=one.id,
                    text=one.text,
                    category=one.category,
                    source=one.source,
                    similarity=similarity,
                    cosine=similarity * (1 - average) + average,
                )
                for one, similarity in zip(
                    exemplars[:_SHOWN], similarities[:_SHOWN].tolist(), strict=False
                )
            ]
        )

    return Nearest(
        unsafe=shown(found.unsafe[row], found.evidence.unsafe[row]),
        safe=shown(found.safe[row], found.evidence.safe[row]),
    )


def _margin(evidence: Nearest) -> float | None:
    if not evidence.unsafe or not evidence.safe:
        return None
    return evidence.unsafe[0].similarity - evidence.safe[0].similarity


def _flips(
    evidence: Evidence,
    scorer: Scorer,
    block: Numbers,
    review: Numbers,
    decisions: Sequence[Decision],
) -> list[str]:
    sentences = [""] * len(decisions)
    allowed = np.array([decision == "allow" for decision in decisions], dtype=bool)
    sides: tuple[tuple[Label, str, Numbers, NDArray[np.bool_]], ...] = (
        ("unsafe", "block", block, allowed),
        ("safe", "allow", review, ~allowed),
    )
    for label, verb, threshold, here in sides:
        rows = np.flatnonzero(here)
        if not rows.size:
            continue
        own = Evidence(evidence.unsafe[rows], evidence.safe[rows], evidence.head[rows])
        needed = flip_similarity(scorer, own, label, threshold[rows])
        nearest = (own.unsafe if label == "unsafe" else own.safe)[:, 0]
        told = zip(rows.tolist(), needed.tolist(), nearest.tolist(), strict=True)
        for row, similarity, there in told:
            sentences[row] = _sentence(label, verb, similarity, there)
    return sentences


def _sentence(label: str, verb: str, needed: float, nearest: float) -> str:
    if math.isnan(needed):
        return (
            f"No single {label} exemplar would {verb} this prompt, not even one of the same text."
        )
    there = f"; the nearest has {nearest:.2f}" if math.isfinite(nearest) else ""
    return (
        f"One more {label} exemplar with a similarity of at least {needed:.2f} would {verb} this "
        f"prompt{there}."
    )
