"""A store in the memory of one process, for tests and notebooks; what it holds ends with it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from safe_embed.records import Label
from safe_embed.stores.answers import counts, matches, to_neighbors
from safe_embed.stores.base import Change, Diff, Exemplar, Filter, Neighbors, StoreStats
from safe_embed.stores.candidates import exact_rows, nearest
from safe_embed.stores.checks import (
    checked_documents,
    checked_embeddings,
    checked_queries,
    checked_rows,
    require_distinct,
    require_version,
    unknown_exemplar,
)

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Row:
    exemplar: Exemplar
    embedding: NDArray[np.float32]
    valid_from: int
    valid_to: int | None = None

    def is_valid(self, version: int) -> bool:
        return self.valid_from <= version and (self.valid_to is None or version < self.valid_to)


class MemoryStore:
    """Keeps the contract of `ExemplarStore` with a list of rows and plain products.

    Args:
        fingerprint: of the encoder whose embeddings it will hold.
        dimension: number of values in one embedding.

    Example:
        >>> import numpy as np
        >>> from safe_embed.stores.base import Exemplar
        >>> store = MemoryStore(fingerprint="0" * 64, dimension=2)
        >>> store.add([Exemplar(id="a", text="a prompt", label="safe")], np.eye(2)[:1])
        1
        >>> store.search(np.eye(2)[:1], 1, label="safe").exemplars[0][0].text
        'a prompt'
    """

    def __init__(self, fingerprint: str, dimension: int) -> None:
        self._fingerprint = fingerprint
        self._dimension = dimension
        self._lock = threading.RLock()
        self._rows: list[_Row] = []
        self._live: dict[str, _Row] = {}
        self._changes: list[Change] = []
        self._documents: dict[str, str] = {}
        self._matrices: dict[Label, tuple[list[Exemplar], NDArray[np.float32]]] = {}

    @property
    def fingerprint(self) -> str:
        """Of the encoder whose embeddings it holds."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Number of values in one embedding."""
        return self._dimension

    @property
    def version(self) -> int:
        """The present version; 0 of an empty new store."""
        return len(self._changes)

    def add(
        self, exemplars: Sequence[Exemplar], embeddings: NDArray[np.float32], *, note: str = ""
    ) -> int:
        """See `ExemplarStore.add`."""
        rows = checked_rows(exemplars, embeddings, self._dimension)
        with self._lock:
            new = []
            for exemplar, row in zip(exemplars, rows, strict=True):
                present = self._live.get(exemplar.id)
                if present is None or present.exemplar != replace(
                    exemplar, muted=present.exemplar.muted
                ):
                    new.append((exemplar, row.copy()))
            return self._change("add", [one.id for one, _ in new], new, note)

    def remove(self, ids: Sequence[str], *, note: str = "") -> int:
        """See `ExemplarStore.remove`."""
        with self._lock:
            self._known(ids)
            return self._change("remove", ids, [], note)

    def mute(self, ids: Sequence[str], *, muted: bool = True, note: str = "") -> int:
        """See `ExemplarStore.mute`."""
        with self._lock:
            rows = [row for row in self._known(ids) if row.exemplar.muted != muted]
            new = [(replace(row.exemplar, muted=muted), row.embedding) for row in rows]
            kind = "mute" if muted else "unmute"
            return self._change(kind, [one.id for one, _ in new], new, note)

    def exemplars(
        self,
        *,
        version: int | None = None,
        label: Label | None = None,
        only: Filter | None = None,
    ) -> list[Exemplar]:
        """See `ExemplarStore.exemplars`."""
        with self._lock:
            at = self.version if version is None else version
            require_version(at, self.version)
            found = [row.exemplar for row in self._rows if row.is_valid(at)]
        return sorted(
            (
                one
                for one in found
                if (label is None or one.label == label) and (only is None or matches(only, one))
            ),
            key=lambda one: one.id,
        )

    def embeddings(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """See `ExemplarStore.embeddings`."""
        with self._lock:
            rows = self._known(ids, distinct=False)
            return _stacked([row.embedding for row in rows], self._dimension)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        label: Label,
        only: Filter | None = None,
        exact: bool = False,  # noqa: ARG002 - it always is
    ) -> Neighbors:
        """See `ExemplarStore.search`; always exact."""
        queries = checked_queries(queries, self._dimension, k)
        with self._lock:
            exemplars, matrix = self._matrix(label)
        allowed = None
        if only is not None:
            allowed = np.fromiter((matches(only, one) for one in exemplars), np.bool_)
        hits = [
            nearest(query, matrix[rows], rows, k)
            for query, rows in zip(queries, exact_rows(queries, matrix, k, allowed), strict=True)
        ]
        return to_neighbors(hits, exemplars, k)

    def history(self) -> list[Change]:
        """See `ExemplarStore.history`."""
        with self._lock:
            return list(self._changes)

    def diff(self, old: int, new: int) -> Diff:
        """See `ExemplarStore.diff`."""
        before = {one.id: one for one in self.exemplars(version=old)}
        after = {one.id: one for one in self.exemplars(version=new)}
        return Diff(
            added=tuple(one for id_, one in after.items() if id_ not in before),
            removed=tuple(one for id_, one in before.items() if id_ not in after),
            changed=tuple(
                (before[id_], one)
                for id_, one in after.items()
                if id_ in before and before[id_] != one
            ),
        )

    def revert(self, version: int, *, note: str = "") -> int:
        """See `ExemplarStore.revert`."""
        with self._lock:
            require_version(version, self.version)
            target = {row.exemplar.id: row for row in self._rows if row.is_valid(version)}
            gone = [id_ for id_ in self._live if id_ not in target]
            new = [
                (row.exemplar, row.embedding)
                for id_, row in target.items()
                if id_ not in self._live or not _same(self._live[id_], row)
            ]
            return self._change("revert", gone + [one.id for one, _ in new], new, note)

    def reembed(
        self,
        fingerprint: str,
        embed: Callable[[Sequence[str]], NDArray[np.float32]],
        *,
        dimension: int,
        note: str = "",
    ) -> int:
        """Replaces all embeddings, those of earlier versions too, by another encoder's.

        Args:
            fingerprint: of the encoder that `embed` asks.
            embed: from n texts to an array of shape (n, dimension), rows of length 1.
            dimension: number of values in one embedding from now on.
            note: for the history.

        Returns:
            The new version.

        Raises:
            InputError: what `embed` returned cannot be embeddings; nothing is changed.
        """
        with self._lock:
            texts = list(dict.fromkeys(row.exemplar.text for row in self._rows))
            embedded = embed(texts) if texts else np.empty((0, dimension))
            rows = checked_embeddings(embedded, len(texts), dimension)
            of_text = dict(zip(texts, rows, strict=True))
            for row in self._rows:
                row.embedding = of_text[row.exemplar.text]
            self._fingerprint, self._dimension = fingerprint, dimension
            self._record("reembed", len(self._live), note)
            return self.version

    def stats(self) -> StoreStats:
        """See `ExemplarStore.stats`."""
        with self._lock:
            present = [row.exemplar for row in self._live.values()]
            labels = Counter(one.label for one in present)
            return StoreStats(
                version=self.version,
                n_unsafe=labels["unsafe"],
                n_safe=labels["safe"],
                n_muted=sum(one.muted for one in present),
                by_category=counts(one.category for one in present),
                by_source=counts(one.source for one in present),
                fingerprint=self._fingerprint,
                dimension=self._dimension,
            )

    def get_documents(self, keys: Sequence[str]) -> dict[str, str]:
        """See `ExemplarStore.get_documents`."""
        with self._lock:
            return {key: self._documents[key] for key in keys if key in self._documents}

    def set_documents(self, documents: Mapping[str, str]) -> None:
        """See `ExemplarStore.set_documents`."""
        with self._lock:
            self._documents |= checked_documents(documents)

    def close(self) -> None:
        """Has no file to give back."""

    def _known(self, ids: Sequence[str], *, distinct: bool = True) -> list[_Row]:
        if distinct:
            require_distinct(ids)
        for id_ in ids:
            if id_ not in self._live:
                raise unknown_exemplar(id_, self._live)
        return [self._live[id_] for id_ in ids]

    def _change(
        self,
        kind: str,
        closed: Sequence[str],
        opened: Sequence[tuple[Exemplar, NDArray[np.float32]]],
        note: str,
    ) -> int:
        """Ends rows and starts others, as one version; none where there is nothing to do."""
        if not closed and not opened:
            return self.version
        version = self.version + 1
        for id_ in closed:
            if (row := self._live.pop(id_, None)) is not None:
                row.valid_to = version
        for exemplar, embedding in opened:
            row = _Row(exemplar, embedding, version)
            self._live[exemplar.id] = row
            self._rows.append(row)
        self._record(kind, len(closed), note)
        return version

    def _record(self, kind: str, n: int, note: str) -> None:
        now = datetime.now(UTC)
        self._matrices.clear()
        self._changes.append(Change(version=self.version + 1, time=now, kind=kind, n=n, note=note))

    def _matrix(self, label: Label) -> tuple[list[Exemplar], NDArray[np.float32]]:
        """What a search of one label may find, made anew after each change."""
        if label not in self._matrices:
            found = [
                row
                for row in self._live.values()
                if row.exemplar.label == label and not row.exemplar.muted
            ]
            self._matrices[label] = (
                [row.exemplar for row in found],
                _stacked([row.embedding for row in found], self._dimension),
            )
        return self._matrices[label]


def _same(one: _Row, other: _Row) -> bool:
    return one.exemplar == other.exemplar and np.array_equal(one.embedding, other.embedding)


def _stacked(rows: Sequence[NDArray[np.float32]], dimension: int) -> NDArray[np.float32]:
    return np.stack(rows) if rows else np.empty((0, dimension), dtype=np.float32)
