"""Options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "AllowPickleOption",
    "BackendOption",
    "BaseUrlOption",
    "BatchSizeOption",
    "DataDirOption",
    "DeviceOption",
    "JsonOption",
    "NoCacheOption",
    "SeedOption",
    "TrustRemoteCodeOption",
]


class Backend(StrEnum):
    """Names of the backends that a person can ask for."""

    ONNX = "onnx"
    ONNX_EXPORT = "onnx-export"
    STATIC = "static"
    SENTENCE_TRANSFORMERS = "sentence-transformers"


DataDirOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Directory of data set files, in place of the user's data directory.",
        show_default=False,
    ),
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
SeedOption: TypeAlias = Annotated[int, typer.Option(help="Seed of the bootstrap intervals.", min=0)]
NoCacheOption: TypeAlias = Annotated[
    bool, typer.Option("--no-cache", help="Neither read nor write the embedding cache.")
]
BatchSizeOption: TypeAlias = Annotated[
    int | None,
    typer.Option(help="Most texts in one batch; the backend chooses by default.", min=1),
]
DeviceOption: TypeAlias = Annotated[str, typer.Option(help="cpu or cuda.")]
BackendOption: TypeAlias = Annotated[
    Backend | None,
    typer.Option(help="Backend to use in place of the encoder's own.", show_default=False),
]
BaseUrlOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Address of an OpenAI-compatible API for openai:MODEL, without /embeddings; "
        "OpenAI's by default.",
        show_default=False,
    ),
]
TrustRemoteCodeOption: TypeAlias = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that comes with a hub model."),
]
AllowPickleOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Read pickled weights that the catalogue does not pin, where there are no others.",
    ),
]
