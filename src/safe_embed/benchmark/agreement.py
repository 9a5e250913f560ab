"""Does one encoder give what another gives? Cosines of the same texts, and changes in scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safe_embed.benchmark.evaluation import evaluate
from safe_embed.benchmark.results import TaskResults
from safe_embed.benchmark.suite import Suite
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import EmbeddedTexts, Progress
from safe_embed.vectors import cosine_rows

__all__ = ["Agreement", "measure_agreement"]

_PAIRS = 20_000
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How near the vectors of two encoders are on the texts of a suite."""

    n: int
    """Number of distinct texts."""
    mean_cosine: float
    min_cosine: float
    pair_correlation: float
    """Correlation (Pearson) of the cosines of 20,000 random pairs of texts in one and the other."""
    score_changes: dict[str, float]
    """Score of the second encoder less that of the first, by task."""


def measure_agreement(
    first: Encoder, second: Encoder, suite: Suite, *, progress: Progress | None = None
) -> Agreement:
    """Embeds the texts of a suite with both encoders and compares.

    Args:
        first: the original.
        second: what should give the same.
        suite: its texts are compared, and its three tasks scored.
        progress: called while texts are embedded.
    """
    texts = sorted(set(suite.texts(suite.tasks_or_all(None))))
    vectors = [
        EmbeddedTexts.embed(one, texts, progress=progress).of(texts) for one in (first, second)
    ]
    cosines = cosine_rows(*vectors)
    scores = [
        _scores(evaluate(one, suite, average_similarity=0.0, n_resamples=1).run.tasks)
        for one in (first, second)
    ]
    return Agreement(
        n=len(texts),
        mean_cosine=float(cosines.mean()),
        min_cosine=float(cosines.min()),
        pair_correlation=_pair_correlation(*vectors),
        score_changes={task: scores[1][task] - scores[0][task] for task in scores[0]},
    )


def _pair_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Of pairs of different rows; both arrays have shape (n, d), with rows of length 1."""
    rng = np.random.default_rng(_SEED)
    left = rng.integers(len(first), size=_PAIRS)
    right = (left + rng.integers(1, len(first), size=_PAIRS)) % len(first)
    cosines = np.array([cosine_rows(one[left], one[right]) for one in (first, second)])
    return float(np.corrcoef(cosines)[0, 1])


def _scores(tasks: TaskResults) -> dict[str, float]:
    scores: dict[str, float] = {}
    if tasks.safety_challenging is not None:
        scores["safety_challenging"] = tasks.safety_challenging.normalized_similarity
    if tasks.safety_contrast is not None:
        scores["safety_contrast"] = tasks.safety_contrast.boundary_similarity
    if tasks.safety_taxonomy is not None:
        scores["safety_taxonomy"] = tasks.safety_taxonomy.categorical_purity
    return scores
