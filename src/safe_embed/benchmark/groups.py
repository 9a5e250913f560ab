"""Groups items by type or category, in an order that does not depend on the data's order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["rows_by_group"]


def rows_by_group(groups: Sequence[str], order: Iterable[str]) -> dict[str, NDArray[np.int64]]:
    """Row numbers of each group.

    Args:
        groups: the group of each row.
        order: groups to name first, in this order; others follow by name.
    """
    known = list(order)
    present = set(groups)
    names = [name for name in known if name in present] + sorted(present - set(known))
    array = np.asarray(groups, dtype=object)
    return {name: np.flatnonzero(array == name) for name in names}
