"""Cosines with safe edits, and the largest of each prompt."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safe_embed.errors import InputError
from safe_embed.metrics import edit_cosines, max_cosines
from safe_embed.vectors import normalize_rows


@settings(deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(0, 99))
def test_agrees_with_a_loop(counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    originals = normalize_rows(rng.standard_normal((len(counts), 5)))
    edits = normalize_rows(rng.standard_normal((sum(counts), 5)))
    cosines = edit_cosines(originals, edits, counts)
    largest = max_cosines(cosines, counts)
    start = 0
    for row, count in enumerate(counts):
        own = [float(np.sum(originals[row].astype(float) * edits[start + i])) for i in range(count)]
        np.testing.assert_allclose(cosines[start : start + count], own, atol=1e-12)
        assert largest[row] == pytest.approx(max(own), abs=1e-12)
        start += count


def test_order_of_edits_does_not_matter_and_scale_neither() -> None:
    rng = np.random.default_rng(0)
    originals, edits = rng.standard_normal((1, 8)), rng.standard_normal((5, 8))
    first = max_cosines(edit_cosines(normalize_rows(originals), normalize_rows(edits), [5]), [5])
    other = max_cosines(
        edit_cosines(normalize_rows(originals * 9), normalize_rows(edits[::-1] * 0.1), [5]), [5]
    )
    assert other == pytest.approx(first, abs=1e-6)


@pytest.mark.parametrize("counts", [[2, 2], [3, 0], [1], [1, 1, 1]])
def test_counts_that_do_not_fit_are_refused(counts: list[int]) -> None:
    rows = normalize_rows(np.ones((3, 2)))
    with pytest.raises(InputError, match="do not fit the counts"):
        edit_cosines(rows[:2], rows, counts)
