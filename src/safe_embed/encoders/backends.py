"""The backends: each is one file, and one row of the table `BACKENDS` at the end of this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from safe_embed.encoders import weights
from safe_embed.encoders.adaptation import check_base
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.catalogue import EncoderRow
from safe_embed.errors import EncoderError, InputError, UnsupportedModelError
from safe_embed.files import sha256_of
from safe_embed.secrets import secret

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safe_embed.encoders.cache import EmbeddingCache
    from safe_embed.encoders.lora import LoraAdapter

__all__ = ["ADAPTABLE", "BACKENDS", "LOCAL", "LoadOptions", "Request"]


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
    """For tables, without the adapter's; by default that of the directory."""
    adapter: LoraAdapter | None = None
    """Merged into the weights; only backends of `ADAPTABLE` are given one."""
    device: str
    batch_size: int | None
    options: LoadOptions
    report: Callable[[str], None]
    cache: EmbeddingCache | None = None
    """Where an API's answers are kept as they come."""

    @property
    def average(self) -> float | None:
        """The published average similarity of the row; an adapter changes it."""
        if self.row is None or self.adapter is not None:
            return None
        return self.row.published_average_similarity

    @property
    def prompt(self) -> str | None:
        """The row's prompt; None leaves it to the directory."""
        return self.row.prompt if self.row else None

    @property
    def table_name(self) -> str:
        """The encoder's name: of its row or directory, and of an adapter that no row ships."""
        base = self.row.name if self.row else self.name or self.directory.resolve().name
        shipped = self.row is not None and self.row.base is not None
        return base if self.adapter is None or shipped else f"{base}+{self.adapter.name}"


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
    request = replace(request, row=row or weights.recognize(model))
    if request.adapter is not None:
        check_base(request.adapter, model.weights_digest)
    return OnnxEncoder(
        replace(model, adapter=request.adapter),
        name=request.table_name,
        published_average_similarity=request.average,
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
    if request.adapter is not None:
        check_base(request.adapter, _digest_of_weights(request))
    return SentenceTransformersEncoder(
        request.directory,
        name=request.table_name,
        adapter=request.adapter,
        published_average_similarity=request.average,
        device=request.device,
        batch_size=request.batch_size,
        prompt=request.prompt,
        trust_remote_code=request.options.trust_remote_code,
        allow_pickle=request.options.allow_pickle,
    )


def _digest_of_weights(request: Request) -> str | None:
    """SHA-256 of the directory's model.safetensors; None where it has none."""
    path = request.directory / "model.safetensors"
    known = weights.weights_digest(request.directory, request.row)
    return known or (sha256_of(path) if path.is_file() else None)


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

ADAPTABLE = frozenset({"onnx", "sentence-transformers"})
"""The backends that can merge an adapter that the user names into the weights."""

LOCAL = frozenset({"onnx", "onnx-export", "static", "sentence-transformers"})
"""The backends that run a directory as it is, so that one may be chosen in place of another."""
