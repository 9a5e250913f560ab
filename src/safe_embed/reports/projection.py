"""The taxonomy's prompts in two dimensions (t-SNE, van der Maaten and Hinton 2008)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from safe_embed.benchmark import Evaluation
from safe_embed.errors import InputError, MissingExtraError
from safe_embed.reports.figures import MapPoint

__all__ = ["map_points", "mapped_texts", "project"]

_NEIGHBORS_SHOWN = 3
_PERPLEXITY = 30.0


def mapped_texts(evaluation: Evaluation) -> list[str]:
    """The prompts of Safety-Taxonomy in the order in which `map_points` wants their embeddings."""
    return [item.text for item in evaluation.items if item.task == "safety_taxonomy"]


def map_points(
    evaluation: Evaluation, embeddings: NDArray[np.float32], *, seed: int = 0
) -> list[MapPoint]:
    """Lays the prompts of Safety-Taxonomy out so that near ones lie near each other.

    Args:
        evaluation: a run with this task.
        embeddings: of `mapped_texts`, shape (n, d), rows of length 1.
        seed: the same seed and embeddings give the same map.

    Raises:
        InputError: the run has not this task, or the shapes do not fit.
        MissingExtraError: scikit-learn is not installed.
    """
    items = [item for item in evaluation.items if item.task == "safety_taxonomy"]
    if not items or len(items) != len(embeddings):
        raise InputError(
            f"the map needs one embedding for each prompt of Safety-Taxonomy, {len(items)}, got "
            f"{len(embeddings)}"
        )
    text_of = {item.id: item.text for item in items}
    return [
        MapPoint(
            x=float(x),
            y=float(y),
            item=item,
            neighbor_texts=tuple(text_of[one] for one in item.neighbors[:_NEIGHBORS_SHOWN]),
        )
        for item, (x, y) in zip(items, project(embeddings, seed=seed), strict=True)
    ]


def project(embeddings: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float64]:
    """Coordinates of shape (n, 2), each column between -1 and 1."""
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise MissingExtraError("report", needed_for="the map") from None
    n = len(embeddings)
    if n < 3:
        return np.array([[-1.0, 0.0], [1.0, 0.0]])[:n]
    # Of rows of length 1 the squared Euclidean distance is 2 - 2 cos: the cosine's order.
    tsne = TSNE(
        perplexity=min(_PERPLEXITY, (n - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=seed,
    )
    with threadpool_limits(1):  # ten times as fast for a thousand points as threads that wait
        layout = np.asarray(tsne.fit_transform(embeddings), dtype=np.float64)
    layout -= (layout.max(axis=0) + layout.min(axis=0)) / 2
    return layout / max(float(np.abs(layout).max()), 1e-12)
