"""Checks of the data itself: near duplicates, small edits, give-aways."""

from safe_embed.curation.edits import word_edit_distance
from safe_embed.curation.give_aways import (
    SHALLOW_FEATURES,
    bag_of_words_rate,
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
    "MIN_COSINE",
    "MIN_SHINGLE_OVERLAP",
    "SHALLOW_FEATURES",
    "NearDuplicate",
    "bag_of_words_rate",
    "near_by_cosine",
    "near_by_text",
    "normalized_words",
    "rank_rate",
    "shallow_rates",
    "shingles",
    "word_edit_distance",
]
