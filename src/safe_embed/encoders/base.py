"""The contract that each sentence encoder keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["CountsTokens", "Encoder"]


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into embeddings.

    An implementation is one file of this package and one row of the table in
    `safe_embed.encoders.backends`.
    """

    @property
    def name(self) -> str:
        """Name for tables and file names: the catalogue's, or that of the directory."""
        ...

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change whenever an embedding could: weights, tokenizer, settings."""
        ...

    @property
    def dimension(self) -> int:
        """Number of values in one embedding."""
        ...

    @property
    def published_average_similarity(self) -> float | None:
        """The average similarity that the paper publishes for this encoder, if it has one."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts.

        Args:
            texts: any number of texts, duplicates allowed; none gives an array of shape (0, d).

        Returns:
            Embeddings of shape (n, d), float32, each of length 1, in the order of `texts`.
        """
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """An encoder that can tell which texts it cuts. Some cannot: an API, embeddings in a file."""

    @property
    def max_tokens(self) -> int:
        """A text of more tokens is cut to this many, special ones included."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Number of tokens of each text before it is cut, int64 of shape (n,)."""
        ...
