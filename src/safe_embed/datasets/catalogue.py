"""The data sets that have a name: what they are, where they are, and how they are loaded.

The rows are in `catalogue.toml`.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from safe_embed.datasets.columns import Kind, Record
from safe_embed.datasets.download import Progress, download
from safe_embed.datasets.formats import Defect, RecordFile, load_records
from safe_embed.datasets.nested import CATEGORY_SEPARATOR
from safe_embed.errors import DataError, InputError, UnknownNameError
from safe_embed.files import data_dir, sha256_of
from safe_embed.records import Label, Prompt
from safe_embed.taxonomy import HARM_CATEGORIES

__all__ = ["DataSet", "datasheet", "fetch", "load", "locate", "row", "rows"]

_Hex40 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{40}$")]
_Hex64 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class DataSet(BaseModel):
    """One row of the catalogue."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    description: str
    kind: Kind | Literal["raw"]
    file: str
    """Name of the file in the data directory, or in the package where it is bundled."""
    license: str
    source: str
    bundled: bool = False
    datasheet: str | None = None
    """Name of a Markdown file beside it: how it was made, what for, what not for."""
    url: str | None = None
    commit: _Hex40 | None = None
    size_bytes: int | None = Field(default=None, gt=0)
    sha256: _Hex64 | None = None
    rows: int | None = Field(default=None, gt=0)
    allow: tuple[Defect, ...] = ()
    ignore: tuple[str, ...] = ()
    label: Label | None = None
    """That of all its prompts, where the file does not say."""
    categories: dict[str, str] = Field(default_factory=dict)
    """From the file's category, or the first name of its path, to ours; any other is left out."""
    test_set: bool = False
    """Is measured on, and never built, calibrated or trained with."""

    @property
    def fetchable(self) -> bool:
        """Whether `fetch` can bring it."""
        return self.url is not None

    @model_validator(mode="after")
    def _pinned(self) -> Self:
        pins = (self.commit, self.size_bytes, self.sha256)
        if self.url is not None and (None in pins or self.bundled):
            raise ValueError(
                "a row with a URL has commit, size_bytes and sha256, and is not bundled"
            )
        if unknown := set(self.categories.values()) - HARM_CATEGORIES.keys():
            raise ValueError(f"{min(unknown)!r} is no category of harm")
        return self


@cache
def rows() -> tuple[DataSet, ...]:
    """All data sets, in the order of the catalogue."""
    text = resources.files("safe_embed.datasets").joinpath("catalogue.toml").read_text("utf-8")
    return tuple(DataSet.model_validate(one) for one in tomllib.loads(text)["data_set"])


def row(name: str) -> DataSet:
    """The data set of that name.

    Raises:
        UnknownNameError: there is none.
    """
    known = {one.name: one for one in rows()}
    if name not in known:
        raise UnknownNameError("data set", name, known, remedy="`safe-embed data list` shows them")
    return known[name]


def locate(data_set: DataSet, directory: Path | None = None) -> Path | None:
    """Path of the data set's file where it is present; its content is not looked at.

    Args:
        data_set: a row of the catalogue.
        directory: looked at before the user's data directory.
    """
    if data_set.bundled:
        directories = [Path(str(resources.files("safe_embed.datasets")))]
    else:
        directories = [*([directory] if directory else []), data_dir()]
    candidates = (place / data_set.file for place in directories)
    return next((path for path in candidates if path.is_file()), None)


def datasheet(data_set: DataSet) -> str:
    """The data set's datasheet, in Markdown.

    Raises:
        InputError: it has none.
    """
    if data_set.datasheet is None:
        raise InputError(f"data set {data_set.name!r} has no datasheet")
    return (resources.files("safe_embed.datasets") / data_set.datasheet).read_text("utf-8")


def load(data_set: DataSet | str, directory: Path | None = None) -> RecordFile:
    """Reads a data set that is present. Nothing is fetched.

    Args:
        data_set: a row of the catalogue or its name.
        directory: looked at before the user's data directory.

    Raises:
        DataError: the file is absent, is not the one that was pinned, or has an unusable row.
        InputError: the data set holds no records.
        UnknownNameError: no data set has that name.
    """
    one = row(data_set) if isinstance(data_set, str) else data_set
    if one.kind == "raw":
        raise InputError(f"data set {one.name!r} holds raw text and no records; read {one.file}")
    path = locate(one, directory)
    if path is None:
        missing = (directory or data_dir()) / one.file
        raise DataError(missing, f"data set {one.name!r} is not there; {_how_to_get(one)}")
    if one.sha256 is not None and (found := sha256_of(path)) != one.sha256:
        raise DataError(
            path,
            f"is not the pinned file of data set {one.name!r}: its SHA-256 is {found}, must be "
            f"{one.sha256}; remove it and {_how_to_get(one)}",
        )
    file = load_records(path, one.kind, allow=one.allow, ignore=one.ignore)
    if one.label is None:
        return file
    return replace(file, records=tuple(_labelled(one, record) for record in file.records))


def fetch(
    data_set: DataSet | str,
    directory: Path | None = None,
    *,
    progress: Progress | None = None,
) -> Path:
    """Downloads the data set's file, unless the pinned file is there already.

    Args:
        data_set: a row of the catalogue or its name.
        directory: where to put it; the user's data directory where None.
        progress: is told the bytes that are there and their total.

    Returns:
        Path of the file.

    Raises:
        DownloadError: it could not be fetched, or what came is not the pinned file.
        InputError: this data set is not fetched: it is bundled, or has no pinned file.
        StorageError: the file could not be written.
        UnknownNameError: no data set has that name.
    """
    one = row(data_set) if isinstance(data_set, str) else data_set
    if one.url is None or one.sha256 is None:
        raise InputError(f"data set {one.name!r} is not fetched; {_how_to_get(one)}")
    target = (directory or data_dir()) / one.file
    return download(one.url, target, one.sha256, size=one.size_bytes, progress=progress)


def _labelled(data_set: DataSet, record: Record) -> Record:
    """A prompt with the label of its data set, and its category by our name."""
    if not isinstance(record, Prompt):
        return record
    category = record.category
    if data_set.categories and category is not None:
        names = (category, category.split(CATEGORY_SEPARATOR, maxsplit=1)[0])
        found = (data_set.categories.get(name) for name in names)
        category = next((name for name in found if name is not None), None)
    return record.model_copy(update={"label": data_set.label, "category": category})


def _how_to_get(data_set: DataSet) -> str:
    if data_set.bundled:
        return "it ships with safe-embed: install the package again if its file is missing"
    if data_set.fetchable:
        return f"fetch it with `safe-embed data fetch {data_set.name}`"
    return f"here is how to get it: {data_set.description}"
