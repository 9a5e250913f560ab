"""Categorical Purity (paper, section 3.4): do the nearest neighbours share the category?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import InputError

__all__ = ["chance_purity", "prompt_purity"]


def prompt_purity(neighbors: NDArray[np.int64], categories: Sequence[str]) -> NDArray[np.float64]:
    """Share of each prompt's nearest neighbours that have its own category.

    purity(i) = |{j in N_k(i) : category(j) = category(i)}| / k

    Args:
        neighbors: indices of the k nearest other prompts, shape (n, k), as
            `safe_embed.vectors.nearest_neighbors` finds them.
        categories: the category of each of the n prompts.

    Returns:
        float64 of shape (n,), in [0, 1].

    Raises:
        InputError: the lengths differ.
    """
    if len(neighbors) != len(categories):
        raise InputError(f"{len(neighbors)} prompts but {len(categories)} categories")
    code = np.unique(np.asarray(categories, dtype=object), return_inverse=True)[1]
    return np.asarray((code[neighbors] == code[:, None]).mean(axis=1), dtype=np.float64)


def chance_purity(n_category: int, n: int) -> float:
    """Purity that a random ranking has: (n_c - 1) / (n - 1).

    Args:
        n_category: number of prompts of the category, at least 1.
        n: number of prompts in all, at least 2.
    """
    if not 1 <= n_category <= n or n < 2:
        raise InputError(f"a category of {n_category} among {n} prompts has no chance level")
    return (n_category - 1) / (n - 1)
