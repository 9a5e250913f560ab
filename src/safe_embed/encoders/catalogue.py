"""The encoders that have a name: rows of `catalogue.toml`, read once and checked."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, model_validator

from safe_embed.errors import UnknownNameError

__all__ = [
    "DEFAULT_ENCODER",
    "TOKENIZER_FILE",
    "WEIGHTS_FILE",
    "EncoderRow",
    "WheelSource",
    "find",
    "names",
    "row",
    "row_for_weights",
    "rows",
]

DEFAULT_ENCODER = "minilm"
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"
"""The one file of a row that holds its weights; its digest tells which encoder a directory is."""


def _stays_inside(name: str) -> str:
    """Refuses a file name that would be written outside the encoder's own directory."""
    path = PurePosixPath(name)
    if path.is_absolute() or "\\" in name or not path.parts or {"..", "."} & set(name.split("/")):
        raise ValueError(f"{name!r} must be a relative path with forward slashes and without dots")
    return name


FileName = Annotated[str, AfterValidator(_stays_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class WheelSource(BaseModel):
    """A PyPI package whose wheel holds the files of an encoder.

    Attributes:
        package: name of the package.
        version: its exact version.
        path: directory inside the wheel that holds the files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]*$")]
    path: FileName


class EncoderRow(BaseModel):
    """One catalogued encoder.

    Attributes:
        name: what users type; also the directory in the cache.
        model_id: repository on the model hub.
        revision: commit of that repository, 40 hex digits.
        backend: the engine that runs it.
        pooling: how token vectors become one; what the model's own files say is not asked.
        dimension: number of values in one embedding.
        max_tokens: a longer text is cut to this many tokens.
        size_mb: download size in MB (10^6 bytes).
        license: SPDX identifier of the weights' licence.
        description: one line for the table of encoders.
        published_average_similarity: the paper's average similarity; None where it has none.
        files: the files that are taken, each with its SHA-256; the weights are among them.
        wheel: a PyPI package that holds the same files, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    model_id: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    backend: Literal["onnx", "sentence-transformers"]
    pooling: Literal["mean", "cls", "pooler"]
    dimension: PositiveInt
    max_tokens: PositiveInt
    size_mb: PositiveInt
    license: str
    description: str
    published_average_similarity: Annotated[float, Field(gt=-1, lt=1)] | None = None
    files: dict[FileName, Sha256]
    wheel: WheelSource | None = None

    @model_validator(mode="after")
    def _holds_weights(self) -> Self:
        if WEIGHTS_FILE not in self.files:
            raise ValueError(f"files must list {WEIGHTS_FILE}")
        return self


@cache
def rows() -> tuple[EncoderRow, ...]:
    """All catalogued encoders, in the order of the file."""
    text = files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
    return tuple(EncoderRow(name=name, **table) for name, table in tomllib.loads(text).items())


def names() -> tuple[str, ...]:
    """Names of all catalogued encoders, in the order of the file."""
    return tuple(each.name for each in rows())


def find(name: str) -> EncoderRow | None:
    """The encoder of that name, or None."""
    return next((each for each in rows() if each.name == name), None)


def row(name: str) -> EncoderRow:
    """The encoder of that name.

    Raises:
        UnknownNameError: there is none; the message suggests the nearest names.
    """
    found = find(name)
    if found is None:
        raise UnknownNameError("encoder", name, names())
    return found


def row_for_weights(digest: str) -> EncoderRow | None:
    """The catalogued encoder whose weights have this SHA-256, or None.

    A directory of any name is recognised by it, so that it gets the published average similarity
    of the encoder that it holds.
    """
    return next((each for each in rows() if each.files[WEIGHTS_FILE] == digest), None)
