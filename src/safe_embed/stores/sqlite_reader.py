"""What reads a store's file: searches, lists, versions and counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safe_embed.records import Label
from safe_embed.stores import schema
from safe_embed.stores.answers import to_neighbors
from safe_embed.stores.base import Change, Diff, Exemplar, Filter, Neighbors, StoreStats
from safe_embed.stores.candidates import Hits
from safe_embed.stores.checks import checked_queries, require_version
from safe_embed.stores.row_data import DamagedBlockError
from safe_embed.stores.sqlite_file import SqliteFile
from safe_embed.stores.sqlite_index import SearchIndexes
from safe_embed.stores.sqlite_rows import (
    count_rows,
    exemplars_by_number,
    newest_version,
    read_documents,
    required_rows,
    select_exemplars,
    select_vectors,
)
from safe_embed.stores.sqlite_versions import difference

__all__ = ["SqliteReader"]

_EXEMPLARS_KEPT = 20_000  # some hundred bytes each


class SqliteReader:
    """The part of `SqliteStore` that changes nothing.

    Args:
        file: the opened file.
        report: told in a line what the user may want to know; a log warning where it is None.
    """

    def __init__(self, file: SqliteFile, report: Callable[[str], None] | None = None) -> None:
        self._file = file
        self._indexes = SearchIndexes(file.path, report or logging.getLogger(__name__).warning)
        self._found: dict[int, Exemplar] = {}

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def fingerprint(self) -> str:
        """Of the encoder whose embeddings it holds."""
        return self._file.identity.fingerprint

    @property
    def dimension(self) -> int:
        """Number of values in one embedding."""
        return self._file.identity.dimension

    @property
    def version(self) -> int:
        """The present version, changes of other processes included; 0 of an empty new store."""
        with self._file.reading() as connection:
            return newest_version(connection)[0]

    def exemplars(
        self,
        *,
        version: int | None = None,
        label: Label | None = None,
        only: Filter | None = None,
    ) -> list[Exemplar]:
        """See `ExemplarStore.exemplars`."""
        with self._file.reading() as connection:
            if version is not None:
                require_version(version, newest_version(connection)[0])
            return select_exemplars(connection, version, label, only)

    def embeddings(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """See `ExemplarStore.embeddings`."""
        with self._file.reading() as connection:
            rows = required_rows(connection, ids)
            vectors = select_vectors(connection, {row.vector for row in rows})
        if vectors is None:
            raise schema.damaged(self.path, "a vector is not what was written")
        joined = b"".join([vectors[row.vector] for row in rows])
        stacked = np.frombuffer(joined, "<f4").reshape(len(ids), self.dimension)
        return stacked.astype(np.float32)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        label: Label,
        only: Filter | None = None,
        exact: bool = False,
    ) -> Neighbors:
        """See `ExemplarStore.search`."""
        queries = checked_queries(queries, self.dimension, k)
        try:
            hits = self._nearest(queries, k, label, only, exact=exact)
        except DamagedBlockError:
            with self._file.lock:
                self._indexes.discard()
                self._file.forget()
            hits = self._nearest(queries, k, label, only, exact=exact)
        return to_neighbors(hits, self._exemplars(hits, label), k)

    def history(self) -> list[Change]:
        """See `ExemplarStore.history`."""
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT version, time, kind, n, note FROM versions ORDER BY version"
            ).fetchall()
        try:
            return [
                Change(version=number, time=datetime.fromisoformat(time), kind=kind, n=n, note=note)
                for number, time, kind, n, note in rows
            ]
        except (TypeError, ValueError) as error:
            raise schema.damaged(self.path, f"its history: {error}") from error

    def diff(self, old: int, new: int) -> Diff:
        """See `ExemplarStore.diff`."""
        with self._file.reading() as connection:
            newest, _ = newest_version(connection)
            require_version(old, newest)
            require_version(new, newest)
            return difference(connection, old, new)

    def stats(self) -> StoreStats:
        """See `ExemplarStore.stats`."""
        with self._file.reading() as connection:
            labels = count_rows(connection, "label")
            return StoreStats(
                version=newest_version(connection)[0],
                n_unsafe=labels.get("unsafe", 0),
                n_safe=labels.get("safe", 0),
                n_muted=sum(count_rows(connection, "muted").values()),
                by_category=count_rows(connection, "category"),
                by_source=count_rows(connection, "source"),
                fingerprint=self.fingerprint,
                dimension=self.dimension,
            )

    def get_documents(self, keys: Sequence[str]) -> dict[str, str]:
        """See `ExemplarStore.get_documents`."""
        with self._file.reading() as connection:
            return read_documents(connection, keys)

    def canaries(self) -> tuple[list[str], NDArray[np.float32]]:
        """Texts and their embeddings as the encoder made them when the store was made.

        Returns:
            n texts and float32 of shape (n, d); n = 0 where none were kept.
        """
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT text, vector FROM canaries ORDER BY position"
            ).fetchall()
        joined = b"".join([vector for _, vector in rows])
        vectors = np.frombuffer(joined, "<f4").reshape(len(rows), self.dimension)
        return [text for text, _ in rows], vectors.astype(np.float32)

    def close(self) -> None:
        """See `ExemplarStore.close`."""
        self._file.close()

    def _nearest(
        self,
        queries: NDArray[np.float32],
        k: int,
        label: Label,
        only: Filter | None,
        *,
        exact: bool,
    ) -> list[Hits]:
        with self._file.lock:
            if self._file.has_changed():
                try:
                    with self._file.reading() as connection:
                        self._indexes.update(connection, self._file.identity)
                except BaseException:
                    self._file.forget()
                    raise
            index, names = self._indexes.of(label)
        return index.search(queries, k, names=names, only=only, exact=exact)

    def _exemplars(self, hits: Sequence[Hits], label: Label) -> Mapping[int, Exemplar]:
        """The exemplars of what was found and others, which never change and so are kept."""
        known = self._found  # another thread may replace it meanwhile
        found = [row for one in hits for row in one.row.tolist()]
        missing = {row for row in found if row not in known}
        if missing:
            if len(known) > _EXEMPLARS_KEPT:
                known, missing = {}, set(found)
            elif known:
                missing.update(row for row in self._ahead(label) if row not in known)
            with self._file.reading() as connection:
                known |= exemplars_by_number(connection, missing)
            if not all(row in known for row in missing):
                raise schema.damaged(self.path, "an exemplar that was there is missing")
            self._found = known
        return known

    def _ahead(self, label: Label) -> list[int]:
        """All rows of a small label: who searches a second time will search for many prompts."""
        index, _ = self._indexes.of(label)
        rows: list[int] = [] if len(index.base.numbers) else index.tail.numbers.tolist()
        return rows
