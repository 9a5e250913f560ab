"""Fills a store with exemplars, and makes sure that it is asked with the encoder that filled it."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safe_embed.datasets import load_core, prompts_of
from safe_embed.detection.documents import ENCODER_KEY, IndexDocument
from safe_embed.encoders import catalogue
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.cache import uncached
from safe_embed.encoders.embedded import EmbeddedTexts, Progress
from safe_embed.encoders.load import FAKE_ENCODER
from safe_embed.errors import InputError
from safe_embed.metrics import average_similarity, normalized_similarity
from safe_embed.records import Label, Prompt
from safe_embed.stores.base import Exemplar, ExemplarStore, KeptInFile
from safe_embed.stores.ids import content_id

__all__ = [
    "add_exemplars",
    "check_canaries",
    "embed",
    "fill_index",
    "make_index_document",
    "no_detector",
    "require_encoder",
    "require_labels",
    "to_exemplars",
]

N_CANARIES = 32
MAX_CANARY_DRIFT = 1e-3
"""Largest length of the difference between a kept embedding and one made now."""


def to_exemplars(prompts: Sequence[Prompt | Exemplar], *, source: str = "") -> list[Exemplar]:
    """Prompts as exemplars; the id follows from text and label, so none is there twice.

    Args:
        prompts: each with a label; an `Exemplar` is kept as it is.
        source: where the prompts come from.

    Raises:
        InputError: a prompt has no label, or a text stands under both labels.
    """
    found: dict[str, Exemplar] = {}
    label_of: dict[str, str] = {}
    for one in prompts:
        if one.label is None:
            raise InputError(f"prompt {one.id!r} has no label; an exemplar is unsafe or safe")
        if label_of.setdefault(one.text, one.label) != one.label:
            raise InputError(f"the text of prompt {one.id!r} is there as unsafe and as safe")
        if isinstance(one, Exemplar):
            found.setdefault(one.id, one)
            continue
        exemplar = Exemplar(
            id=content_id(one.text, one.label),
            text=one.text,
            label=one.label,
            category=one.category,
            source=source,
        )
        found.setdefault(exemplar.id, exemplar)
    return list(found.values())


def add_exemplars(
    store: ExemplarStore,
    encoder: Encoder,
    exemplars: Sequence[Exemplar],
    *,
    note: str = "",
    progress: Progress | None = None,
) -> int:
    """Embeds exemplars and adds them, all or none; returns the version that has them."""
    require_encoder(store, encoder)
    vectors = embed(encoder, [one.text for one in exemplars], progress=progress)
    return store.add(exemplars, vectors, note=note)


def embed(
    encoder: Encoder, texts: Sequence[str], *, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Embeddings of texts, each distinct one encoded once, shortest first.

    Returns:
        Shape (n, d), float32, rows of length 1.

    Raises:
        EncoderError: what comes back is no array of shape (n, d), or a vector is zero or NaN.
    """
    return EmbeddedTexts.embed(encoder, texts, progress=progress).of(texts)


def require_encoder(store: ExemplarStore, encoder: Encoder) -> None:
    """Refuses an encoder whose embeddings are not those of the store.

    Raises:
        InputError: another fingerprint or dimension.
    """
    if store.fingerprint != encoder.fingerprint or store.dimension != encoder.dimension:
        raise InputError(
            f"the index holds embeddings of the encoder {store.fingerprint[:12]} with "
            f"{store.dimension} values, {encoder.name!r} is {encoder.fingerprint[:12]} with "
            f"{encoder.dimension}; use that encoder, or "
            f"{_reembed_with(store, _loadable(encoder))}"
        )


def require_labels(store: ExemplarStore, labels: Sequence[Label]) -> None:
    """Refuses an index without an exemplar of one of these labels.

    Raises:
        InputError: there is none.
    """
    stats = store.stats()
    counts = {"unsafe": stats.n_unsafe, "safe": stats.n_safe}
    for label in labels:
        if not counts[label]:
            raise InputError(
                f"the index has no {label} exemplar; add some, or choose a scorer that does not "
                "need them (`unsafe-similarity` needs unsafe ones only)"
            )


