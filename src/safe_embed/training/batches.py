"""Which examples are seen together: each epoch in another order, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safe_embed.training.examples import Examples
from safe_embed.training.recipe import Recipe

__all__ = ["Batch", "epoch_batches", "n_steps"]

_LONG = 400
"""From so many characters on a text is long: long ones share batches, so that few are padded."""
_LONG_PER_BATCH = 16


@dataclass(frozen=True)
class Batch:
    """Rows of one step.

    Args:
        rows: the unsafe sides of p pairs, their safe twins in the same order, then other rows.
        n_pairs: p.
    """

    rows: NDArray[np.int64]
    n_pairs: int


def epoch_batches(examples: Examples, recipe: Recipe, *, seed: int, epoch: int) -> list[Batch]:
    """The batches of one epoch.

    Every pair and every text that is no twin is there once. Singles are spread evenly over the
    batches with pairs; what does not fit under `singles_per_batch` makes batches of its own.

    Args:
        examples: what is trained on.
        recipe: sizes of a batch.
        seed: of the training.
        epoch: counted from 0; a later one has another order.
    """
    random = np.random.default_rng([seed, epoch])
    paired = np.zeros(len(examples), dtype=bool)
    paired[examples.twins.ravel()] = True
    long = np.array([len(text) >= _LONG for text in examples.texts], dtype=bool)
    twins = random.permutation(examples.twins)
    singles = random.permutation(np.flatnonzero(~paired & ~long))
    size = recipe.pairs_per_batch
    parts = [twins[start : start + size] for start in range(0, len(twins), size)]
    share = min(-(-len(singles) // max(1, len(parts))), recipe.singles_per_batch)
    batches = [
        Batch(
            np.concatenate([part[:, 0], part[:, 1], singles[n * share : (n + 1) * share]]),
            len(part),
        )
        for n, part in enumerate(parts)
    ]
    rest = singles[len(parts) * share :]
    long_rows = random.permutation(np.flatnonzero(~paired & long))
    own = size * 2 + recipe.singles_per_batch
    for rows, most in ((rest, own), (long_rows, _LONG_PER_BATCH)):
        batches += [Batch(rows[at : at + most], 0) for at in range(0, len(rows), most)]
    return [batches[number] for number in random.permutation(len(batches))]


def n_steps(examples: Examples, recipe: Recipe) -> int:
    """Steps of the whole training."""
    per_epoch = len(epoch_batches(examples, recipe, seed=0, epoch=0))
    return max(1, round(recipe.epochs * per_epoch))
