"""A store's file as it is used by one process: its connection, its lock and its transactions."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from safe_embed.errors import StorageError
from safe_embed.stores import schema
from safe_embed.stores.checks import require_unicode
from safe_embed.stores.sqlite_rows import newest_version

__all__ = ["SqliteFile", "Version"]


@dataclass(slots=True)
class Version:
    """A version that is being written.

    Args:
        connection: in a write transaction.
        number: what it will be, one above the newest.
        n: number of exemplars that it changed; 0 means that it does not come to be.
        replaces_identity: whether all embeddings are replaced, which is a version for itself.
    """

    connection: sqlite3.Connection
    number: int
    n: int = 0
    replaces_identity: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether something changes."""
        return self.n > 0 or self.replaces_identity

    @property
    def newest(self) -> int:
        """The newest version after this one was written, or did not come to be."""
        return self.number if self.is_needed else self.number - 1


class SqliteFile:
    """One connection, shared by the threads of a process under a lock; a fork opens its own.

    Args:
        path: of the store.

    Raises:
        StorageError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._process = os.getpid()
        self._connection: sqlite3.Connection | None = schema.connect(path)
        self._of_parents: list[sqlite3.Connection] = []
        self._data_version = -1
        with schema.storage_errors(path):
            self.identity = schema.read_identity(self._connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Gives a connection on which all that is read is of one moment.

        Raises:
            StorageError: the file is closed, damaged, or was embedded anew meanwhile.
        """
        with self.lock, schema.storage_errors(self.path):
            connection = self._opened()
            connection.execute("BEGIN")
            try:
                self._require_identity(connection)
                yield connection
            finally:
                _roll_back(connection)

    def has_changed(self) -> bool:
        """Whether the file was changed since the last call, by whomever; takes microseconds."""
        with self.lock, schema.storage_errors(self.path):
            (seen,) = self._opened().execute("PRAGMA data_version").fetchone()
            changed = bool(seen != self._data_version)
            self._data_version = seen
            return changed

    def forget(self) -> None:
        """Makes the next `has_changed` say yes."""
        self._data_version = -1

    @contextmanager
    def writing(self, kind: str = "", note: str = "") -> Iterator[Version]:
        """Gives a version to write; what is left undone by an error is undone as a whole.

        Args:
            kind: of the change; "" for what has no version.
            note: for the history.

        Raises:
            StorageError: another writer holds the file, or it cannot be written.
        """
        require_unicode("the note", note)
        with self.lock, schema.storage_errors(self.path):
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._require_identity(connection)
                version = Version(connection, newest_version(connection)[0] + 1)
                yield version
                if kind and version.is_needed:
                    time = datetime.now(UTC).isoformat()
                    connection.execute(
                        "INSERT INTO versions VALUES (?, ?, ?, ?, ?)",
                        (version.number, time, kind, version.n, note),
                    )
                if not kind or version.is_needed:
                    connection.execute("COMMIT")
                    self.forget()
                if version.replaces_identity:
                    self.identity = schema.read_identity(connection)
            finally:
                _roll_back(connection)

    def close(self) -> None:
        """Gives the file back."""
        with self.lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StorageError(f"the store {self.path} was closed; open it again")
        if self._process != os.getpid():
            # Closing the parent's connection here would touch its locks, so it is only kept.
            self._of_parents.append(self._connection)
            self._connection = schema.connect(self.path)
            self._process, self._data_version = os.getpid(), -1
        return self._connection

    def _require_identity(self, connection: sqlite3.Connection) -> None:
        if schema.read_identity(connection) != self.identity:
            raise StorageError(
                f"the store {self.path} was embedded anew by another process; open it again"
            )


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
