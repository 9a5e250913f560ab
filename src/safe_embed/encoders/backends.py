"""The backends: each is one file, and one row of the table `BACKENDS` at the end of this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safe_embed.encoders import weights
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.catalogue import EncoderRow
from safe_embed.errors import EncoderError, InputError, UnsupportedModelError
from safe_embed.secrets import secret

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safe_embed.encoders.cache import EmbeddingCache

__all__ = ["BACKENDS", "LOCAL", "LoadOptions", "Request"]


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What some encoders may need to be told.

    Args:
        base_url: of an API, up to and without `/embeddings`; OpenAI's by default.
        trust_remote_code: run Python code that comes with a model of the hub.
        allow_pickle: read pickled weights that no catalogue row pins, where there are no others; in
            torch's weights_only mode.
    """

    base_url: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a backend needs to know."""

    target: str
    """What was asked for, without its prefix."""
    row: EncoderRow | None = None
    """The catalogue row that was asked for by name; its files have been verified."""
    directory: Path = Path()
    name: str | None = None
    """For tables; by default that of the directory."""
    device: str
    batch_size: int | None
    options: LoadOptions
    report: Callable[[str], None]
    cache: EmbeddingCache | None = None
    """Where an API's answers are kept as they come."""

    @property
    def average(self) -> float | None:
        """The published average similarity of the row."""
        return self.row.published_average_similarity if self.row else None

    @property
    def prompt(self) -> str | None:
        """The row's prompt; None leaves it to the directory."""
        return self.row.prompt if self.row else None


def _load_onnx(request: Request) -> Encoder:
    from safe_embed.encoders.modeldir import read_model_dir
    from safe_embed.encoders.onnx_encoder import OnnxEncoder

    row = request.row
    pooling = row.pooling if row else None
    if pooling == "last":
        raise UnsupportedModelError(request.directory, "pooling of the last token")
    model = read_model_dir(
        request.directory,
        pooling=pooling,
        prompt=request.prompt,
        weights_digest=weights.weights_digest(request.directory, row),
    )
    row = row or weights.recognize(model)
    return OnnxEncoder(
        model,
        name=row.name if row else request.name or request.directory.resolve().name,
        published_average_similarity=row.published_average_similarity if row else None,
        device=request.device,
        batch_size=request.batch_size,
    )


def _load_onnx_export(request: Request) -> Encoder:
    from safe_embed.encoders.exported import ExportedDir
    from safe_embed.encoders.onnx_export_dir import OnnxExportEncoder

    if ExportedDir.recognizes(request.directory):
        from safe_embed.encoders.export import open_export

        return open_export(
            request.directory,
            name=request.name,
            device=request.device,
            batch_size=request.batch_size,
        )

    return OnnxExportEncoder(
        request.directory,
        name=request.name,
        device=request.device,
        batch_size=request.batch_size,
    )


def _load_static(request: Request) -> Encoder:
    from safe_embed.encoders.static_encoder import StaticEncoder

    return StaticEncoder(
        request.directory, name=request.name, published_average_similarity=request.average
    )


def _load_sentence_transformers(request: Request) -> Encoder:
    from safe_embed.encoders.sentence_transformers_encoder import SentenceTransformersEncoder

    if request.row is not None and request.row.own_code_before:
        _require_transformers(request.row, trusted=request.options.trust_remote_code)
    return SentenceTransformersEncoder(
        request.directory,
        name=request.name,
        published_average_similarity=request.average,
        device=request.device,
        batch_size=request.batch_size,
        prompt=request.prompt,
        trust_remote_code=request.options.trust_remote_code,
        allow_pickle=request.options.allow_pickle,
    )


def _require_transformers(row: EncoderRow, *, trusted: bool) -> None:
    """Says what to do where the installed transformers lacks the row's architecture."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("transformers")
    except PackageNotFoundError:
        return  # told as a missing extra
    needed = str(row.own_code_before)
    numbers = [tuple(map(int, each.split(".")[:2])) for each in (installed, needed)]
    if numbers[0] < numbers[1] and not trusted:
        raise EncoderError(
            f"{row.name} needs transformers {needed} or newer, got {installed}: pip install -U "
            "transformers; or --trust-remote-code runs the model's own code"
        )


def _load_llm2vec(request: Request) -> Encoder:
    row = request.row
    if row is None:
        raise InputError("the backend llm2vec runs rows of the catalogue only")
    from safe_embed.encoders.llm2vec_encoder import LLM2VecEncoder

    return LLM2VecEncoder(
        request.directory,
        adapters=[request.directory / f"adapters/{i}" for i in range(len(row.adapters))],
        name=row.name,
        published_average_similarity=request.average,
        device=request.device,
        batch_size=request.batch_size,
        dtype=row.dtype,
        instruction=row.prompt,
        max_tokens=row.max_tokens,
    )


def _load_openai(request: Request) -> Encoder:
    from safe_embed.encoders.cache import text_key
    from safe_embed.encoders.openai_encoder import OPENAI_URL, OpenAIEncoder

    row, cache = request.row, request.cache

    def keep(texts: list[str], vectors: NDArray[np.float32]) -> None:
        if cache is not None:
            cache.store(encoder.fingerprint, [text_key(text) for text in texts], vectors)

    encoder = OpenAIEncoder(
        row.model_id if row else request.target,
        base_url=request.options.base_url or OPENAI_URL,
        name=request.name,
        published_average_similarity=request.average,
        batch_size=request.batch_size,
        key=secret("OPENAI_API_KEY"),
        report=request.report,
        on_batch=keep,
    )
    return encoder


BACKENDS: dict[str, Callable[[Request], Encoder]] = {
    "onnx": _load_onnx,
    "onnx-export": _load_onnx_export,
    "static": _load_static,
    "sentence-transformers": _load_sentence_transformers,
    "llm2vec": _load_llm2vec,
    "openai": _load_openai,
}
"""The backends by name; each is one file, imported when it is used."""

LOCAL = frozenset({"onnx", "onnx-export", "static", "sentence-transformers"})
"""The backends that run a directory as it is, so that one may be chosen in place of another."""
