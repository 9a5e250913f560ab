"""The average similarity and the normalisation by it."""

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.errors import InputError
from safe_embed.metrics import average_similarity, normalized_similarity
from safe_embed.vectors import normalize_rows

RNG = np.random.default_rng(7)
HEAD = normalize_rows(RNG.standard_normal((12, 6)) + 0.5)
TAIL = normalize_rows(RNG.standard_normal((9, 6)) + 0.5)


def test_agrees_with_a_loop_over_pairs() -> None:
    cosines = [
        sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
        for a, b in itertools.product(HEAD, TAIL)
    ]
    result = average_similarity(HEAD, TAIL)
    assert result.mean == pytest.approx(statistics.mean(cosines), abs=1e-12)
    assert result.median == pytest.approx(statistics.median(cosines), abs=1e-12)
    assert result.standard_deviation == pytest.approx(statistics.stdev(cosines), abs=1e-12)
    assert (result.n_head, result.n_tail) == (12, 9)


def test_order_of_prompts_and_of_samples_does_not_matter() -> None:
    result = average_similarity(HEAD, TAIL)
    other = average_similarity(TAIL[::-1], HEAD[RNG.permutation(12)])
    assert other.mean == pytest.approx(result.mean, abs=1e-12)
    assert other.median == pytest.approx(result.median, abs=1e-12)


def test_interval_is_seeded_and_holds_the_mean() -> None:
    result = average_similarity(HEAD, TAIL, seed=3)
    assert result == average_similarity(HEAD, TAIL, seed=3)
    assert result.ci95 != average_similarity(HEAD, TAIL, seed=4).ci95
    assert result.ci95[0] < result.mean < result.ci95[1]


def test_interval_resamples_prompts_not_pairs() -> None:
    # 60 prompts a side make 3600 pairs: resampling those would give a much narrower interval
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(4)
    head = normalize_rows(rng.standard_normal((60, 4)) + direction)
    tail = normalize_rows(rng.standard_normal((60, 4)) + direction)
    result = average_similarity(head, tail)
    naive_width = 2 * 1.96 * result.standard_deviation / 60
    assert result.ci95[1] - result.ci95[0] > 2 * naive_width


def test_interval_of_identical_vectors_is_a_point() -> None:
    same = np.repeat(HEAD[:1], 5, axis=0)
    result = average_similarity(same, same)
    assert result.ci95 == pytest.approx((1, 1), abs=1e-6)


def test_a_single_pair_has_no_standard_deviation() -> None:
    result = average_similarity(HEAD[:1], TAIL[:1])
    assert np.isnan(result.standard_deviation)
    assert result.mean == result.median


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(InputError, match="at least one prompt in each sample"):
        average_similarity(HEAD[:0], TAIL)


@given(st.floats(-1, 1), st.floats(-1, 0.999))
def test_normalisation_is_linear_with_two_fixed_points(cosine: float, average: float) -> None:
    assert normalized_similarity(1.0, average) == pytest.approx(1)
    assert normalized_similarity(average, average) == 0
    back = normalized_similarity(cosine, average) * (1 - average) + average
    assert back == pytest.approx(cosine, abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=1), st.floats(-1, 0.99))
def test_arrays_are_normalised_value_by_value(cosines: list[float], average: float) -> None:
    array = normalized_similarity(np.array(cosines), average)
    assert array.tolist() == [normalized_similarity(one, average) for one in cosines]


@pytest.mark.parametrize("average", [1.0, 1.5, -1.1, float("nan")])
def test_an_impossible_average_is_refused(average: float) -> None:
    with pytest.raises(InputError, match=r"must be in \[-1, 1\)"):
        normalized_similarity(0.5, average)
