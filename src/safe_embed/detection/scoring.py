"""From embeddings to evidence, to raw scores, and to what explains them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safe_embed.detection.evidence import Evidence
from safe_embed.detection.scorers import Scorer
from safe_embed.errors import InputError
from safe_embed.metrics import normalized_similarity
from safe_embed.records import Label
from safe_embed.stores.base import Exemplar, ExemplarStore

__all__ = ["SLACK", "Found", "category_weights", "flip_similarity", "gather"]

Numbers = NDArray[np.float64]
Exemplars = tuple[Exemplar, ...]

SLACK = 1e-6
"""A raw score counts as above a threshold when it is so by more than this.

Scores of a single and of a batched product differ by some 1e-7, and a threshold is itself the
score of a prompt; it makes a threshold larger, so it keeps the promised rate.
"""

_CATEGORY_NEIGHBORS = 20
_CATEGORY_TEMPERATURE = 0.1
_LEFT_OUT = 2  # a text can be there under two ids or more; those beyond are rare
_STEP = 2.0**-11  # of a similarity that is told, 0.0005


@dataclass(frozen=True)
class Found:
    """The neighbours of n texts and the evidence made of them."""

    evidence: Evidence
    unsafe: tuple[Exemplars, ...]
    safe: tuple[Exemplars, ...]


def gather(
    store: ExemplarStore,
    embeddings: NDArray[np.float32],
    scorer: Scorer,
    *,
    average: float,
    head: Numbers,
    leave_out: Sequence[str | None] | None = None,
) -> Found:
    """Searches both labels.

    Args:
        store: the exemplars.
        embeddings: shape (n, d), rows of length 1.
        scorer: says how many neighbours, and which labels must be there.
        average: average similarity of the encoder.
        head: log-odds of the head, shape (n,), or NaN.
        leave_out: for each row a text whose exemplars do not count; None for none.

    Raises:
        InputError: no exemplar of a label that the scorer needs.
    """
    found: dict[Label, tuple[tuple[Exemplars, ...], Numbers]] = {}
    labels: tuple[Label, ...] = ("unsafe", "safe")
    for label in labels:
        k = max(scorer.k, _CATEGORY_NEIGHBORS) + (_LEFT_OUT if leave_out else 0)
        near = store.search(embeddings, k, label=label)
        exemplars, cosines = near.exemplars, near.similarities.astype(np.float64)
        if leave_out:
            exemplars, cosines = _without(exemplars, cosines, leave_out)
        if label in scorer.labels and not all(exemplars):
            raise InputError(
                f"the index has no {label} exemplar that is not muted, so nothing can be judged; "
                "add some, or choose a scorer that does not need them"
            )
        found[label] = exemplars, normalized_similarity(cosines, average)
    evidence = Evidence(unsafe=found["unsafe"][1], safe=found["safe"][1], head=head)
    return Found(evidence, found["unsafe"][0], found["safe"][0])


def category_weights(exemplars: Exemplars, similarities: Numbers) -> dict[str, float]:
    """Share of each category of harm among the nearest unsafe exemplars, the nearer the heavier.

    Args:
        exemplars: nearest first; those without a category do not count, and 20 do at most.
        similarities: normalised, of these exemplars.

    Returns:
        Shares that sum to 1, largest first; none where no category is known.
    """
    known = [
        (one.category, similarity)
        for one, similarity in zip(exemplars, similarities.tolist(), strict=False)
        if one.category is not None
    ][:_CATEGORY_NEIGHBORS]
    weights: dict[str, float] = {}
    for category, similarity in known:
        weight = math.exp((similarity - known[0][1]) / _CATEGORY_TEMPERATURE)
        weights[category] = weights.get(category, 0.0) + weight
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return {category: weight / total for category, weight in ordered}


def flip_similarity(
    scorer: Scorer, evidence: Evidence, label: Label, threshold: Numbers
) -> Numbers:
    """How similar one more exemplar would have to be to carry the score over a threshold.

    Args:
        scorer: the scorer.
        evidence: of n texts.
        label: of the exemplar; a safe one carries the score down to the threshold, an unsafe one
            above it.
        threshold: raw scores, shape (n,).

    Returns:
        Normalised similarities, shape (n,); NaN where even the same text would not do.
    """
    needed = scorer.needed(evidence, label, threshold + SLACK)
    # Rounded up, so that an exemplar of just that similarity does it.
    steps = np.maximum(np.ceil((needed + 1) / _STEP), 1)
    rounded = steps * _STEP - 1
    return np.asarray(np.where(rounded <= 1, rounded, np.nan))


def _without(
    exemplars: tuple[Exemplars, ...], similarities: Numbers, texts: Sequence[str | None]
) -> tuple[tuple[Exemplars, ...], Numbers]:
    kept_exemplars = []
    kept = np.full_like(similarities, -np.inf)
    for row, (found, text) in enumerate(zip(exemplars, texts, strict=True)):
        columns = [column for column, one in enumerate(found) if one.text != text]
        kept_exemplars.append(tuple(found[column] for column in columns))
        kept[row, : len(columns)] = similarities[row, columns]
    return tuple(kept_exemplars), kept
