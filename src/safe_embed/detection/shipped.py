"""Head and thresholds that an adapter brings, for an index of the exemplars they were fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from safe_embed.detection.documents import Calibration, HeadDocument, texts_digest
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.cache import uncached
from safe_embed.errors import InputError
from safe_embed.records import Prompt

__all__ = ["CALIBRATION_FILE", "HEAD_FILE", "shipped_fit"]

HEAD_FILE = "head.json"
CALIBRATION_FILE = "calibration.json"


def shipped_fit(
    encoder: Encoder, exemplars: Sequence[Prompt]
) -> tuple[HeadDocument, Calibration] | None:
    """What `safe-embed train` fitted for an encoder.

    Args:
        encoder: with an adapter or without.
        exemplars: of the index.

    Returns:
        Head and calibration; None where the encoder has no adapter, the adapter brings none, or
        they were fitted on other exemplars or with another encoder.

    Raises:
        InputError: a file is damaged.
    """
    model = getattr(uncached(encoder), "model", None)
    adapter = getattr(model, "adapter", None)
    if adapter is None:
        return None
    paths = [Path(adapter.path) / name for name in (HEAD_FILE, CALIBRATION_FILE)]
    if not all(path.is_file() for path in paths):
        return None
    try:
        head = HeadDocument.model_validate_json(paths[0].read_text("utf-8"))
        calibration = Calibration.model_validate_json(paths[1].read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError):
        raise InputError(
            f"{adapter.path}: {HEAD_FILE} or {CALIBRATION_FILE} is damaged; get the adapter again, "
            "or remove both"
        ) from None
    digest = texts_digest((one.text, str(one.label)) for one in exemplars)
    fits = head.data_digest == digest and calibration.head_digest == head.digest()
    same = {head.encoder_fingerprint, calibration.encoder_fingerprint} == {encoder.fingerprint}
    return (head, calibration) if fits and same else None
