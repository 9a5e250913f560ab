"""Another encoder for an index that is there: embeddings, head and thresholds change as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from safe_embed.detection.calibration import CalibrationMethod
from safe_embed.detection.detector import Detector
from safe_embed.detection.documents import (
    Calibration,
    HeadDocument,
    IndexDocument,
    document_texts,
    read_documents,
)
from safe_embed.detection.index import embed, fill_index
from safe_embed.detection.scorers import DEFAULT_SCORER, make_scorer
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import Progress
from safe_embed.errors import InputError
from safe_embed.metrics.detection import min_benign
from safe_embed.records import Prompt
from safe_embed.stores.memory import MemoryStore
from safe_embed.stores.sqlite import SqliteStore

__all__ = ["ReembedSettings", "reembed_index"]


@dataclass(frozen=True, kw_only=True)
class ReembedSettings:
    """What the new detector has in common with the earlier one.

    Args:
        average_similarity: to normalise by; see `make_index_document` for when it is None.
        scorer: name and settings; None for the default.
        max_fpr: promised share of benign prompts to be blocked.
        review_fpr: promised share to be blocked or reviewed; see `Detector.calibrate` for None.
        method: how probabilities are fitted.
        per_category: own thresholds for categories.
    """

    average_similarity: float | None = None
    scorer: Mapping[str, Any] | None = None
    max_fpr: float = 0.01
    review_fpr: float | None = None
    method: CalibrationMethod = "platt"
    per_category: bool = False

    @classmethod
    def like(
        cls, calibration: Calibration | None, average_similarity: float | None = None
    ) -> ReembedSettings:
        """The settings of a calibration; the defaults where there is none."""
        if calibration is None:
            return cls(average_similarity=average_similarity)
        return cls(
            average_similarity=average_similarity,
            scorer=calibration.scorer,
            max_fpr=calibration.max_fpr,
            review_fpr=calibration.review_fpr,
            method=calibration.probability.kind,
            per_category=bool(calibration.block_by_category),
        )

    def require_benign(self, prompts: Sequence[Prompt]) -> None:
        """Refuses prompts that cannot keep the promise, before anything is embedded.

        Raises:
            InputError: there are some, and too few of them benign.
        """
        needed = min_benign(self.max_fpr)
        n = sum(one.label == "safe" for one in prompts)
        if prompts and n < needed:
            raise InputError(
                f"the promised false-positive rate needs {needed:,} benign prompts, the data has "
                f"{n:,}; add benign prompts, or leave the data out and calibrate later"
            )


def reembed_index(
    store: SqliteStore,
    encoder: Encoder,
    settings: ReembedSettings,
    prompts: Sequence[Prompt] = (),
    *,
    documents: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Detector:
    """Embeds all versions of an index with another encoder, and fits and calibrates on them.

    The new detector is made on a copy in memory, and then all of the store changes at once: who
    reads it, or kills this, finds the old detector or the new one.

    Args:
        store: the index.
        encoder: its encoder from now on.
        settings: of the new detector.
        prompts: to calibrate by; none for a detector without calibration.
        documents: what else to keep in the store, in the same change.
        progress: called while the present exemplars are embedded.

    Returns:
        The new detector, on the copy in memory.

    Raises:
        InputError: the data cannot keep the promise, or a label is missing that the scorer needs.
        StorageError: another writer holds the store, or it cannot be written.
    """
    settings.require_benign(prompts)
    version = store.version + 1
    exemplars = store.exemplars()
    texts = [one.text for one in exemplars]
    vectors = embed(encoder, texts, progress=progress)
    copy = MemoryStore(encoder.fingerprint, encoder.dimension)
    copy.add(exemplars, vectors)
    detector = _fitted(copy, encoder, settings, prompts)
    index, head, calibration = read_documents(copy)
    kept = document_texts(_at(version, index), _at(version, head), _at(version, calibration))
    row_of = {text: row for row, text in enumerate(texts)}

    def embedded(wanted: Sequence[str]) -> NDArray[np.float32]:
        """The vectors from above, and those of past exemplars and of new ones."""
        others = [text for text in wanted if text not in row_of]
        other = dict(zip(others, embed(encoder, others), strict=True))
        rows = [other[text] if text in other else vectors[row_of[text]] for text in wanted]
        return np.stack(rows)

    store.reembed(
        encoder.fingerprint,
        embedded,
        dimension=encoder.dimension,
        documents={**kept, **(documents or {})},
        note=f"encoder {encoder.name}",
    )
    return detector


D = TypeVar("D", IndexDocument, HeadDocument, Calibration)


def _at(version: int, document: D | None) -> D | None:
    """The document as of a version of the store that is not there yet."""
    if document is None:
        return None
    return document.model_copy(update={"index_version": version})


def _fitted(
    store: MemoryStore, encoder: Encoder, settings: ReembedSettings, prompts: Sequence[Prompt]
) -> Detector:
    given = settings.scorer
    scorer = make_scorer(**given) if given else make_scorer(DEFAULT_SCORER)
    index = fill_index(store, encoder, average=settings.average_similarity)
    detector = Detector(store, encoder, scorer, index)
    if not prompts:
        return detector.refit()
    return detector.calibrate(
        prompts,
        max_fpr=settings.max_fpr,
        review_fpr=settings.review_fpr,
        method=settings.method,
        per_category=settings.per_category,
        refit=True,
    )
