"""An encoder for tests and trials whose vectors a person can work out by hand."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.texts import checked_texts

__all__ = ["FakeEncoder"]

_DIMENSION = 64
_FORMULA = "words, sum of ord(character) - 96, modulo 64, version 1"


class FakeEncoder:
    """Counts words; knows nothing of meaning, needs no weights and is always the same.

    Each word, in lower case, adds 1 to one of 64 slots. Its slot is the sum of its letters
    (a = 1, ..., z = 26; any other character: its code point minus 96) modulo 64. A text without a
    word gets a 1 in slot 0. The vector is then divided by its length. So the cosine of two texts
    is about the share of words they have in common; the order of words does not matter.

    Worked example: in "Kill a process", kill = 11 + 9 + 12 + 12 = 44, a = 1 and
    process = 16 + 18 + 15 + 3 + 5 + 19 + 19 = 95 = 64 + 31. Slots 1, 31 and 44 hold 1 / sqrt(3),
    and the cosine with "kill a person" is 2 / 3.

    Example:
        >>> encoder = FakeEncoder()
        >>> a, b = encoder.encode(["Kill a process", "kill a person"])
        >>> [int(slot) for slot in a.nonzero()[0]], round(float(a @ b), 4)
        ([1, 31, 44], 0.6667)
    """

    def __init__(self, *, published_average_similarity: float | None = None) -> None:
        self._published_average_similarity = published_average_similarity

    @property
    def name(self) -> str:
        """Always "fake"."""
        return "fake"

    @property
    def fingerprint(self) -> str:
        """64 hex digits of the formula."""
        return hashlib.sha256(_FORMULA.encode()).hexdigest()

    @property
    def dimension(self) -> int:
        """Number of slots."""
        return _DIMENSION

    @property
    def published_average_similarity(self) -> float | None:
        """What the constructor was given: no paper publishes one."""
        return self._published_average_similarity

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts by the formula of the class.

        Args:
            texts: any number of texts; none gives an array of shape (0, 64).

        Returns:
            Embeddings of shape (n, 64), float32, each of length 1, no value below 0.

        Raises:
            InputError: an item is no string, or has a lone surrogate.
        """
        counts = np.zeros((len(texts), _DIMENSION))
        for row, text in enumerate(checked_texts(texts)):
            for word in re.findall(r"\w+", text.lower()) or [""]:
                counts[row, _slot(word)] += 1
        lengths = np.sqrt((counts**2).sum(axis=1, keepdims=True))
        embeddings: NDArray[np.float32] = (counts / lengths).astype(np.float32)
        return embeddings


def _slot(word: str) -> int:
    return sum(ord(character) - 96 for character in word) % _DIMENSION
