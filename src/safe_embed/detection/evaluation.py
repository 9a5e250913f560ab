"""How good a detector is on labelled data: each number with its interval, and each item's score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from safe_embed.detection.detector import Detector
from safe_embed.detection.scorers import scorer_settings
from safe_embed.detection.verdict import Decision, EncoderName
from safe_embed.errors import InputError
from safe_embed.metrics.bootstrap import Interval
from safe_embed.metrics.detection import (
    Metric,
    auprc,
    auroc,
    calibration_error,
    estimate,
    f1,
    false_positive_rate,
    oracle_f1,
    pair_accuracy,
    precision,
    tpr_at_fpr,
    true_positive_rate,
)
from safe_embed.records import ContrastSet, Label, Prompt, PromptPair

__all__ = ["DetectionReport", "GroupResult", "ItemScore", "Measure", "evaluate_detector"]

Numbers = NDArray[np.float64]
Labelled = Prompt | PromptPair | ContrastSet

_RANKING: dict[str, Metric] = {
    "auroc": auroc,
    "auprc": auprc,
    "tpr_at_fpr_1": tpr_at_fpr(0.01),
    "tpr_at_fpr_5": tpr_at_fpr(0.05),
    "oracle_f1": oracle_f1,
}
_AT_THRESHOLD: dict[str, Metric] = {
    "f1": f1,
    "precision": precision,
    "true_positive_rate": true_positive_rate,
    "false_positive_rate": false_positive_rate,
}


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measure(_Result):
    """A number with its 95 % interval; None where these data have no such number."""

    value: float | None
    ci95: Interval | None


class GroupResult(_Result):
    """The measures of one group of items.

    Of all items and of a type of pairs: AUROC, AUPRC, the share of unsafe items found while 1 % or
    5 % of the safe ones are flagged (`tpr_at_fpr_1`, `tpr_at_fpr_5`), F1, precision and rates at
    the detector's threshold for blocking, `review_true_positive_rate` and
    `review_false_positive_rate` at that for reviewing, expected calibration error, `pair_accuracy`
    (the unsafe side scores above its safe one), and `oracle_f1`, whose threshold is chosen on
    these very data. Of a category of harm: its unsafe items against all safe ones.
    """

    n_unsafe: int
    n_safe: int
    n_pairs: int
    measures: dict[str, Measure]


class ItemScore(_Result):
    """One text that was judged."""

    id: str
    text: str
    label: Label
    category: str | None
    type: str | None
    group: str | None
    """Id of the pair or contrast set."""
    score: float
    raw_score: float
    decision: Decision
    fired_categories: tuple[str, ...]
    is_exemplar: bool
    """Its text is in the index, so its score tells nothing."""


class DetectionReport(GroupResult):
    """The measures of all items, and by category of harm and type of pair."""

    encoder: EncoderName
    scorer: dict[str, object]
    index_version: int
    calibrated: bool
    max_fpr: float | None
    """What the calibration promises; None without one."""
    n_exemplars: int
    """Items whose text is in the index: a result with any is too good."""
    by_category: dict[str, GroupResult]
    by_type: dict[str, GroupResult]
    items: tuple[ItemScore, ...]


@dataclass(frozen=True)
class _Bootstrap:
    seed: int
    n_resamples: int


def evaluate_detector(
    detector: Detector,
    items: Sequence[Labelled],
    *,
    seed: int = 0,
    n_resamples: int = 1000,
) -> DetectionReport:
    """Judges labelled items and measures the verdicts.

    Args:
        detector: best calibrated on other data.
        items: prompts with labels, pairs and contrast sets, mixed at will; never what the detector
            was built, calibrated or tuned on.
        seed: of the bootstrap intervals, which resample pairs and contrast sets as a whole.
        n_resamples: of the intervals.

    Raises:
        InputError: there is no item, or a prompt has no label.
    """
    rows = [row for one in items for row in _rows(one)]
    if not rows:
        raise InputError("an evaluation needs at least one item")
    present = {one.text for one in detector.store.exemplars()}
    verdicts = detector.check_many([one.text for one in rows])
    scored = [
        ItemScore(
            **row._asdict(),
            score=verdict.score,
            raw_score=verdict.raw_score,
            decision=verdict.decision,
            fired_categories=verdict.fired_categories,
            is_exemplar=row.text in present,
        )
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    bootstrap = _Bootstrap(seed, n_resamples)
    safe = [one for one in scored if one.label == "safe"]
    categories = sorted({one.category for one in scored if one.category and one.label == "unsafe"})
    types = sorted({one.type for one in scored if one.type})
    whole = _measure(scored, bootstrap)
    calibration = detector.calibration
    return DetectionReport(
        **whole.model_dump(),
        encoder=verdicts[0].encoder,
        scorer=scorer_settings(detector.scorer),
        index_version=verdicts[0].index_version,
        calibrated=verdicts[0].calibrated,
        max_fpr=calibration.max_fpr if calibration is not None else None,
        n_exemplars=sum(one.is_exemplar for one in scored),
        by_category={
            name: _measure(
                [one for one in scored if one.label == "unsafe" and one.category == name] + safe,
                bootstrap,
            )
            for name in categories
        },
        by_type={
            name: _measure([one for one in scored if one.type == name], bootstrap) for name in types
        },
        items=tuple(scored),
    )


class _Row(NamedTuple):
    id: str
    text: str
    label: Label
    category: str | None = None
    type: str | None = None
    group: str | None = None


def _rows(item: Labelled) -> list[_Row]:
    if isinstance(item, Prompt):
        if item.label is None:
            raise InputError(f"prompt {item.id!r} has no label; an evaluation needs all of them")
        return [_Row(item.id, item.text, item.label, item.category)]
    if isinstance(item, PromptPair):
        unsafe = _Row(f"{item.id}/unsafe", item.unsafe, "unsafe", item.category, item.type, item.id)
        return [unsafe, _Row(f"{item.id}/safe", item.safe, "safe", None, item.type, item.id)]
    original = _Row(f"{item.id}/original", item.original, "unsafe", item.category, group=item.id)
    edits = enumerate(item.edits, 1)
    return [
        original,
        *(_Row(f"{item.id}/edit {n}", edit, "safe", group=item.id) for n, edit in edits),
    ]


def _measure(items: Sequence[ItemScore], bootstrap: _Bootstrap) -> GroupResult:
    raw = np.array([one.raw_score for one in items])
    score = np.array([one.score for one in items])
    unsafe = np.array([one.label == "unsafe" for one in items], dtype=bool)
    clusters = [one.group if one.group is not None else f"item {one.id}" for one in items]
    blocked = np.array([float(one.decision == "block") for one in items])
    reviewed = np.array([float(one.decision != "allow") for one in items])

    def measure(metric: Metric, values: Numbers) -> Measure:
        return _estimated(metric, values, unsafe, clusters, bootstrap)

    measures = {name: measure(metric, raw) for name, metric in _RANKING.items()}
    measures["calibration_error"] = measure(calibration_error(), score)
    measures |= {name: measure(metric, blocked) for name, metric in _AT_THRESHOLD.items()}
    for name in ("true_positive_rate", "false_positive_rate"):
        measures[f"review_{name}"] = measure(_AT_THRESHOLD[name], reviewed)
    difference, groups = _pairs(items)
    measures["pair_accuracy"] = (
        _estimated(pair_accuracy, difference, np.ones(len(groups), dtype=bool), groups, bootstrap)
        if groups
        else Measure(value=None, ci95=None)
    )
    return GroupResult(
        n_unsafe=int(unsafe.sum()),
        n_safe=int((~unsafe).sum()),
        n_pairs=len(groups),
        measures=measures,
    )


def _estimated(
    metric: Metric,
    values: Numbers,
    unsafe: NDArray[np.bool_],
    clusters: list[str],
    bootstrap: _Bootstrap,
) -> Measure:
    found = estimate(
        metric,
        values,
        unsafe,
        clusters=clusters,
        seed=bootstrap.seed,
        n_resamples=bootstrap.n_resamples,
    )
    if np.isnan(found.value):
        return Measure(value=None, ci95=None)
    return Measure(value=found.value, ci95=found.ci95)


def _pairs(items: Sequence[ItemScore]) -> tuple[Numbers, list[str]]:
    """Raw score of the unsafe side less that of each safe one of its pair or contrast set."""
    unsafe_of = {one.group: one.raw_score for one in items if one.group and one.label == "unsafe"}
    found = [
        (unsafe_of[one.group] - one.raw_score, one.group)
        for one in items
        if one.group is not None and one.label == "safe" and one.group in unsafe_of
    ]
    return np.array([difference for difference, _ in found]), [group for _, group in found]
