"""What a detector keeps in its store beside the exemplars: versioned JSON, checked when read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from safe_embed.detection.calibration import ProbabilityMap
from safe_embed.detection.head import LogisticHead
from safe_embed.errors import InputError
from safe_embed.stores.base import ExemplarStore

__all__ = [
    "CALIBRATION_KEY",
    "ENCODER_KEY",
    "HEAD_KEY",
    "INDEX_KEY",
    "Calibration",
    "HeadDocument",
    "IndexDocument",
    "document_texts",
    "read_document",
    "read_documents",
    "texts_digest",
]

CALIBRATION_KEY = "detector/calibration"
ENCODER_KEY = "cli/encoder"
"""A name by which `load_encoder` finds the encoder, kept where it is known."""
HEAD_KEY = "detector/head"
INDEX_KEY = "detector/index"

_WHAT = {
    CALIBRATION_KEY: ("calibration", "calibrate again"),
    HEAD_KEY: ("head", "fit it again with Detector.refit"),
    INDEX_KEY: ("index document", "build the index anew"),
}


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    encoder_fingerprint: str
    index_version: int
    """Of the store when it was made."""


class IndexDocument(_Document):
    """What belongs to the encoder: its average similarity, and texts to recognise it by."""

    average_similarity: float
    average_similarity_source: str
    """`published`, `given`, or `measured: ` and on what."""
    canary_texts: tuple[str, ...]
    canary_vectors: str
    """Their embeddings, float32 in little endian and row after row, as Base64."""


class HeadDocument(_Document):
    """A logistic head and where it comes from."""

    data_digest: str
    """Of the exemplars that it was fitted on."""
    strength: float
    weights: tuple[float, ...]
    bias: float

    def head(self) -> LogisticHead:
        """The head."""
        return LogisticHead(np.array(self.weights), self.bias)

    def digest(self) -> str:
        """SHA-256 of the coefficients."""
        numbers = np.array([*self.weights, self.bias], dtype="<f8")
        return hashlib.sha256(numbers.tobytes()).hexdigest()


class Calibration(_Document):
    """Probabilities and thresholds, and what they were made for and of."""

    scorer: dict[str, Any]
    """Its name and settings."""
    head_digest: str | None
    """None where the scorer uses no head."""
    average_similarity: float
    data_digest: str
    """Of the prompts that it was made of."""
    n_unsafe: int
    n_benign: int
    n_exemplars: int
    """How many of these prompts were exemplars too, and so were scored without themselves."""
    probability: ProbabilityMap
    probability_is_fitted: bool
    """False where there was no unsafe prompt: the score is then no calibrated probability."""
    max_fpr: Annotated[float, Field(gt=0, lt=1)]
    review_fpr: Annotated[float, Field(gt=0, lt=1)]
    block: float
    """Raw score above which a prompt is blocked."""
    review: float
    """Raw score above which it is reviewed."""
    block_by_category: dict[str, float] = {}


D = TypeVar("D", bound=_Document)


def read_document(store: ExemplarStore, key: str, kind: type[D]) -> D | None:
    """A document of the store; None where there is none.

    Raises:
        InputError: it is damaged, of another schema, or of another encoder.
    """
    return _parsed(store, key, store.get_documents([key]).get(key), kind)


def read_documents(
    store: ExemplarStore,
) -> tuple[IndexDocument | None, HeadDocument | None, Calibration | None]:
    """All that a detector kept, as it was at one moment.

    Raises:
        InputError: see `read_document`.
    """
    texts = store.get_documents([INDEX_KEY, HEAD_KEY, CALIBRATION_KEY])
    return (
        _parsed(store, INDEX_KEY, texts.get(INDEX_KEY), IndexDocument),
        _parsed(store, HEAD_KEY, texts.get(HEAD_KEY), HeadDocument),
        _parsed(store, CALIBRATION_KEY, texts.get(CALIBRATION_KEY), Calibration),
    )


def document_texts(
    index: IndexDocument | None, head: HeadDocument | None, calibration: Calibration | None
) -> dict[str, str]:
    """What a store is given to keep, in one change; an empty text stands for no document."""
    kept = {INDEX_KEY: index, HEAD_KEY: head, CALIBRATION_KEY: calibration}
    return {key: one.model_dump_json() if one else "" for key, one in kept.items()}


def _parsed(store: ExemplarStore, key: str, text: str | None, kind: type[D]) -> D | None:
    if not text:
        return None
    what, remedy = _WHAT[key]
    try:
        found = json.loads(text)
        if found.get("schema_version") != 1:
            raise InputError(
                f"the {what} of this store has schema version {found.get('schema_version')}, this "
                f"version of safe-embed reads 1; update safe-embed, or {remedy}"
            )
        document = kind.model_validate(found)
    except (ValueError, AttributeError, ValidationError):
        raise InputError(f"the {what} of this store is damaged; {remedy}") from None
    if document.encoder_fingerprint != store.fingerprint:
        raise InputError(
            f"the {what} of this store was made with the encoder "
            f"{document.encoder_fingerprint[:12]}, its embeddings with {store.fingerprint[:12]}; "
            f"{remedy}"
        )
    return document


def texts_digest(items: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of texts with their labels, whatever their order."""
    digest = hashlib.sha256()
    for text, label in sorted(items):
        digest.update(json.dumps([label, text]).encode())
    return digest.hexdigest()
