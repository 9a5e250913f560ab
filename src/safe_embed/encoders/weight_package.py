"""What belongs into an encoder's directory: which files of its repositories are taken.

Taken are JSON, tokenizers and safetensors of a repository's top and of its module folders
(`1_Pooling` and the like); an ONNX graph only where there is no safetensors file; pickles and code
only when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from safe_embed.encoders.catalogue import PICKLE_FILE, EncoderRow, Repository, WheelSource
from safe_embed.errors import EncoderError

__all__ = ["Package", "hub_package", "row_package", "taken"]

_WEIGHTS = re.compile(r"(?:model|adapter_model)(?:-\d+-of-\d+)?\.safetensors")
_SETTINGS = re.compile(
    r"(?!pytorch_model|tf_model|flax_model|trainer_state|safe-embed)[\w.-]+\.json"
)
_TOKENIZER = re.compile(r"(?:vocab|merges)\.txt|[\w.-]+\.model")
_CODE = re.compile(r"\w+\.py")
_MODULE = re.compile(r"\d+_\w+")
_GRAPHS = ("model.onnx", "onnx/model.onnx")


@dataclass(frozen=True, kw_only=True)
class Package:
    """One encoder's directory in the cache, before or after it is filled.

    Args:
        name: for people.
        home: name of the directory in the cache.
        repositories: what it is made of; the first fills the directory, the others (adapters)
            `adapters/0`, `adapters/1`, ...
        files: all files with their SHA-256; empty where `taken` says which.
        pinned: SHA-256 of some files, where `files` is empty.
        pickle_sha256: of a pickle that may be read; None allows none, "" allows any.
        code: take Python files too.
        wheel: a package on PyPI that holds `files`.
        size_mb: download size; None where it is not known.
    """

    name: str
    home: str
    repositories: tuple[Repository, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    pinned: Mapping[str, str] = field(default_factory=dict)
    pickle_sha256: str | None = None
    code: bool = False
    wheel: WheelSource | None = None
    size_mb: int | None = None

    def folder(self, index: int) -> str:
        """Where the files of a repository are: "" or `adapters/<number>/`."""
        return "" if index == 0 else f"adapters/{index - 1}/"

    def digest(self, name: str) -> str | None:
        """The pinned SHA-256 of a file, or None."""
        if name == PICKLE_FILE and self.pickle_sha256:
            return self.pickle_sha256
        return self.files.get(name) or self.pinned.get(name)


def row_package(row: EncoderRow, *, allow_pickle: bool = False, code: bool = False) -> Package:
    """The directory of a catalogued encoder; that of its base where it has one."""
    return Package(
        name=row.base or row.name,
        home=row.base or row.name,
        repositories=row.repositories,
        files=row.files,
        pinned=row.pinned,
        pickle_sha256=row.pickle_sha256 or ("" if allow_pickle else None),
        code=code,
        wheel=row.wheel,
        size_mb=row.size_mb,
    )


def hub_package(
    repository: Repository, *, allow_pickle: bool = False, code: bool = False
) -> Package:
    """The directory of any model on the hub."""
    return Package(
        name=repository.model_id,
        home=f"{repository.model_id.replace('/', '--')}@{repository.revision[:12]}",
        repositories=(repository,),
        pickle_sha256="" if allow_pickle else None,
        code=code,
    )


def taken(origin: str, names: Iterable[str], *, pickle: bool, code: bool) -> list[str]:
    """The files that are taken of those there are, weights last.

    Args:
        origin: of the files, for messages.
        names: all files, relative, with forward slashes.
        pickle: take pickled weights where there are no others.
        code: take Python files.

    Raises:
        EncoderError: there are no weights, or only pickles and they are not wanted.
    """
    split = {name: name.rpartition("/") for name in names}
    near = {
        name: (folder, file)
        for name, (folder, _, file) in split.items()
        if not folder or _MODULE.fullmatch(folder)
    }
    small = [_SETTINGS, _TOKENIZER, *([_CODE] if code else [])]
    light = [
        name for name, (_, file) in near.items() if any(each.fullmatch(file) for each in small)
    ]
    heavy = [name for name, (_, file) in near.items() if _WEIGHTS.fullmatch(file)]
    with_weights = {near[name][0] for name in heavy}
    pickles = [
        name
        for name, (folder, file) in near.items()
        if file == PICKLE_FILE and folder not in with_weights
    ]
    if "" not in with_weights and (graph := next((g for g in _GRAPHS if g in split), None)):
        heavy += [name for name in (graph, f"{graph}_data") if name in split]
        pickles = []
    if pickles and not pickle:
        raise EncoderError(
            f"{origin} has only pickled weights ({', '.join(pickles)}), which can hold code; with "
            "--allow-pickle they are read in torch's weights_only mode and kept as safetensors"
        )
    if not heavy and not pickles:
        raise EncoderError(
            f"{origin} has no model.safetensors, {PICKLE_FILE} or model.onnx; is it a sentence "
            "encoder?"
        )
    return [*sorted(light), *sorted(heavy), *sorted(pickles)]
