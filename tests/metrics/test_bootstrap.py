"""Bootstrap intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safe_embed.errors import InputError
from safe_embed.metrics import bootstrap, mean_interval, mean_of_means_interval


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(0, 9))
def test_lies_within_the_values_and_repeats_with_its_seed(values: list[float], seed: int) -> None:
    array = np.array(values)
    low, high = mean_interval(array, seed=seed, n_resamples=200)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
    assert (low, high) == mean_interval(array, seed=seed, n_resamples=200)


def test_width_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(0).standard_normal(400)
    low, high = mean_interval(values, n_resamples=4000)
    expected = 2 * 1.96 * values.std() / 20
    assert high - low == pytest.approx(expected, rel=0.06)


def test_covers_the_true_mean_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(300):
        low, high = mean_interval(rng.exponential(size=80), seed=seed, n_resamples=400)
        covered += low <= 1 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_blocks_of_resamples_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random(50)
    whole = mean_interval(values)
    monkeypatch.setattr(bootstrap, "_VALUES_AT_ONCE", 1000)
    assert mean_interval(values) == whole


def test_groups_weigh_alike_whatever_their_size() -> None:
    groups = [np.zeros(5), np.ones(500)]
    assert mean_of_means_interval(groups) == (0.5, 0.5)


def test_interval_of_groups_is_narrower_than_that_of_one_group() -> None:
    rng = np.random.default_rng(3)
    groups = [rng.random(30) for _ in range(12)]
    low, high = mean_of_means_interval(groups)
    one_low, one_high = mean_interval(groups[0])
    assert low < np.mean([group.mean() for group in groups]) < high
    assert high - low < 0.5 * (one_high - one_low)


def test_nothing_has_no_interval() -> None:
    with pytest.raises(InputError, match="at least one value"):
        mean_interval(np.array([]))
    with pytest.raises(InputError, match="at least one group"):
        mean_of_means_interval([])
