"""Pure functions from arrays to numbers: no files, no models, no printing."""

from safe_embed.metrics.average_similarity import (
    AverageSimilarity,
    average_similarity,
    normalized_similarity,
)
from safe_embed.metrics.bootstrap import (
    Interval,
    mean_interval,
    mean_of_means_interval,
    percentile_interval,
)
from safe_embed.metrics.boundary_similarity import edit_cosines, max_cosines
from safe_embed.metrics.categorical_purity import chance_purity, prompt_purity
from safe_embed.metrics.paired import PairedDifference, holm, paired_difference

__all__ = [
    "AverageSimilarity",
    "Interval",
    "PairedDifference",
    "average_similarity",
    "chance_purity",
    "edit_cosines",
    "holm",
    "max_cosines",
    "mean_interval",
    "mean_of_means_interval",
    "normalized_similarity",
    "paired_difference",
    "percentile_interval",
    "prompt_purity",
]
