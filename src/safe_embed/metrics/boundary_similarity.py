"""Similarity of an unsafe prompt to its safe edits (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import InputError
from safe_embed.vectors import cosine_rows

__all__ = ["edit_cosines", "max_cosines"]


def edit_cosines(
    originals: NDArray[np.float32], edits: NDArray[np.float32], n_edits: Sequence[int]
) -> NDArray[np.float64]:
    """Cosine of each edit with its own original.

    Args:
        originals: unit vectors of shape (n, d).
        edits: unit vectors of shape (sum of n_edits, d), the edits of the first original first.
        n_edits: how many edits each original has, all at least 1.

    Returns:
        float64 of shape (sum of n_edits,).

    Raises:
        InputError: the counts do not fit the arrays, or a prompt has no edit.
    """
    counts = np.asarray(n_edits, dtype=np.int64)
    if len(counts) != len(originals) or counts.sum() != len(edits) or (counts < 1).any():
        raise InputError(
            f"{len(originals)} prompts and {len(edits)} edits do not fit the counts of edits, "
            "which must be at least 1 for each prompt"
        )
    return cosine_rows(np.repeat(originals, counts, axis=0), edits)


def max_cosines(cosines: NDArray[np.float64], n_edits: Sequence[int]) -> NDArray[np.float64]:
    """The largest cosine among each prompt's edits; normalised, it is the boundary similarity.

    Args:
        cosines: as `edit_cosines` returns them.
        n_edits: the same counts.

    Returns:
        float64 of shape (number of prompts,).
    """
    starts = np.concatenate([[0], np.cumsum(n_edits)[:-1]]).astype(np.int64)
    return np.asarray(np.maximum.reduceat(cosines, starts), dtype=np.float64)
