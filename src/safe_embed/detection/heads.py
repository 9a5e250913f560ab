"""The head on the embedding: fitted on the exemplars, and again without parts of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safe_embed.detection.documents import HeadDocument, texts_digest
from safe_embed.detection.head import LogisticHead, fit_logistic
from safe_embed.errors import InputError
from safe_embed.stores.base import Exemplar, ExemplarStore

__all__ = ["HEAD_STRENGTH", "Heads", "fit_balanced", "fit_head", "fit_heads_without"]

HEAD_STRENGTH = 1.0
"""Inverse strength of the head's penalty."""

_FOLDS = 5


@dataclass(frozen=True)
class Heads:
    """A head, and for prompts that are exemplars one that has not seen them."""

    main: LogisticHead | None
    folds: tuple[LogisticHead, ...] = ()

    def logits(
        self, vectors: NDArray[np.float32], left_out: Sequence[str | None] | None
    ) -> NDArray[np.float64]:
        """Log-odds of each row; NaN without a head.

        Args:
            vectors: shape (n, d).
            left_out: for each row the text that its head must not have seen, or None.
        """
        if self.main is None:
            return np.full(len(vectors), np.nan)
        logits = self.main.logits(vectors)
        if self.folds and left_out is not None:
            fold = np.array([-1 if text is None else _fold(text) for text in left_out])
            for number, head in enumerate(self.folds):
                rows = fold == number
                logits[rows] = head.logits(vectors[rows])
        return logits


def fit_head(store: ExemplarStore) -> HeadDocument:
    """Fits a logistic regression on the exemplars that are not muted; both labels weigh the same.

    Raises:
        InputError: there is no exemplar of a label.
    """
    version, exemplars, vectors = _exemplars(store)
    head = _fit(exemplars, vectors)
    return HeadDocument(
        encoder_fingerprint=store.fingerprint,
        index_version=version,
        data_digest=texts_digest((one.text, one.label) for one in exemplars),
        strength=HEAD_STRENGTH,
        weights=tuple(head.weights.tolist()),
        bias=head.bias,
    )


def fit_heads_without(store: ExemplarStore) -> tuple[LogisticHead, ...]:
    """One head for each fifth of the exemplars, fitted on the other four; split by text."""
    _, exemplars, vectors = _exemplars(store)
    fold = np.array([_fold(one.text) for one in exemplars])
    heads = []
    for number in range(_FOLDS):
        rows = np.flatnonzero(fold != number)
        heads.append(_fit([exemplars[row] for row in rows], vectors[rows]))
    return tuple(heads)


def fit_balanced(vectors: NDArray[np.float32], unsafe: NDArray[np.bool_]) -> LogisticHead:
    """A logistic regression in which both labels weigh the same.

    Args:
        vectors: embeddings of shape (n, d).
        unsafe: shape (n,), of both values.
    """
    share = unsafe.mean()
    weights = np.where(unsafe, 0.5 / share, 0.5 / (1 - share))
    return fit_logistic(vectors, unsafe.astype(float), strength=HEAD_STRENGTH, weights=weights)


def _exemplars(store: ExemplarStore) -> tuple[int, list[Exemplar], NDArray[np.float32]]:
    version = store.version  # read first: a change meanwhile makes the head stale, never unseen
    exemplars = [one for one in store.exemplars() if not one.muted]
    return version, exemplars, store.embeddings([one.id for one in exemplars])


def _fit(exemplars: Sequence[Exemplar], vectors: NDArray[np.float32]) -> LogisticHead:
    unsafe = np.array([one.label == "unsafe" for one in exemplars], dtype=bool)
    if not unsafe.any() or unsafe.all():
        missing = "safe" if unsafe.any() else "unsafe"
        raise InputError(
            f"the index has no {missing} exemplar that is not muted, and the head needs both "
            "labels; add some, or choose a scorer without a head"
        )
    return fit_balanced(vectors, unsafe)


def _fold(text: str) -> int:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()[0] % _FOLDS
