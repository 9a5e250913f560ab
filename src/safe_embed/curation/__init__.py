"""Checks of the data itself: near duplicates, small edits, give-aways."""

from safe_embed.curation.core_report import (
    MAX_BAG_OF_WORDS_RATE,
    CoreReport,
    PartStatistics,
    owners,
    report_core,
)
from safe_embed.curation.edits import word_edit_distance
from safe_embed.curation.give_aways import (
    SHALLOW_FEATURES,
    bag_of_words_rate,
    first_word_rate,
    rank_rate,
    shallow_rates,
)
from safe_embed.curation.near_duplicates import (
    MIN_COSINE,
    MIN_SHINGLE_OVERLAP,
    NearDuplicate,
    near_by_cosine,
    near_by_text,
    normalized_words,
    shingles,
)

__all__ = [
    "MAX_BAG_OF_WORDS_RATE",
    "MIN_COSINE",
    "MIN_SHINGLE_OVERLAP",
    "SHALLOW_FEATURES",
    "CoreReport",
    "NearDuplicate",
    "PartStatistics",
    "bag_of_words_rate",
    "first_word_rate",
    "near_by_cosine",
    "near_by_text",
    "normalized_words",
    "owners",
    "rank_rate",
    "report_core",
    "shallow_rates",
    "shingles",
    "word_edit_distance",
]