def fill_index(
    store: ExemplarStore,
    encoder: Encoder,
    prompts: Sequence[Prompt | Exemplar] = (),
    *,
    average: float | None = None,
    source: str = "",
    note: str = "",
    progress: Progress | None = None,
) -> IndexDocument:
    """Adds prompts to a store, and says what belongs to its encoder; the caller keeps that.

    Args:
        store: where the exemplars live.
        encoder: the one that fills it, or has filled it.
        prompts: each with a label; none where the store has them already.
        average: see `make_index_document`.
        source: where the prompts come from.
        note: for the history of the store.
        progress: called while texts are embedded.

    Raises:
        InputError: a prompt without a label, or another encoder's store.
    """
    require_encoder(store, encoder)
    exemplars = to_exemplars(prompts, source=source)
    if exemplars:
        add_exemplars(store, encoder, exemplars, note=note, progress=progress)
    return make_index_document(store, encoder, average)


def make_index_document(
    store: ExemplarStore, encoder: Encoder, average: float | None = None
) -> IndexDocument:
    """Settles the average similarity, and takes texts by which the encoder is known again.

    Args:
        store: its exemplars give the texts.
        encoder: the one that filled it.
        average: given average similarity; else the published one, else one measured on the
            bundled baseline prompts, which are there for nothing else.

    Raises:
        InputError: an average similarity that cannot be.
    """
    source = "given"
    if average is None:
        average, source = encoder.published_average_similarity, "published"
    if average is None:
        texts = [one.text for one in prompts_of(load_core("test"), "baseline")]
        vectors = embed(encoder, texts)
        # Every second one: both halves hold unsafe and safe prompts, as the paper's samples do.
        average = average_similarity(vectors[::2], vectors[1::2], n_resamples=2).mean
        source = "measured: baseline prompts of safe-embed-core"
    normalized_similarity(0.0, average)
    texts = sorted({one.text for one in store.exemplars()})
    canaries = texts[:: max(1, len(texts) // N_CANARIES)][:N_CANARIES]
    return IndexDocument(
        encoder_fingerprint=encoder.fingerprint,
        index_version=store.version,
        average_similarity=average,
        average_similarity_source=source,
        canary_texts=tuple(canaries),
        canary_vectors=base64.b64encode(embed(encoder, canaries).astype("<f4").tobytes()).decode(),
    )


def check_canaries(store: ExemplarStore, document: IndexDocument, encoder: Encoder) -> None:
    """Refuses an encoder that embeds the kept texts otherwise than when the index was made.

    Args:
        store: the index, for the message.
        document: with the kept texts and their embeddings.
        encoder: asked itself; its cache would repeat what it said earlier.

    Raises:
        InputError: an embedding moved by more than 1e-3, which another runtime or damaged weights
            can cause under the same fingerprint.
    """
    if not document.canary_texts:
        return
    try:
        kept = np.frombuffer(base64.b64decode(document.canary_vectors), dtype="<f4")
        kept = kept.reshape(len(document.canary_texts), encoder.dimension)
    except ValueError:
        raise InputError("the canaries of this index are damaged; build the index anew") from None
    now = embed(uncached(encoder), document.canary_texts)
    drift = np.linalg.norm(now - kept, axis=1)
    worst = int(drift.argmax())
    if not drift[worst] <= MAX_CANARY_DRIFT:
        name = store.get_documents([ENCODER_KEY]).get(ENCODER_KEY) or _loadable(encoder)
        raise InputError(
            f"encoder {encoder.name!r} no longer embeds {document.canary_texts[worst][:60]!r} as "
            f"when the index was made (it moved by {drift[worst]:.2g}, at most "
            f"{MAX_CANARY_DRIFT:g} is rounding): {_reembed_with(store, name)}"
        )


def no_detector(store: ExemplarStore) -> InputError:
    """The error for a store that no detector was built on, an empty one say."""
    if not isinstance(store, KeptInFile):
        return InputError("no detector was built on this store; build one with `Detector.build`")
    path = shlex.quote(str(store.path))
    return InputError(
        f"no detector was built on the store {store.path}: `safe-embed index build FILE --store "
        f"{path} --encoder NAME` builds one on it, and so does `Detector.build` in Python"
    )


def _reembed_with(store: ExemplarStore, name: str | None) -> str:
    """What makes an encoder the one of the store."""
    if not isinstance(store, KeptInFile):
        return "build the index anew with this one"
    return (
        f"embed the index anew: `safe-embed index reembed --store {shlex.quote(str(store.path))} "
        f"--encoder {shlex.quote(name or 'NAME')}`"
    )


def _loadable(encoder: Encoder) -> str | None:
    """The encoder's name where `load_encoder` takes it; that of a directory does not say where."""
    known = encoder.name == FAKE_ENCODER or catalogue.find(encoder.name) is not None
    return encoder.name if known else None
