"""What tells the unsafe side of a pair apart without understanding it.

If counting words, or the length alone, ranks the unsafe twin above the safe one, then a score on
the pairs measures that and not the encoder.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from safe_embed.curation.near_duplicates import normalized_words
from safe_embed.errors import InputError, MissingExtraError
from safe_embed.records import PromptPair

__all__ = [
    "SHALLOW_FEATURES",
    "bag_of_words_rate",
    "first_word_rate",
    "rank_rate",
    "shallow_rates",
]

SHALLOW_FEATURES: dict[str, Callable[[str], float]] = {
    "characters": len,
    "words": lambda text: len(text.split()),
    "punctuation": lambda text: len(re.findall(r"[.,!?;:]", text)),
    "question mark": lambda text: text.rstrip().endswith("?"),
    "first letter is a capital": lambda text: text[:1].isupper(),
}
"""Numbers that hold no meaning; each should rank the unsafe side first in half of the pairs."""


def rank_rate(unsafe: Sequence[float], safe: Sequence[float]) -> float:
    """Share of pairs in which the unsafe side has the larger number; ties count half.

    Raises:
        InputError: there is no pair, or the lengths differ.
    """
    if len(unsafe) != len(safe) or not len(unsafe):
        raise InputError("a rate needs the same number of unsafe and safe sides, at least one")
    left, right = np.asarray(unsafe, dtype=float), np.asarray(safe, dtype=float)
    return float(np.mean((left > right) + 0.5 * (left == right)))


def shallow_rates(pairs: Sequence[PromptPair]) -> dict[str, float]:
    """For each of `SHALLOW_FEATURES` the share of pairs in which the unsafe side has more."""
    return {
        name: rank_rate(
            [feature(pair.unsafe) for pair in pairs], [feature(pair.safe) for pair in pairs]
        )
        for name, feature in SHALLOW_FEATURES.items()
    }


def first_word_rate(
    train_unsafe: Sequence[str], train_safe: Sequence[str], test: Sequence[PromptPair]
) -> float:
    """Share of test pairs that the first word alone ranks right.

    A first word's number is the logarithm of its share among the unsafe texts over that among the
    safe ones, each counted once more than it is there.

    Args:
        train_unsafe: unsafe texts to learn from.
        train_safe: safe texts to learn from.
        test: pairs to rank; sides that begin with one word count half.
    """
    unsafe, safe = (Counter(map(_first_word, texts)) for texts in (train_unsafe, train_safe))

    def score(text: str) -> float:
        word = _first_word(text)
        shares = (
            (unsafe[word] + 1) / (len(train_unsafe) + 1),
            (safe[word] + 1) / (len(train_safe) + 1),
        )
        return math.log(shares[0] / shares[1])

    return rank_rate([score(pair.unsafe) for pair in test], [score(pair.safe) for pair in test])


def _first_word(text: str) -> str:
    return (normalized_words(text).split() or [""])[0]


def bag_of_words_rate(
    train_unsafe: Sequence[str], train_safe: Sequence[str], test: Sequence[PromptPair]
) -> float:
    """Share of test pairs that a logistic regression on the words of the train texts ranks right.

    Args:
        train_unsafe: unsafe texts to learn from.
        train_safe: safe texts to learn from.
        test: pairs to rank.

    Returns:
        0.5 for guessing, 1 where words alone give the unsafe side away.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtraError("curation", needed_for="the bag-of-words check") from None
    vectorizer = CountVectorizer(binary=True)
    counts = vectorizer.fit_transform([*train_unsafe, *train_safe])
    labels = [1] * len(train_unsafe) + [0] * len(train_safe)
    model = LogisticRegression(C=1.0, max_iter=5000, class_weight="balanced").fit(counts, labels)

    def score(texts: list[str]) -> list[float]:
        scores: list[float] = model.decision_function(vectorizer.transform(texts)).tolist()
        return scores

    return rank_rate(score([pair.unsafe for pair in test]), score([pair.safe for pair in test]))
