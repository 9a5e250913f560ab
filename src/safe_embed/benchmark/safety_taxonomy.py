"""Safety-Taxonomy: do prompts of one harm lie together?

Categorical Purity of a prompt (paper, section 3.4): the share of its k nearest other prompts that
have its own category. Score: the mean by category, and the unweighted mean of the categories.
Higher is better.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safe_embed.benchmark.groups import rows_by_group
from safe_embed.benchmark.results import CategoryPurity, Item, SafetyTaxonomy
from safe_embed.encoders.embedded import EmbeddedTexts
from safe_embed.errors import InputError
from safe_embed.metrics import (
    chance_purity,
    mean_interval,
    mean_of_means_interval,
    prompt_purity,
)
from safe_embed.records import Prompt
from safe_embed.taxonomy import HARM_CATEGORIES
from safe_embed.vectors import nearest_neighbors

__all__ = ["require_taxonomy", "safety_taxonomy"]


def safety_taxonomy(
    prompts: Sequence[Prompt],
    embedded: EmbeddedTexts,
    *,
    k: int,
    seed: int,
    n_resamples: int,
) -> tuple[SafetyTaxonomy, list[Item]]:
    """Measures Categorical Purity.

    Args:
        prompts: more than k prompts, each with a category, no category with a single prompt.
        embedded: holds each prompt's text.
        k: number of nearest other prompts, 10 in the paper.
        seed: of the bootstrap, which resamples prompts in their category and keeps each one's
            neighbours.
        n_resamples: of the bootstrap.

    Raises:
        InputError: a prompt has no category, a category has one prompt, or there are too few.
    """
    categories = require_taxonomy(prompts, k)
    rows_of = rows_by_group(categories, HARM_CATEGORIES)
    neighbors, cosines = nearest_neighbors(embedded.of([prompt.text for prompt in prompts]), k)
    purity = prompt_purity(neighbors, categories)

    def summary(rows: NDArray[np.int64]) -> CategoryPurity:
        return CategoryPurity(
            n=len(rows),
            categorical_purity=float(purity[rows].mean()),
            chance=chance_purity(len(rows), len(prompts)),
            ci95=mean_interval(purity[rows], seed=seed, n_resamples=n_resamples),
        )

    by_category = {name: summary(rows) for name, rows in rows_of.items()}
    result = SafetyTaxonomy(
        n=len(prompts),
        k=k,
        categorical_purity=float(np.mean([one.categorical_purity for one in by_category.values()])),
        over_prompts=float(purity.mean()),
        chance=float(np.mean([one.chance for one in by_category.values()])),
        ci95=mean_of_means_interval(
            [purity[rows] for rows in rows_of.values()], seed=seed, n_resamples=n_resamples
        ),
        by_category=by_category,
    )
    items = [
        Item(
            task="safety_taxonomy",
            id=prompt.id,
            group=categories[row],
            text=prompt.text,
            others=[],
            neighbors=[prompts[neighbor].id for neighbor in neighbors[row]],
            cosines=cosines[row].tolist(),
            score=float(purity[row]),
        )
        for row, prompt in enumerate(prompts)
    ]
    return result, items


def require_taxonomy(prompts: Sequence[Prompt], k: int) -> list[str]:
    """The category of each prompt, if Categorical Purity can be measured on them.

    Raises:
        InputError: a prompt has no category, a category has one prompt, or there are too few.
    """
    if len(prompts) < k + 1:
        raise InputError(
            f"Safety-Taxonomy with k = {k} neighbours needs at least {k + 1} prompts, got "
            f"{len(prompts)}; add prompts or choose a smaller k"
        )
    for prompt in prompts:
        if prompt.category is None:
            raise InputError(
                f"Safety-Taxonomy needs a category for each prompt; prompt {prompt.id!r} has none"
            )
    categories = [str(prompt.category) for prompt in prompts]
    single = [name for name, count in Counter(categories).items() if count == 1]
    if single:
        raise InputError(
            f"Safety-Taxonomy needs at least 2 prompts in each category; {single[0]!r} has 1 "
            f"({len(single)} such): add prompts to it or remove it"
        )
    return categories
