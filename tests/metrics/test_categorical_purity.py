"""Categorical Purity and its chance level."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safe_embed.errors import InputError
from safe_embed.metrics import chance_purity, prompt_purity
from safe_embed.vectors import nearest_neighbors, normalize_rows


def purity_of(unit: np.ndarray, categories: list[str], k: int) -> np.ndarray:
    return prompt_purity(nearest_neighbors(unit, k)[0], categories)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_agrees_with_a_loop_and_order_does_not_matter(data: st.DataObject) -> None:
    n = data.draw(st.integers(3, 40))
    k = data.draw(st.integers(1, n - 1))
    categories = data.draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    seed = data.draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    unit = normalize_rows(rng.standard_normal((n, 6)))  # no ties
    purity = purity_of(unit, categories, k)
    for i in range(n):
        cosines = sorted(
            ((float(np.dot(unit[i].astype(float), unit[j])), j) for j in range(n) if j != i),
            reverse=True,
        )
        same = sum(categories[j] == categories[i] for _, j in cosines[:k])
        assert purity[i] == pytest.approx(same / k)
    order = rng.permutation(n)
    shuffled = purity_of(unit[order], [categories[i] for i in order], k)
    np.testing.assert_allclose(shuffled, purity[order])


@given(st.floats(1e-3, 1e3))
def test_scale_of_vectors_does_not_matter(scale: float) -> None:
    rows = np.random.default_rng(5).standard_normal((30, 6))
    categories = ["a", "b", "c"] * 10
    expected = purity_of(normalize_rows(rows), categories, 5)
    np.testing.assert_array_equal(purity_of(normalize_rows(rows * scale), categories, 5), expected)


def test_is_one_for_separated_clusters() -> None:
    rng = np.random.default_rng(0)
    centers = np.eye(4)[np.repeat(np.arange(4), 11)]
    unit = normalize_rows(centers + 0.01 * rng.standard_normal(centers.shape))
    categories = [f"c{row}" for row in np.repeat(np.arange(4), 11)]
    assert (purity_of(unit, categories, 10) == 1).all()


def test_is_near_chance_for_random_vectors() -> None:
    rng = np.random.default_rng(0)
    categories = ["a"] * 300 + ["b"] * 700
    purity = purity_of(normalize_rows(rng.standard_normal((1000, 64))), categories, 10)
    assert purity[:300].mean() == pytest.approx(chance_purity(300, 1000), abs=0.03)
    assert purity[300:].mean() == pytest.approx(chance_purity(700, 1000), abs=0.03)


def test_a_duplicate_of_another_category_counts_against_itself() -> None:
    unit = normalize_rows([[1, 0], [1, 0], [0, 1], [0, 1]])
    assert purity_of(unit, ["a", "b", "c", "c"], 1).tolist() == [0, 0, 1, 1]


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=50))
def test_chance_is_the_mean_purity_over_all_rankings(categories: list[str]) -> None:
    n = len(categories)
    for category, count in Counter(categories).items():
        own = categories.index(category)
        others = [other for i, other in enumerate(categories) if i != own]
        assert chance_purity(count, n) == pytest.approx(others.count(category) / (n - 1))


def test_impossible_counts_are_refused() -> None:
    for n_category, n in ((0, 5), (6, 5), (1, 1)):
        with pytest.raises(InputError, match="no chance level"):
            chance_purity(n_category, n)
    with pytest.raises(InputError, match="2 prompts but 1 categories"):
        prompt_purity(np.zeros((2, 1), dtype=np.int64), ["a"])
