"""Metrics of a detector, against scikit-learn, and the promise of the conformal threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from safe_embed.errors import InputError
from safe_embed.metrics import detection
from safe_embed.metrics.detection import conformal_threshold, estimate, min_benign, point_value

items = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.booleans(), st.integers(0, 3)),
    min_size=2,
    max_size=30,
).filter(lambda rows: len({label for _, label, weight in rows if weight}) == 2)


def arrays(rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    return scores.astype(float), labels.astype(bool), weights.astype(float)


@given(items)
@settings(deadline=None, max_examples=60)
def test_ranking_metrics_are_those_of_scikit_learn(rows):
    scores, labels, weights = arrays(rows)
    used = weights > 0
    wanted_auroc = reference.roc_auc_score(labels, scores, sample_weight=weights)
    wanted_auprc = reference.average_precision_score(
        labels[used], scores[used], sample_weight=weights[used]
    )
    assert detection.auroc(scores, labels, weights[None])[0] == pytest.approx(wanted_auroc)
    assert detection.auprc(scores, labels, weights[None])[0] == pytest.approx(wanted_auprc)
    fpr, tpr, _ = reference.roc_curve(
        labels, scores, sample_weight=weights, drop_intermediate=False
    )
    for limit in (0.0, 0.05, 0.3, 1.0):
        wanted = tpr[fpr <= limit + 1e-9].max()
        found = detection.tpr_at_fpr(limit)(scores, labels, weights[None])[0]
        assert found == pytest.approx(wanted)


@given(items)
@settings(deadline=None, max_examples=60)
def test_rates_at_a_threshold_are_those_of_scikit_learn(rows):
    scores, labels, _ = arrays(rows)
    if len(set(labels)) < 2:
        return
    flagged = (scores > 0.4).astype(float)
    assert point_value(detection.f1, flagged, labels) == pytest.approx(
        reference.f1_score(labels, flagged, zero_division=0)
    )
    assert point_value(detection.true_positive_rate, flagged, labels) == pytest.approx(
        reference.recall_score(labels, flagged)
    )
    assert point_value(detection.false_positive_rate, flagged, labels) == pytest.approx(
        1 - reference.recall_score(~labels, 1 - flagged)
    )
    if flagged.any():
        assert point_value(detection.precision, flagged, labels) == pytest.approx(
            reference.precision_score(labels, flagged)
        )
    best = max(
        reference.f1_score(labels, scores >= threshold, zero_division=0) for threshold in scores
    )
    assert point_value(detection.oracle_f1, scores, labels) == pytest.approx(best)


def test_worked_example():
    scores = np.array([0.9, 0.8, 0.4, 0.4, 0.1])
    labels = np.array([True, False, True, False, False])
    assert point_value(detection.auroc, scores, labels) == pytest.approx((3 + 1.5) / 6)
    assert point_value(detection.tpr_at_fpr(0.01), scores, labels) == 0.5
    error = point_value(detection.calibration_error(10), scores, labels)
    assert error == pytest.approx((0.1 + 0.8 + abs(1 - 0.8) + 0.1) / 5)


def test_pair_accuracy_counts_differences_of_rounding_as_ties():
    difference = np.array([0.2, -0.2, 3e-8, -3e-8])
    labels = np.ones(4, dtype=bool)
    assert point_value(detection.pair_accuracy, difference, labels) == 0.5


def test_without_a_label_there_is_no_number():
    scores, labels = np.array([0.1, 0.9]), np.array([True, True])
    for metric in (detection.auroc, detection.auprc, detection.tpr_at_fpr(0.1)):
        found = estimate(metric, scores, labels)
        assert math.isnan(found.value)
        assert all(math.isnan(bound) for bound in found.ci95)
    assert math.isnan(point_value(detection.precision, np.zeros(2), labels))
    assert point_value(detection.f1, np.zeros(2), labels) == 0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.array([]), np.array([], dtype=bool), "one score and one label"),
        (np.array([0.1]), np.array([True, False]), "one score and one label"),
        (np.array([0.1, math.nan]), np.array([True, False]), "NaN"),
    ],
)
def test_items_that_cannot_be_measured(scores, labels, message):
    with pytest.raises(InputError, match=message):
        point_value(detection.auroc, scores, labels)


def test_interval_resamples_whole_clusters():
    rng = np.random.default_rng(0)
    labels = np.tile([True, False], 30)
    scores = rng.normal(size=60) + labels
    scores[1::2] = rng.normal(size=30)
    alone = estimate(detection.auroc, scores, labels, seed=1)
    assert alone.ci95[0] < alone.value < alone.ci95[1]
    assert alone == estimate(detection.auroc, scores, labels, seed=1)
    doubled = estimate(
        detection.auroc,
        np.repeat(scores, 8),
        np.repeat(labels, 8),
        clusters=[str(i) for i in np.repeat(np.arange(60), 8)],
        seed=1,
    )
    assert doubled.value == pytest.approx(alone.value)
    width, wanted = (one.ci95[1] - one.ci95[0] for one in (doubled, alone))
    assert width == pytest.approx(wanted, rel=0.05)  # items for themselves would shrink it


@given(st.integers(1, 300), st.floats(0.004, 0.9), st.integers(1, 300))
@settings(max_examples=60)
def test_conformal_threshold_is_the_named_order_statistic(n, alpha, n_distinct):
    scores = np.random.default_rng(n).permutation(np.arange(n) % n_distinct).astype(float)
    if n < 1 / alpha - 1 - 1e-6:
        with pytest.raises(InputError, match=f"needs {min_benign(alpha):,} benign prompts"):
            conformal_threshold(scores, alpha)
        return
    flagged = (scores > conformal_threshold(scores, alpha)).sum()
    assert flagged + 1 <= alpha * (n + 1) + 1e-6
    if n_distinct >= n:
        assert flagged + 1 > alpha * (n + 1) - 1 - 1e-6


@pytest.mark.parametrize(("alpha", "n"), [(0.01, 99), (0.05, 19), (0.1, 9), (0.001, 999), (0.3, 3)])
def test_smallest_sample_that_supports_an_alpha(alpha, n):
    assert min_benign(alpha) == n
    scores = np.arange(n, dtype=float)
    assert conformal_threshold(scores, alpha) >= n - 1 - (alpha == 0.3)
    with pytest.raises(InputError, match="add benign prompts"):
        conformal_threshold(scores[1:], alpha)


def test_the_promise_holds_and_is_not_wasted():
    rng = np.random.default_rng(0)
    alpha, n = 0.05, 99
    rates = [
        (rng.normal(size=500) > conformal_threshold(rng.normal(size=n), alpha)).mean()
        for _ in range(800)
    ]
    error = np.std(rates) / math.sqrt(len(rates))
    assert alpha - 4 * error < np.mean(rates) < alpha + 3 * error  # (n + 1 - r) / (n + 1) = alpha


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_impossible_alpha(alpha):
    with pytest.raises(InputError, match="above 0 and below 1"):
        conformal_threshold(np.arange(5.0), alpha)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="not finite"):
        conformal_threshold(np.array([0.0, np.inf, 1.0]), 0.5)
