"""Paired comparison, against enumerations and known cases."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safe_embed.errors import InputError
from safe_embed.metrics import holm, paired_difference

VALUES = st.lists(st.floats(-1, 1), min_size=1, max_size=7)


@settings(deadline=None, max_examples=30)
@given(VALUES)
def test_p_value_is_that_of_all_sign_flips(values: list[float]):
    differences = np.array(values)
    found = paired_difference(np.zeros(len(values)), differences, n_permutations=4000)
    flips = np.array(list(itertools.product([-1, 1], repeat=len(values))))
    sums = np.abs(flips @ differences)
    exact = (sums >= abs(differences.sum()) - 1e-12 * np.abs(differences).sum() - 1e-300).mean()
    assert found.p_value == pytest.approx(exact, abs=0.05)
    assert found.difference == pytest.approx(differences.mean(), abs=1e-12)


def test_groups_weigh_alike():
    first = np.zeros(5)
    second = np.array([1.0, 1, 1, 1, -1])
    found = paired_difference(first, second, ["a", "a", "a", "a", "b"])
    assert found.difference == pytest.approx(0)
    assert paired_difference(first, second).difference == pytest.approx(0.6)


def test_an_evident_difference_and_none():
    rng = np.random.default_rng(0)
    first = rng.normal(size=300)
    better = paired_difference(first, first - 0.2 + 0.1 * rng.normal(size=300))
    assert better.ci95[0] < better.difference < better.ci95[1] < 0
    assert better.p_value == pytest.approx(1 / 10_001)
    same = paired_difference(first, first)
    assert (same.difference, same.ci95, same.p_value) == (0, (0, 0), 1)
    assert same == paired_difference(first, first)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm(p_values: list[float]):
    corrected = holm(p_values)
    assert all(low <= high <= 1 for low, high in zip(p_values, corrected, strict=True))
    for level in (0.01, 0.05, 0.5):
        rejected = set()
        for step, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[index] * (len(p_values) - step) > level:
                break
            rejected.add(index)
        assert {index for index, p in enumerate(corrected) if p <= level} == rejected


def test_bad_input():
    with pytest.raises(InputError, match="the same items of both"):
        paired_difference(np.zeros(2), np.zeros(3))
    with pytest.raises(InputError, match="at least one"):
        paired_difference(np.zeros(0), np.zeros(0))
    with pytest.raises(InputError, match="as many groups"):
        paired_difference(np.zeros(2), np.ones(2), ["a"])
