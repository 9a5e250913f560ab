"""How numbers are spread: a few percentiles and a histogram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

__all__ = ["N_BINS", "Distribution"]

N_BINS = 10


class Distribution(BaseModel):
    """How the values of all edits are spread."""

    model_config = ConfigDict(frozen=True)

    n: int
    mean: float
    minimum: float
    p10: float
    """10th percentile."""
    median: float
    p90: float
    maximum: float
    bin_width: float
    histogram: tuple[int, ...]
    """Counts in 10 bins from 0 upwards; the first also has what is less, the last what is more."""

    @classmethod
    def of(cls, values: Sequence[float], *, bin_width: float) -> Distribution | None:
        """The distribution of some numbers, None where there are none.

        Args:
            values: finite numbers.
            bin_width: width of one bin of the histogram, above 0. A value on the border of two
                counts in the upper one.
        """
        if not len(values):
            return None
        numbers = np.asarray(values, dtype=np.float64)
        # 0.6 / 0.2 is a little less than 3
        places = np.floor(numbers / bin_width + 1e-9).astype(np.int64)
        p10, median, p90 = (float(value) for value in np.percentile(numbers, (10, 50, 90)))
        return cls(
            n=len(numbers),
            mean=float(numbers.mean()),
            minimum=float(numbers.min()),
            p10=p10,
            median=median,
            p90=p90,
            maximum=float(numbers.max()),
            bin_width=bin_width,
            histogram=tuple(
                int(count)
                for count in np.bincount(np.clip(places, 0, N_BINS - 1), minlength=N_BINS)
            ),
        )
