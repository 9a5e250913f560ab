"""What a search gives back, made of the pairs that it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

from safe_embed.stores.base import Exemplar, Filter, Neighbors
from safe_embed.stores.candidates import Pairs

__all__ = ["counts", "matches", "to_neighbors"]


def to_neighbors(pairs: Pairs, exemplars: Mapping[int, Exemplar], n: int, k: int) -> Neighbors:
    """Nearest first, equal ones in the order of their ids, and no more than k of each query.

    Args:
        pairs: as `nearest_pairs` gives them; `row` is a key of `exemplars`.
        exemplars: those that were found.
        n: number of queries.
        k: width of the answer.
    """
    similarities = np.full((n, k), -np.inf, dtype=np.float32)
    found: list[tuple[Exemplar, ...]] = []
    bounds = np.searchsorted(pairs.query, np.arange(n + 1))
    rows, values = pairs.row.tolist(), pairs.similarity.tolist()
    for query in range(n):
        part = range(bounds[query], bounds[query + 1])
        ranked = sorted((-values[i], exemplars[rows[i]].id, rows[i]) for i in part)[:k]
        similarities[query, : len(ranked)] = [-value for value, _, _ in ranked]
        found.append(tuple(exemplars[row] for _, _, row in ranked))
    return Neighbors(tuple(found), similarities)


def matches(only: Filter, exemplar: Exemplar) -> bool:
    """Whether a filter lets an exemplar through."""
    return (
        (only.categories is None or exemplar.category in only.categories)
        and (only.sources is None or exemplar.source in only.sources)
        and (only.tenants is None or exemplar.tenant in only.tenants)
    )


def counts(names: Iterable[str | None]) -> dict[str, int]:
    """How often each name is there, in the order of the names; what has none is not counted."""
    counted = Counter(name for name in names if name)
    return {name: counted[name] for name in sorted(counted)}
