"""How data sets of the hub are named, and which of their files make which split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from pydantic import BaseModel, ConfigDict

from safe_embed.errors import InputError

__all__ = ["HUB_PREFIX", "HubFile", "HubListing", "HubName", "choose_split"]

HUB_PREFIX: Final = "hub:"

_NAME: Final = re.compile(
    r"hub:(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>[^:]+))?(:((?P<config>[^:]+)/)?(?P<split>[^:/]+))?"
)
_SHARD: Final = re.compile(r"(?P<split>.+?)-[0-9]{5}-of-[0-9]{5}(-[0-9a-f]+)?")


@dataclass(frozen=True, slots=True)
class HubName:
    """What `hub:ORG/NAME[@REVISION][:[CONFIG/]SPLIT]` says; None for what it leaves open."""

    repository: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubName:
        """Reads such a name.

        Raises:
            InputError: it is none.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise InputError(
                f"{text!r} names no data set of the hub; it must be "
                "hub:ORG/NAME[@REVISION][:[CONFIG/]SPLIT], such as hub:ORG/NAME:test"
            )
        return cls(match["id"], match["revision"], match["config"], match["split"])


class HubFile(BaseModel):
    """A file of a repository; what the hub does not state of it is None."""

    model_config = ConfigDict(frozen=True)

    path: str
    sha256: str | None
    size: int | None


class HubListing(BaseModel):
    """The Parquet files of a repository at one commit."""

    model_config = ConfigDict(frozen=True)

    commit: str
    files: tuple[HubFile, ...]

    def splits(self) -> dict[tuple[str, str], list[HubFile]]:
        """The files of each configuration and split, in their order."""
        found: dict[tuple[str, str], list[HubFile]] = {}
        for file in sorted(self.files, key=lambda one: one.path):
            found.setdefault(_config_and_split(file.path), []).append(file)
        return found


def choose_split(name: HubName, listing: HubListing) -> tuple[str, str, list[HubFile]]:
    """The configuration and split that a name means, and its files.

    Raises:
        InputError: the data set has no such split, or several to choose from.
    """
    splits = listing.splits()
    fitting = [
        (config, split)
        for config, split in splits
        if name.config in (None, config) and name.split in (None, split)
    ]
    if len(fitting) != 1:
        shown = [f"{config}/{split}" for config, split in fitting or splits]
        choice = ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "")
        wanted = "/".join(filter(None, (name.config, name.split)))
        problem = "has several splits" if fitting else f"has no split {wanted!r}"
        raise InputError(
            f"data set {name.repository} {problem}: name one, as in "
            f"{HUB_PREFIX}{name.repository}:{shown[0]} (it has {choice})"
        )
    return *fitting[0], splits[fitting[0]]


def _config_and_split(path: str) -> tuple[str, str]:
    """`CONFIG/SPLIT/0000.parquet` as the hub converts; else `FOLDER/SPLIT-00000-of-00001.parquet`.

    A folder `data`, and none, is the configuration `default`.
    """
    *folders, name = PurePosixPath(path).with_suffix("").parts
    if len(folders) == 2 and name.isdecimal():
        return folders[0], folders[1]
    match = _SHARD.fullmatch(name)
    config = "/".join(folders)
    return "default" if config in ("", "data") else config, match["split"] if match else name
