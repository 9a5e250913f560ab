"""Properties of the vector arithmetic, against slow implementations of our own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from safe_embed import vectors
from safe_embed.errors import InputError
from safe_embed.vectors import cosine_rows, nearest_neighbors, normalize_rows


def random_unit(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    return normalize_rows(np.random.default_rng(seed).standard_normal((n, d)))


def slow_neighbors(unit: NDArray[np.float32], k: int) -> list[list[int]]:
    """Python loops and float64, ties to the lower index."""
    exact = unit.astype(np.float64)
    rows = []
    for i in range(len(exact)):
        cosines = [(-float(np.sum(exact[i] * exact[j])), j) for j in range(len(exact)) if j != i]
        rows.append([j for _, j in sorted(cosines)[:k]])
    return rows


class TestNormalizeRows:
    @given(
        hnp.arrays(
            np.float64, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e6, 1e6)
        )
    )
    def test_gives_length_one_or_names_the_row(self, rows: NDArray[np.float64]) -> None:
        if (np.linalg.norm(rows, axis=1) == 0).any():
            with pytest.raises(InputError, match="is zero"):
                normalize_rows(rows)
        else:
            unit = normalize_rows(rows)
            assert unit.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=2e-6)

    def test_keeps_the_bits_of_rows_that_are_unit_already(self) -> None:
        unit = random_unit(50, 384)
        np.testing.assert_array_equal(normalize_rows(unit), unit)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_refuses_values_that_are_no_numbers(self, bad: float) -> None:
        rows = np.ones((3, 2))
        rows[1, 0] = bad
        with pytest.raises(InputError, match="embedding 1 of 3 holds NaN or infinity"):
            normalize_rows(rows)

    def test_refuses_another_rank(self) -> None:
        with pytest.raises(InputError, match=r"shape \(n, d\), got \(4,\)"):
            normalize_rows(np.ones(4))


def test_cosine_rows_broadcasts_and_matches_the_definition() -> None:
    a, b = random_unit(4, 8, 1), random_unit(4, 8, 2)
    expected = [
        sum(float(x) * float(y) for x, y in zip(p, q, strict=True))
        for p, q in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(cosine_rows(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(
        cosine_rows(a[:1], b)[1:], [cosine_rows(a[0], b[i]) for i in (1, 2, 3)]
    )


class TestNearestNeighbors:
    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_agrees_with_a_slow_search(self, data: st.DataObject) -> None:
        n = data.draw(st.integers(2, 40))
        k = data.draw(st.integers(1, n - 1))
        # few values in few dimensions, so that equal rows and equal cosines are common
        small = hnp.arrays(np.int8, (n, 3), elements=st.integers(-1, 1))
        rows = data.draw(small.filter(lambda a: (np.abs(a).sum(axis=1) > 0).all()))
        unit = normalize_rows(rows)
        indices, cosines = nearest_neighbors(unit, k)
        for i, expected in enumerate(slow_neighbors(unit, k)):
            assert i not in indices[i]
            got = [float(np.dot(unit[i].astype(float), unit[j].astype(float))) for j in indices[i]]
            want = [float(np.dot(unit[i].astype(float), unit[j].astype(float))) for j in expected]
            np.testing.assert_allclose(got, want, atol=1e-12)
            np.testing.assert_allclose(cosines[i], want, atol=1e-12)

    def test_same_neighbors_whatever_the_blocks_and_groups(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unit = random_unit(700, 32)
        unit[100:140] = unit[99]  # ties across block borders
        expected = nearest_neighbors(unit, 10)
        assert expected[0].tolist() == slow_neighbors(unit, 10)
        for block, group in ((1, 64), (5000, 1), (70_000, 3), (1 << 30, 64)):
            monkeypatch.setattr(vectors, "_BLOCK_VALUES", block)
            monkeypatch.setattr(vectors, "_GROUP", group)
            np.testing.assert_array_equal(nearest_neighbors(unit, 10)[0], expected[0])

    def test_identical_rows_are_neighbors_but_never_their_own(self) -> None:
        unit = np.repeat(random_unit(1, 4), 5, axis=0)
        indices, cosines = nearest_neighbors(unit, 4)
        assert indices.tolist() == [[j for j in range(5) if j != i] for i in range(5)]
        np.testing.assert_allclose(cosines, 1)

    def test_ties_go_to_the_lower_index(self) -> None:
        unit = normalize_rows([[1, 0], [0, 1], [0, -1], [0, 1], [0, -1]])
        assert nearest_neighbors(unit, 3)[0][0].tolist() == [1, 2, 3]

    def test_too_few_rows(self) -> None:
        with pytest.raises(InputError, match="k = 10 neighbours need at least 11 prompts, got 3"):
            nearest_neighbors(random_unit(3, 4), 10)

    def test_k_below_one(self) -> None:
        with pytest.raises(InputError, match="at least 1, got 0"):
            nearest_neighbors(random_unit(3, 4), 0)
