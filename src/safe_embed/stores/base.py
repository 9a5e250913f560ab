"""The contract that each exemplar store keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from safe_embed.records import Label

__all__ = [
    "Change",
    "Diff",
    "Exemplar",
    "ExemplarStore",
    "Filter",
    "KeptInFile",
    "Neighbors",
    "StoreStats",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """A labelled prompt in the index.

    Args:
        id: unique in a store; `content_id` makes one of text and label where the user gives none.
        text: the prompt.
        label: "unsafe" or "safe".
        category: category of harm of an unsafe prompt; None where it is not known.
        source: where it came from, such as the file or data set; "" where it is not told.
        tenant: whose it is, where one store serves many; "" for everybody's.
        muted: kept, and told in lists, but never found by a search.
    """

    id: str
    text: str
    label: Label
    category: str | None = None
    source: str = ""
    tenant: str = ""
    muted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which exemplars a search may find; None means any.

    Args:
        categories: at least one of these categories of harm.
        sources: of one of these sources.
        tenants: of one of these tenants.
    """

    categories: frozenset[str] | None = None
    sources: frozenset[str] | None = None
    tenants: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Neighbors:
    """The exemplars nearest to each query, nearest first, equal ones in the order of their ids.

    Args:
        exemplars: for each query up to k of them, as many as there are.
        similarities: cosines with them, float32 of shape (n, k); where fewer were found the rest of
            a row is -inf.
    """

    exemplars: tuple[tuple[Exemplar, ...], ...]
    similarities: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One version of a store: what a call changed."""

    version: int
    time: datetime
    """In UTC."""
    kind: str
    """`add`, `remove`, `mute`, `unmute`, `revert` or `reembed`."""
    n: int
    """Number of exemplars that it changed."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Diff:
    """What became of the exemplars between two versions."""

    added: tuple[Exemplar, ...]
    removed: tuple[Exemplar, ...]
    changed: tuple[tuple[Exemplar, Exemplar], ...]
    """Before and after, of one id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """What is in a store."""

    version: int
    n_unsafe: int
    n_safe: int
    n_muted: int
    by_category: dict[str, int]
    by_source: dict[str, int]
    fingerprint: str
    dimension: int


@runtime_checkable
class KeptInFile(Protocol):
    """A store that a command can name."""

    @property
    def path(self) -> Path:
        """The file."""
        ...


@runtime_checkable
class ExemplarStore(Protocol):
    """Keeps exemplars with their embeddings, finds the nearest, and knows its past.

    Thread-safe. An exemplar's row is one vector of length 1, float32, made by the encoder with the
    store's `fingerprint`. Every change that changes something is a new version, numbered from 1; a
    change that finds nothing to do makes none and returns the present version.
    """

    @property
    def fingerprint(self) -> str:
        """Of the encoder whose embeddings it holds."""
        ...

    @property
    def dimension(self) -> int:
        """Number of values in one embedding."""
        ...

    @property
    def version(self) -> int:
        """The present version, changes of other processes included; 0 of an empty new store."""
        ...

    def add(
        self, exemplars: Sequence[Exemplar], embeddings: NDArray[np.float32], *, note: str = ""
    ) -> int:
        """Adds exemplars, all or none; one that is there already in the same form changes nothing.

        An id that is there with another text, label, category, source or tenant is replaced.

        Args:
            exemplars: no id twice.
            embeddings: shape (n, d), rows of length 1, in the same order.
            note: for the history.

        Returns:
            The version in which they are all present.

        Raises:
            InputError: shapes that do not fit, rows that are not finite or not of length 1, an id
                twice.
            StorageError: another writer holds the store, or it cannot be written.
        """
        ...

    def remove(self, ids: Sequence[str], *, note: str = "") -> int:
        """Removes exemplars, all or none.

        Raises:
            UnknownNameError: no exemplar has one of these ids.
        """
        ...

    def mute(self, ids: Sequence[str], *, muted: bool = True, note: str = "") -> int:
        """Hides exemplars from searches, or with `muted=False` shows them again.

        Raises:
            UnknownNameError: no exemplar has one of these ids.
        """
        ...

    def exemplars(
        self,
        *,
        version: int | None = None,
        label: Label | None = None,
        only: Filter | None = None,
    ) -> list[Exemplar]:
        """All exemplars, muted ones too, in the order of their ids.

        Raises:
            InputError: there is no such version.
        """
        ...

    def embeddings(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The present embeddings of some exemplars, shape (n, d).

        Raises:
            UnknownNameError: no exemplar has one of these ids.
        """
        ...

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        label: Label,
        only: Filter | None = None,
        exact: bool = False,
    ) -> Neighbors:
        """The k nearest exemplars of one label that are not muted.

        Args:
            queries: shape (n, d), rows of length 1.
            k: 1 or more.
            label: of the exemplars.
            only: which of them.
            exact: no approximate index; without it recall is at least 0.999 of the true neighbours.
        """
        ...

    def history(self) -> list[Change]:
        """All versions, oldest first."""
        ...

    def diff(self, old: int, new: int) -> Diff:
        """What changed from one version to another.

        Raises:
            InputError: there is no such version.
        """
        ...

    def revert(self, version: int, *, note: str = "") -> int:
        """Makes the exemplars those of an earlier version, as a new version.

        Raises:
            InputError: there is no such version.
        """
        ...

    def stats(self) -> StoreStats:
        """Counts of the present version."""
        ...

    def get_documents(self, keys: Sequence[str]) -> dict[str, str]:
        """Texts that were kept under keys, such as a calibration, all as they were at one moment.

        Returns:
            The text of each key that has one.
        """
        ...

    def set_documents(self, documents: Mapping[str, str]) -> None:
        """Keeps texts beside the exemplars, all or none; they have no versions.

        Args:
            documents: text of each key; other keys keep theirs.

        Raises:
            InputError: a text is no valid Unicode.
            StorageError: another writer holds the store, or it cannot be written.
        """
        ...

    def close(self) -> None:
        """Gives files back; the store cannot be used afterwards."""
        ...
