"""From a name or a directory to an encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safe_embed.encoders import catalogue, weights
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.catalogue import EncoderRow
from safe_embed.errors import InputError, UnknownNameError, UnsupportedModelError
from safe_embed.files import cache_dir

__all__ = ["BACKENDS", "FAKE_ENCODER", "load_encoder"]

FAKE_ENCODER = "fake"


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What a backend needs to know."""

    directory: Path
    row: EncoderRow | None
    """The catalogue row that was asked for by name; its files have been verified."""
    device: str
    batch_size: int | None


def load_encoder(
    name: str | Path = catalogue.DEFAULT_ENCODER,
    *,
    backend: str | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    cache: bool = False,
    report: Callable[[str], None] = lambda _message: None,
) -> Encoder:
    """Loads a sentence encoder.

    Args:
        name: a name of the catalogue (its weights are fetched if they are not on this machine),
            a directory as sentence-transformers saves it, or `fake`. A directory with the weights,
            tokenizer and settings of a catalogue row is recognised as it by the engine.
        backend: `onnx` or `sentence-transformers`; by default the one of the catalogue row, and
            for a directory `onnx` where the engine can run it, else `sentence-transformers`.
        device: `cpu` or `cuda`.
        batch_size: most texts in one batch; the backend chooses when None.
        cache: keep embeddings in the user's cache directory and look them up there.
        report: called with a line for people when something is fetched.

    Returns:
        An encoder, ready to encode.

    Raises:
        UnknownNameError: no such name, and no such directory.
        EncoderError: the directory holds no encoder, or its weights have a wrong digest.
        DownloadError: the weights could not be fetched.
        MissingExtraError: the backend is not installed.
    """
    if backend is not None and backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    encoder = _load(str(name), backend, device, batch_size, report)
    if not cache or encoder.name == FAKE_ENCODER:
        return encoder
    from safe_embed.encoders.cache import CachedEncoder, EmbeddingCache

    return CachedEncoder(encoder, EmbeddingCache(cache_dir() / "embeddings"))


def _load(
    name: str,
    backend: str | None,
    device: str,
    batch_size: int | None,
    report: Callable[[str], None],
) -> Encoder:
    if name == FAKE_ENCODER:
        from safe_embed.encoders.fake import FakeEncoder

        return FakeEncoder()
    row = catalogue.find(name)
    directory = weights.fetch(row, report=report) if row else _directory(name)
    request = _Request(directory=directory, row=row, device=device, batch_size=batch_size)
    if row is not None:
        backend = backend or row.backend
    if backend is not None:
        return BACKENDS[backend](request)
    try:
        return _load_onnx(request)
    except UnsupportedModelError as error:
        report(f"{error}; trying it")
        return _load_sentence_transformers(request)


def _directory(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{path} is a file; an encoder is a name or a directory")
    raise UnknownNameError(
        "encoder",
        name,
        [*catalogue.names(), FAKE_ENCODER],
        remedy="There is no directory of that name either.",
    )


def _load_onnx(request: _Request) -> Encoder:
    from safe_embed.encoders.modeldir import read_model_dir
    from safe_embed.encoders.onnx_encoder import OnnxEncoder

    row = request.row
    if row is not None:
        model = read_model_dir(
            request.directory,
            pooling=row.pooling,
            weights_digest=row.files[catalogue.WEIGHTS_FILE],
        )
    else:
        model = read_model_dir(request.directory)
        row = weights.recognize(model)
    return OnnxEncoder(
        model,
        name=row.name if row else request.directory.resolve().name,
        published_average_similarity=row.published_average_similarity if row else None,
        device=request.device,
        batch_size=request.batch_size,
    )


def _load_sentence_transformers(request: _Request) -> Encoder:
    from safe_embed.encoders.sentence_transformers_encoder import SentenceTransformersEncoder

    row = request.row
    return SentenceTransformersEncoder(
        request.directory,
        name=row.name if row else request.directory.resolve().name,
        published_average_similarity=row.published_average_similarity if row else None,
        device=request.device,
        batch_size=request.batch_size,
    )


BACKENDS: dict[str, Callable[[_Request], Encoder]] = {
    "onnx": _load_onnx,
    "sentence-transformers": _load_sentence_transformers,
}
"""The backends by name; each is one file, imported when it is used."""
