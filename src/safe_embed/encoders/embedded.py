"""Embeds each distinct text of many once, and looks the vectors up by text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.base import Encoder
from safe_embed.errors import EncoderError, InputError
from safe_embed.vectors import normalize_rows

__all__ = ["EmbeddedTexts", "Progress"]

Progress = Callable[[int, int], None]
"""Called with the number of texts embedded so far and their total."""

_TEXTS_AT_ONCE = 1024  # what an interrupted run with a cache loses at most


class EmbeddedTexts:
    """Unit embeddings of a set of texts, looked up by text."""

    def __init__(self, row_of: dict[str, int], vectors: NDArray[np.float32]) -> None:
        self._row_of = row_of
        self._vectors = vectors

    @classmethod
    def embed(
        cls, encoder: Encoder, texts: Iterable[str], *, progress: Progress | None = None
    ) -> EmbeddedTexts:
        """Encodes the distinct texts, shortest first so that batches are even.

        Raises:
            EncoderError: what comes back is no array of shape (n, d), or a vector is zero or NaN.
        """
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        vectors = np.empty((len(distinct), encoder.dimension), dtype=np.float32)
        for start in range(0, len(distinct), _TEXTS_AT_ONCE):
            part = distinct[start : start + _TEXTS_AT_ONCE]
            vectors[start : start + len(part)] = _checked(encoder, part)
            if progress is not None:
                progress(start + len(part), len(distinct))
        return cls({text: row for row, text in enumerate(distinct)}, vectors)

    def __len__(self) -> int:
        return len(self._row_of)

    def of(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of shape (n, d), float32, each of length 1, in the order of `texts`."""
        return self._vectors[[self._row_of[text] for text in texts]]


def _checked(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    vectors = encoder.encode(texts)
    if vectors.shape != (len(texts), encoder.dimension):
        raise EncoderError(
            f"encoder {encoder.name!r} returned shape {vectors.shape} for {len(texts)} texts, "
            f"expected {(len(texts), encoder.dimension)}; its `encode` or `dimension` is wrong"
        )
    try:
        return normalize_rows(vectors)
    except InputError as error:
        lengths = np.linalg.norm(vectors, axis=1)
        first = int(np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))[0])
        raise EncoderError(
            f"encoder {encoder.name!r} gave no usable vector for {texts[first][:80]!r}: {error}"
        ) from None
