"""How small the edits of a contrast set, or the differences of a pair, are."""

from __future__ import annotations

from safe_embed.curation.near_duplicates import normalized_words

__all__ = ["word_edit_distance"]


def word_edit_distance(left: str, right: str) -> int:
    """Fewest words to insert, delete or replace (Levenshtein); case and punctuation do not count.

    Example:
        >>> word_edit_distance("How do I kill a person?", "how do I kill a Python process")
        2
    """
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(normalized_words(left).split(), normalized_words(right).split())
