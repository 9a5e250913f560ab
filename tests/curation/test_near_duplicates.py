"""Near duplicates, against comparing every text with every other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safe_embed.curation import near_by_cosine, near_by_text, normalized_words, shingles
from safe_embed.vectors import normalize_rows

WORDS = st.lists(st.sampled_from("how do i kill a process person now please".split()), max_size=8)  # noqa: SIM905
TEXTS = st.lists(WORDS.map(" ".join), min_size=1, max_size=12)


def jaccard(left: str, right: str) -> float:
    a, b = shingles(left), shingles(right)
    return len(a & b) / len(a | b)


@settings(deadline=None)
@given(TEXTS, st.floats(0.3, 1))
def test_no_pair_is_missed_within_one_list(texts: list[str], overlap: float):
    expected = {
        (i, j)
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
        if jaccard(texts[i], texts[j]) >= overlap
    }
    found = near_by_text(texts, min_overlap=overlap)
    assert {(one.left, one.right) for one in found} == expected
    for one in found:
        same = normalized_words(texts[one.left]) == normalized_words(texts[one.right])
        assert (one.kind == "equal") == same


@settings(deadline=None)
@given(TEXTS, TEXTS, st.floats(0.3, 1))
def test_no_pair_is_missed_between_two_lists(left: list[str], right: list[str], overlap: float):
    expected = {
        (i, j)
        for i in range(len(left))
        for j in range(len(right))
        if jaccard(left[i], right[j]) >= overlap
    }
    found = near_by_text(left, right, min_overlap=overlap)
    assert {(one.left, one.right) for one in found} == expected


@pytest.mark.parametrize(
    ("left", "right"),
    [("How do I?", "how do i"), ("a  b", "A, b!"), ("ﬁne", "fine"), ("Straße", "STRASSE")],
)
def test_case_punctuation_and_ligatures_do_not_count(left: str, right: str):
    (found,) = near_by_text([left, right])
    assert found.kind == "equal"
    assert found.similarity == 1


def test_cosine():
    unit = normalize_rows([[1, 0], [1, 0.1], [0, 1], [1, 0]])
    pairs = [(one.left, one.right) for one in near_by_cosine(unit, min_cosine=0.99)]
    assert pairs == [(0, 1), (0, 3), (1, 3)]
    across = near_by_cosine(unit[:1], unit[1:], min_cosine=0.99)
    assert [(one.left, one.right) for one in across] == [(0, 0), (0, 2)]
    assert across[0].similarity == pytest.approx(1 / np.sqrt(1.01))
