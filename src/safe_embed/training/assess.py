"""Before and after: the three tasks, detection on held-out prompts, and similarity given up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safe_embed.benchmark import Suite, compare, evaluate
from safe_embed.detection import DetectionReport, Detector, evaluate_detector
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import EmbeddedTexts, Progress
from safe_embed.errors import InputError
from safe_embed.metrics import paired_difference
from safe_embed.records import Prompt, PromptPair
from safe_embed.training.examples import Examples
from safe_embed.training.results import MeasureChange, SimilarityKept, TrainingResults

__all__ = ["assess", "similarity_kept"]

_MEASURES = ("auroc", "tpr_at_fpr_1", "tpr_at_fpr_5", "pair_accuracy")
_SIMILARITY_PAIRS = 5000


def assess(
    base: Encoder,
    adapted: Encoder,
    detectors: tuple[Detector, Detector],
    held_out: Examples,
    suite: Suite,
    ordinary: Sequence[str],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> TrainingResults:
    """Measures both encoders on what neither was trained on.

    Args:
        base: the encoder as it was.
        adapted: with the adapter merged.
        detectors: one for each, on the same exemplars.
        held_out: examples that were kept from training and index.
        suite: the three tasks.
        ordinary: everyday prompts, for general similarity.
        seed: of intervals and tests.
        progress: called while texts are embedded.
    """
    before, after = (evaluate(one, suite, seed=seed, progress=progress) for one in (base, adapted))
    reports = [evaluate_detector(one, _items(held_out), seed=seed) for one in detectors]
    return TrainingResults(
        tasks=compare([before, after], seed=seed),
        detection={name: _change(name, reports) for name in _MEASURES},
        pair_accuracy_p_value=_pairs_p_value(reports, seed),
        similarity=similarity_kept(base, adapted, ordinary, seed=seed),
    )


def similarity_kept(
    base: Encoder, adapted: Encoder, texts: Sequence[str], *, seed: int = 0
) -> SimilarityKept:
    """Correlates the cosines of random pairs of different texts.

    Args:
        base: the encoder as it was.
        adapted: with the adapter.
        texts: ordinary prompts, at least two different ones.
        seed: of the pairs.

    Raises:
        InputError: fewer than two different texts.
    """
    distinct = sorted(set(texts))
    if len(distinct) < 2:
        raise InputError("similarity is measured on pairs of ordinary prompts; give two or more")
    random = np.random.default_rng(seed)
    left = random.integers(0, len(distinct), _SIMILARITY_PAIRS)
    right = (left + random.integers(1, len(distinct), _SIMILARITY_PAIRS)) % len(distinct)
    cosines: list[NDArray[np.float32]] = []
    for encoder in (base, adapted):
        vectors = EmbeddedTexts.embed(encoder, distinct).of(distinct)
        cosines.append((vectors[left] * vectors[right]).sum(axis=1))
    return SimilarityKept(
        correlation=float(np.corrcoef(cosines[0], cosines[1])[0, 1]),
        n_pairs=_SIMILARITY_PAIRS,
        average_before=float(cosines[0].mean()),
        average_after=float(cosines[1].mean()),
    )


def _items(held_out: Examples) -> list[Prompt | PromptPair]:
    twins = set(held_out.twins.ravel().tolist())
    singles = held_out.only([row for row in range(len(held_out)) if row not in twins])
    return [*held_out.pairs(), *singles.prompts()]


def _change(name: str, reports: Sequence[DetectionReport]) -> MeasureChange:
    before, after = (one.measures[name] for one in reports)
    return MeasureChange(
        before=before.value, before_ci95=before.ci95, after=after.value, after_ci95=after.ci95
    )


def _pairs_p_value(reports: Sequence[DetectionReport], seed: int) -> float | None:
    before, after = (_ordered(one) for one in reports)
    if not len(before):
        return None
    return paired_difference(before, after, seed=seed).p_value


def _ordered(report: DetectionReport) -> NDArray[np.float64]:
    """For each pair 1 where the unsafe side scores higher, else 0; in the order of the pairs."""
    score: dict[str, dict[str, float]] = {}
    for item in report.items:
        if item.group is not None:
            score.setdefault(item.group, {})[item.label] = item.raw_score
    return np.array([float(one["unsafe"] > one["safe"]) for one in score.values()])
