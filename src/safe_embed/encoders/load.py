"""From a name or a directory to an encoder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from safe_embed.encoders import catalogue, weights
from safe_embed.encoders.adaptation import check_base, read_shipped, split_name
from safe_embed.encoders.backends import ADAPTABLE, BACKENDS, LOCAL, LoadOptions, Request
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.lora import read_lora
from safe_embed.errors import EncoderError, InputError, UnknownNameError, UnsupportedModelError
from safe_embed.files import cache_dir

__all__ = ["BACKENDS", "FAKE_ENCODER", "PREFIXES", "LoadOptions", "load_encoder"]

FAKE_ENCODER = "fake"
_DEFAULTS = LoadOptions()
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w./-]+)?")


def load_encoder(
    name: str | Path = catalogue.DEFAULT_ENCODER,
    *,
    backend: str | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    cache: bool = False,
    report: Callable[[str], None] = lambda _message: None,
    options: LoadOptions = _DEFAULTS,
) -> Encoder:
    """Loads a sentence encoder.

    Args:
        name: a name of the catalogue (its weights are fetched if they are not on this machine); a
            directory: as sentence-transformers saves it, an exported ONNX graph, or a static
            encoder of model2vec; `hub:ORG/MODEL[@REVISION]` or plain `ORG/MODEL`; `openai:MODEL`;
            `file:EMBEDDINGS.parquet` or `.npz`; or `fake`. A directory with the weights, tokenizer
            and settings of a catalogue row is recognised as it by the engine. The first three may
            be followed by `+DIR`: a LoRA adapter, merged into the weights.
        backend: a name of `BACKENDS`; by default the one of the catalogue row, and for a directory
            the one that its files tell: `onnx` where the engine can run it, else
            `sentence-transformers`.
        device: `cpu` or `cuda`.
        batch_size: most texts in one batch; the backend chooses when None.
        cache: keep embeddings in the user's cache directory and look them up there.
        report: called with a line for people when something is fetched.
        options: an API's address, and what is trusted.

    Returns:
        An encoder, ready to encode.

    Raises:
        UnknownNameError: no such name, and no such directory.
        EncoderError: the directory holds no encoder, or its weights have a wrong digest; or the
            adapter is damaged, or does not fit the base.
        DataError: a file of embeddings cannot be used.
        DownloadError: the weights could not be fetched.
        MissingExtraError: the backend is not installed.
    """
    if backend is not None and backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    request = Request(
        target=str(name), device=device, batch_size=batch_size, options=options, report=report
    )
    if not cache or request.target == FAKE_ENCODER or request.target.startswith("file:"):
        return _load(request, backend)
    from safe_embed.encoders.cache import CachedEncoder, EmbeddingCache

    kept = EmbeddingCache(cache_dir() / "embeddings")
    return CachedEncoder(_load(replace(request, cache=kept), backend), kept)


def _load(request: Request, backend: str | None) -> Encoder:
    if request.adapter is None and (parts := split_name(request.target, _may_be_base)):
        base, directory = parts  # the adapter first, before a base is fetched for it
        return _load(replace(request, target=base, adapter=read_lora(directory)), backend)
    prefix, colon, rest = request.target.partition(":")
    if colon and prefix in PREFIXES:
        return PREFIXES[prefix](replace(request, target=rest), backend)
    if request.target == FAKE_ENCODER:
        _require_adaptable(request, FAKE_ENCODER)
        from safe_embed.encoders.fake import FakeEncoder

        return FakeEncoder()
    if row := catalogue.find(request.target):
        return _load_row(replace(request, row=row), backend)
    path = Path(request.target).expanduser()
    if path.is_dir():
        return _load_directory(replace(request, directory=path), backend)
    if path.exists():
        raise InputError(
            f"{path} is a file; an encoder is a name or a directory, and embeddings that were "
            f"computed elsewhere are file:{path}"
        )
    if _HUB_ID.fullmatch(request.target) and not request.target.startswith("."):
        return _load_from_hub(request, backend)
    raise UnknownNameError(
        "encoder",
        request.target,
        [*catalogue.names(), FAKE_ENCODER],
        remedy="There is no directory of that name either; other names begin with "
        f"{', '.join(f'{prefix}:' for prefix in PREFIXES)}.",
    )


def _may_be_base(name: str) -> bool:
    """Whether a name is, or could be on the hub, an encoder that an adapter belongs to."""
    if name == FAKE_ENCODER or name.startswith("hub:") or catalogue.find(name):
        return True
    is_hub_id = bool(_HUB_ID.fullmatch(name)) and not name.startswith(".")
    return is_hub_id or Path(name).expanduser().exists()


def _require_adaptable(request: Request, backend: str) -> None:
    """Refuses an adapter where no weights are at hand that it could change."""
    if request.adapter is not None and backend not in ADAPTABLE:
        raise EncoderError(
            f"{request.adapter.path}: an adapter changes the weights of an encoder of the backend "
            f"{' or '.join(sorted(ADAPTABLE))}, and {request.target} is of the backend {backend}; "
            "leave the adapter out"
        )


def _run(backend: str, request: Request) -> Encoder:
    _require_adaptable(request, backend)
    return BACKENDS[backend](request)


def _load_row(request: Request, backend: str | None) -> Encoder:
    row = request.row
    assert row is not None  # noqa: S101 - of the caller
    _require_adaptable(request, backend or row.backend)
    if row.base is not None:
        if request.adapter is not None:
            raise EncoderError(f"{row.name} has an adapter already; name its base {row.base}")
        request = replace(request, adapter=read_shipped(row))
    if request.adapter is not None and (pinned := row.digest(catalogue.WEIGHTS_FILE)):
        check_base(request.adapter, pinned)  # before hundreds of MB are fetched
    request = replace(request, name=row.name)
    if row.backend == "llm2vec":
        from safe_embed.encoders.decoder_weights import check_before_fetching

        n_parameters = 1e6 * (row.parameters_million or 0)
        check_before_fetching(row.name, n_parameters, row.dtype, request.device)
    if row.repositories:
        directory = weights.fetch(
            row, report=request.report, allow_pickle=request.options.allow_pickle
        )
        request = replace(request, directory=directory)
    if backend not in (None, row.backend) and not {backend, row.backend} <= LOCAL:
        raise InputError(f"{row.name} is run by the backend {row.backend}, not by {backend}")
    return _run(backend or row.backend, request)


def _load_directory(request: Request, backend: str | None) -> Encoder:
    """Loads a directory with the backend that its files tell."""
    if backend is not None:
        return _run(backend, request)
    from safe_embed.encoders.onnx_export_dir import find_graph
    from safe_embed.encoders.static_encoder import is_static

    directory = request.directory
    if is_static(directory):
        return _run("static", request)
    if find_graph(directory) and not list(directory.glob("*.safetensors")):
        return _run("onnx-export", request)
    try:
        return BACKENDS["onnx"](request)
    except UnsupportedModelError as error:
        request.report(f"{error}; trying it")
        return BACKENDS["sentence-transformers"](request)


def _load_from_hub(request: Request, backend: str | None) -> Encoder:
    model_id, _, revision = request.target.partition("@")
    if not _HUB_ID.fullmatch(request.target):
        raise InputError(f"hub:{request.target} must be hub:ORG/MODEL or hub:ORG/MODEL@REVISION")
    directory = weights.fetch_from_hub(
        model_id,
        revision or None,
        report=request.report,
        allow_pickle=request.options.allow_pickle,
        code=request.options.trust_remote_code,
    )
    name = model_id.rpartition("/")[2]
    return _load_directory(replace(request, directory=directory, name=name), backend)


def _load_file(request: Request, backend: str | None) -> Encoder:
    _no_backend("file", backend)
    _require_adaptable(request, "file")
    from safe_embed.encoders.file_encoder import FileEncoder

    return FileEncoder(Path(request.target).expanduser())


def _load_api(request: Request, backend: str | None) -> Encoder:
    _no_backend("openai", backend)
    _require_adaptable(request, "openai")
    api = [row for row in catalogue.rows() if row.backend == "openai"]
    if request.options.base_url is None:  # elsewhere the same name may be another model
        row = next((row for row in api if row.model_id == request.target), None)
        request = replace(request, row=row, name=row.name if row else None)
    return BACKENDS["openai"](request)


def _no_backend(prefix: str, backend: str | None) -> None:
    if backend is not None:
        raise InputError(f"an encoder {prefix}:... takes no backend, got {backend!r}; leave it out")


PREFIXES: dict[str, Callable[[Request, str | None], Encoder]] = {
    "hub": _load_from_hub,
    "openai": _load_api,
    "file": _load_file,
}
"""What a name may begin with, and a colon."""
