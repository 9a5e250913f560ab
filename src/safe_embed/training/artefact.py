"""The folder that a training leaves: adapter, head, calibration, index, card and provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from safe_embed.detection import Detector
from safe_embed.detection.documents import read_documents
from safe_embed.detection.shipped import CALIBRATION_FILE, HEAD_FILE
from safe_embed.encoders.adaptation import TRAINING_FILE
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import Progress
from safe_embed.encoders.lora import read_lora
from safe_embed.encoders.modeldir import ModelDir
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.errors import InputError
from safe_embed.files import atomic_file
from safe_embed.records import Prompt
from safe_embed.stores.sqlite import SqliteStore
from safe_embed.training.card import model_card
from safe_embed.training.results import Training

__all__ = [
    "CARD_FILE",
    "INDEX_FILE",
    "adapted_encoder",
    "build_index",
    "require_free",
    "write_documents",
]

CARD_FILE = "README.md"
INDEX_FILE = "index.sqlite"
"""Exemplars, head and calibration, for `check --store`; made again by `index build`."""


def require_free(directory: Path) -> None:
    """Refuses a place where something is.

    Raises:
        InputError: it is a file, or a directory that is not empty.
    """
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()  # the finished one is renamed to here
    if directory.exists():
        raise InputError(f"{directory} is there already; give another --out, or remove it")


def adapted_encoder(model: ModelDir, adapter: Path, name: str) -> OnnxEncoder:
    """The base with the adapter of a directory merged, in the engine that will run it."""
    return OnnxEncoder(replace(model, adapter=read_lora(adapter)), name=name)


def build_index(
    directory: Path,
    encoder: Encoder,
    exemplars: Sequence[Prompt],
    calibration: Sequence[Prompt],
    *,
    max_fpr: float,
    review_fpr: float,
    progress: Progress | None = None,
) -> Detector:
    """A calibrated detector in `index.sqlite`; its head and calibration also as JSON files.

    The caller closes its store.

    Args:
        directory: of the artefact.
        encoder: the adapted one.
        exemplars: what was trained on.
        calibration: prompts that were held out.
        max_fpr: promised share of benign prompts to be blocked.
        review_fpr: promised share to be blocked or reviewed.
        progress: called while texts are embedded.
    """
    store = SqliteStore.open_or_create(
        directory / INDEX_FILE, encoder.fingerprint, encoder.dimension
    )
    try:
        detector = Detector.build(
            exemplars, encoder, store=store, source="training", progress=progress
        ).calibrate(calibration, max_fpr=max_fpr, review_fpr=review_fpr)
    except BaseException:
        store.close()
        raise
    _index, head, thresholds = read_documents(store)
    for name, document in ((HEAD_FILE, head), (CALIBRATION_FILE, thresholds)):
        if document is not None:
            _write(directory / name, document.model_dump_json(indent=1))
    return detector


def write_documents(directory: Path, training: Training, title: str) -> None:
    """Writes provenance and model card."""
    _write(directory / TRAINING_FILE, training.model_dump_json(indent=1))
    _write(directory / CARD_FILE, model_card(training, title))


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")
