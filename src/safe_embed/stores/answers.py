"""What a search gives back, made of the rows that it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from safe_embed.stores.base import Exemplar, Filter, Neighbors
from safe_embed.stores.candidates import Hits

__all__ = ["counts", "matches", "to_neighbors"]


def to_neighbors(
    hits: Sequence[Hits], exemplars: Mapping[int, Exemplar] | Sequence[Exemplar], k: int
) -> Neighbors:
    """Nearest first, equal ones in the order of their ids, and no more than k of each query.

    Args:
        hits: of each query, as `nearest` gives them; `row` tells which of `exemplars`.
        exemplars: those that were found, and maybe others.
        k: width of the answer.
    """
    similarities = np.full((len(hits), k), -np.inf, dtype=np.float32)
    found: list[tuple[Exemplar, ...]] = []
    for query, (row, similarity) in enumerate(hits):
        rows, values = row.tolist(), similarity.tolist()
        if len(set(values)) < len(values):
            tied = zip(values, rows, strict=True)
            rows = [one for *_, one in sorted((-v, exemplars[r].id, r) for v, r in tied)]
        n = min(k, len(rows))
        similarities[query, :n] = similarity[:n]  # ties change places with their like only
        found.append(tuple([exemplars[one] for one in rows[:n]]))
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
