"""Texts that say the same: equal after normalisation, or alike in their character shingles.

Cosines of an encoder find a third kind, `near_by_cosine`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MIN_COSINE",
    "MIN_SHINGLE_OVERLAP",
    "NearDuplicate",
    "near_by_cosine",
    "near_by_text",
    "normalized_words",
    "shingles",
]

MIN_SHINGLE_OVERLAP = 0.7
"""Jaccard index of two texts' shingles from which on they count as near duplicates."""
MIN_COSINE = 0.95
"""Cosine from which on two texts count as near duplicates."""

_SHINGLE = 5
_ROWS_AT_ONCE = 512
_NOT_A_WORD = re.compile(r"[^\w]+")


@dataclass(frozen=True, order=True)
class NearDuplicate:
    """Two texts that say the same."""

    left: int
    """Row of the first text."""
    right: int
    """Row of the second text, in the other list where two were compared."""
    kind: Literal["equal", "shingles", "cosine"]
    similarity: float
    """Jaccard index of the shingles, or cosine; 1 for equal texts."""


def normalized_words(text: str) -> str:
    """The words of a text in lower case, without punctuation: what makes two texts equal."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_NOT_A_WORD.sub(" ", folded).split())


def shingles(text: str) -> frozenset[str]:
    """The sets of 5 following characters of the normalised text; the text itself if shorter."""
    normal = f" {normalized_words(text)} "
    return frozenset(normal[i : i + _SHINGLE] for i in range(max(1, len(normal) - _SHINGLE + 1)))


def near_by_text(
    left: Sequence[str],
    right: Sequence[str] | None = None,
    *,
    min_overlap: float = MIN_SHINGLE_OVERLAP,
) -> list[NearDuplicate]:
    """Pairs of texts that are equal or whose shingles overlap.

    Only texts that share a rare shingle are compared: of two texts with a Jaccard index of at
    least `min_overlap`, at least one of the rarest shingles of one is in the other (prefix
    filter), so none is missed.

    Args:
        left: texts.
        right: texts to compare with those; each pair of `left` once where None.
        min_overlap: Jaccard index in (0, 1] that counts.

    Returns:
        In the order of rows.
    """
    other = left if right is None else right
    left_sets = [shingles(text) for text in left]
    right_sets = left_sets if right is None else [shingles(text) for text in other]
    frequency: dict[str, int] = defaultdict(int)
    for one in [*left_sets, *(right_sets if right is not None else [])]:
        for shingle in one:
            frequency[shingle] += 1

    def prefix(one: frozenset[str]) -> list[str]:
        ordered = sorted(one, key=lambda shingle: (frequency[shingle], shingle))
        return ordered[: len(one) - int(np.ceil(min_overlap * len(one))) + 1]

    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, one in enumerate(right_sets):
        for shingle in prefix(one):
            rows_of[shingle].append(row)
    found = []
    for i, one in enumerate(left_sets):
        candidates = {row for shingle in prefix(one) for row in rows_of[shingle]}
        for j in sorted(candidates):
            if right is None and j <= i:
                continue
            overlap = len(one & right_sets[j]) / len(one | right_sets[j])
            if overlap >= min_overlap:
                equal = normalized_words(left[i]) == normalized_words(other[j])
                found.append(NearDuplicate(i, j, "equal" if equal else "shingles", overlap))
    return found


def near_by_cosine(
    left: NDArray[np.float32],
    right: NDArray[np.float32] | None = None,
    *,
    min_cosine: float = MIN_COSINE,
) -> list[NearDuplicate]:
    """Pairs of rows whose cosine is at least `min_cosine`.

    Args:
        left: unit vectors of shape (n, d).
        right: unit vectors of shape (m, d) to compare with; each pair of `left` once where None.
        min_cosine: cosine that counts.
    """
    return list(_cosine_pairs(left, right, min_cosine))


def _cosine_pairs(
    left: NDArray[np.float32], right: NDArray[np.float32] | None, min_cosine: float
) -> Iterator[NearDuplicate]:
    other = left if right is None else right
    for start in range(0, len(left), _ROWS_AT_ONCE):
        cosines = left[start : start + _ROWS_AT_ONCE] @ other.T
        for row, column in zip(*np.nonzero(cosines >= min_cosine), strict=True):
            i, j = start + int(row), int(column)
            if right is not None or j > i:
                yield NearDuplicate(i, j, "cosine", float(cosines[row, column]))
