"""Options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from safe_embed.datasets import Kind

__all__ = [
    "AllowPickleOption",
    "BackendOption",
    "BaseUrlOption",
    "BatchSizeOption",
    "ColumnOption",
    "DataDirOption",
    "DetectorEncoderOption",
    "DetectorStoreOption",
    "DeviceOption",
    "JsonOption",
    "NoCacheOption",
    "NoteOption",
    "SafeLabelOption",
    "SeedOption",
    "StoreOption",
    "TrustRemoteCodeOption",
    "UnsafeLabelOption",
    "kind_of",
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
StoreOption: TypeAlias = Annotated[
    Path,
    typer.Option(help="File of the index.", metavar="PATH", show_default=False, readable=False),
]
DetectorStoreOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="File of an index of your own; by default that of safe-embed-core for the encoder, "
        "which is built the first time and kept in the cache.",
        metavar="PATH",
        show_default=False,
        readable=False,  # the store says it in one line
    ),
]
DetectorEncoderOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        help="Name in the catalogue, or a directory; by default the encoder that the index was "
        "built with, or else minilm-safety.",
        show_default=False,
    ),
]
NoteOption: TypeAlias = Annotated[str, typer.Option("--note", help="Why, for the history.")]
ColumnOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        help="Column of the file that holds a field, such as text=question. Repeat for several.",
        metavar="FIELD=NAME",
        show_default=False,
    ),
]
UnsafeLabelOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="Value of the label that means unsafe. Repeat for several.",
        metavar="VALUE",
        show_default=False,
    ),
]
SafeLabelOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="Value of the label that means safe. Repeat for several.",
        metavar="VALUE",
        show_default=False,
    ),
]


def kind_of(option: str | None) -> Kind | None:
    """The kind of records that an option names.

    Raises:
        UnknownNameError: there is none of that name.
    """
    from safe_embed.datasets import KINDS
    from safe_embed.errors import UnknownNameError

    if option is None:
        return None
    kinds = {one.replace(" ", "-"): one for one in KINDS}
    if option not in kinds:
        raise UnknownNameError("kind of records", option, kinds)
    return kinds[option]
