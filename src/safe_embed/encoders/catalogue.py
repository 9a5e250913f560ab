"""The encoders that have a name: rows of `catalogue.toml`, read once and checked."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from safe_embed.errors import UnknownNameError

__all__ = [
    "DEFAULT_DETECTOR_ENCODER",
    "DEFAULT_ENCODER",
    "PICKLE_FILE",
    "TOKENIZER_FILE",
    "WEIGHTS_FILE",
    "EncoderRow",
    "Repository",
    "WheelSource",
    "find",
    "names",
    "parse",
    "row",
    "row_for_weights",
    "rows",
]

DEFAULT_ENCODER = "minilm"
"""What is measured where nothing else is named."""
DEFAULT_DETECTOR_ENCODER = "minilm-safety"
"""What a detector uses where nothing else is named; docs/safety-encoders.md shows why."""
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"
"""The one file of a row that holds its weights; its digest tells which encoder a directory is."""
PICKLE_FILE = "pytorch_model.bin"
_AVERAGE = "published_average_similarity"


def _stays_inside(name: str) -> str:
    """Refuses a file name that would be written outside the encoder's own directory."""
    path = PurePosixPath(name)
    if path.is_absolute() or "\\" in name or not path.parts or {"..", "."} & set(name.split("/")):
        raise ValueError(f"{name!r} must be a relative path with forward slashes and without dots")
    return name


FileName = Annotated[str, AfterValidator(_stays_inside)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
ModelId = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]


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


class Repository(BaseModel):
    """One repository of the model hub at one commit.

    Attributes:
        model_id: its name, `ORG/MODEL`.
        revision: the commit, 40 hex digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_id: ModelId
    revision: Commit


class EncoderRow(BaseModel):
    """One catalogued encoder; the head of `catalogue.toml` says more of each key.

    Attributes:
        name: what users type; also the directory in the cache, where there is no base.
        base: the row whose weights it shares; None for an encoder with weights of its own.
        adapter_files: the files of the adapter in the package, each with its SHA-256; it is merged
            into the weights of the base.
        model_id: repository on the model hub; of an API, the name of the model there.
        revision: commit of that repository, 40 hex digits; None for an API.
        backend: the engine that runs it.
        pooling: how token vectors become one.
        prompt: put before each text.
        adapters: LoRA adapters that are merged into the weights, in this order.
        dtype: number format that the model is run in.
        dimension: number of values in one embedding.
        max_tokens: a longer text is cut to this many tokens.
        parameters_million: 10^6 parameters; None where nobody publishes it.
        size_mb: download size in MB (10^6 bytes), 0 for an API.
        license: SPDX identifier of the weights' licence, or its name.
        gated: a licence must be accepted on the model's page, with a token of that account.
        own_code_before: a transformers before this version lacks the architecture and would have
            to run the repository's own code; None where every version that we allow has it.
        description: one line for the table of encoders.
        published_average_similarity: the paper's average similarity; None where it has none.
        files: the files that are taken, each with its SHA-256, and no others; the weights are
            among them. Empty where the hub is asked which files there are.
        pinned: SHA-256 of some files, where `files` is empty.
        pickle_sha256: of `pytorch_model.bin`, where there are no other weights.
        wheel: a PyPI package that holds the same files, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    base: str | None = None
    adapter_files: dict[FileName, Sha256] = {}
    model_id: str
    revision: Commit | None = None
    backend: Literal["onnx", "sentence-transformers", "llm2vec", "static", "openai"]
    pooling: Literal["mean", "cls", "pooler", "last"] | None = None
    prompt: str = ""
    adapters: tuple[Repository, ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"
    dimension: PositiveInt
    max_tokens: PositiveInt
    parameters_million: PositiveInt | None = None
    size_mb: NonNegativeInt
    license: str
    gated: bool = False
    own_code_before: Annotated[str, Field(pattern=r"^\d+\.\d+$")] | None = None
    description: str
    published_average_similarity: Annotated[float, Field(gt=-1, lt=1)] | None = None
    files: dict[FileName, Sha256] = {}
    pinned: dict[FileName, Sha256] = {}
    pickle_sha256: Sha256 | None = None
    wheel: WheelSource | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.files and WEIGHTS_FILE not in self.files:
            raise ValueError(f"files must list {WEIGHTS_FILE}")
        if self.files and (self.pinned or self.pickle_sha256 or self.adapters):
            raise ValueError("files lists all files, so there is no pinned, pickle or adapter")
        if self.wheel and not self.files:
            raise ValueError("a wheel needs files")
        if (self.backend == "openai") != (self.revision is None):
            raise ValueError("revision must be given, and not for an API")
        if self.backend == "onnx" and self.pooling in (None, "last"):
            raise ValueError("the onnx engine needs pooling: mean, cls or pooler")
        if self.adapters and self.backend != "llm2vec":
            raise ValueError("only llm2vec merges adapters")
        if (self.base is None) == bool(self.adapter_files):
            raise ValueError("base and adapter_files need each other")
        if self.base and (self.backend != "onnx" or self.published_average_similarity is not None):
            raise ValueError("an adapter is for the onnx engine, and has no published average")
        return self

    @property
    def repositories(self) -> tuple[Repository, ...]:
        """Where its files come from: the model's own, then the adapters'; none for an API."""
        if self.revision is None:
            return ()
        return (Repository(model_id=self.model_id, revision=self.revision), *self.adapters)

    def digest(self, name: str) -> str | None:
        """SHA-256 that the row pins for a file, or None."""
        return self.files.get(name) or self.pinned.get(name)


@cache
def rows() -> tuple[EncoderRow, ...]:
    """All catalogued encoders, in the order of the file."""
    return parse(files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8"))


def parse(text: str) -> tuple[EncoderRow, ...]:
    """The rows of a catalogue; one with a base has what it does not say itself from there.

    Only the published average is not handed on: the adapter changes every similarity.

    Args:
        text: of a TOML file like `catalogue.toml`.

    Raises:
        ValueError: a row is wrong, or its base is no other row with weights of its own.
    """
    tables = tomllib.loads(text)
    found = []
    for name, table in tables.items():
        inherited = tables.get(table["base"], {"base": None}) if "base" in table else {}
        if "base" in inherited:
            raise ValueError(f"{name}: {table['base']} is no row with weights of its own")
        whole = {key: inherited[key] for key in inherited if key != _AVERAGE} | table
        found.append(EncoderRow(name=name, **whole))
    return tuple(found)


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
    of the encoder that it holds. Weights alone have no adapter, so it is never a row with a base.
    """
    own = (each for each in rows() if each.base is None)
    return next((each for each in own if each.digest(WEIGHTS_FILE) == digest), None)
