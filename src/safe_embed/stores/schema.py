"""The SQLite file of a store: its tables, how it is made and opened, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import StorageError

__all__ = [
    "Identity",
    "connect",
    "create",
    "damaged",
    "read_identity",
    "storage_errors",
    "write_identity",
]

APPLICATION_ID = 0x53454D42  # "SEMB", so that another program's database is not taken for a store
SCHEMA_VERSION = 1
_BUSY_TIMEOUT_S = 5.0
# A row holds from version `valid_from` up to, and not with, `valid_to`; NULL is "still". Rows are
# never deleted, so a version is an interval test and a diff reads two indexes.
_SCHEMA = """
CREATE TABLE store (key TEXT NOT NULL, fingerprint TEXT NOT NULL, dimension INTEGER NOT NULL);
CREATE TABLE versions (
    version INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, n INTEGER NOT NULL,
    note TEXT NOT NULL
);
CREATE TABLE vectors (number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, vector BLOB NOT NULL);
CREATE TABLE exemplars (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, text TEXT NOT NULL, label TEXT NOT NULL,
    category TEXT, source TEXT NOT NULL, tenant TEXT NOT NULL, muted INTEGER NOT NULL,
    vector INTEGER NOT NULL REFERENCES vectors (number),
    valid_from INTEGER NOT NULL, valid_to INTEGER
);
CREATE UNIQUE INDEX present ON exemplars (id) WHERE valid_to IS NULL;
CREATE INDEX started ON exemplars (valid_from);
CREATE INDEX ended ON exemplars (valid_to) WHERE valid_to IS NOT NULL;
CREATE TABLE documents (key TEXT PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE canaries (position INTEGER PRIMARY KEY, text TEXT NOT NULL, vector BLOB NOT NULL);
"""
# What the surroundings do to a sound file, as opposed to a file that is not sound.
_REMEDIES = {
    "SQLITE_BUSY": "another process has been writing to it for 5 s; try again when it is done",
    "SQLITE_LOCKED": "another process has been writing to it for 5 s; try again when it is done",
    "SQLITE_FULL": "the disk is full; nothing of this change was kept, make room and repeat it",
    "SQLITE_IOERR": (
        "the disk refused; nothing of this change was kept, check its room and limits and repeat it"
    ),
    "SQLITE_READONLY": (
        "it may only be read; give this user the right to write the file and its directory"
    ),
    "SQLITE_PERM": "this user may not use it; give it the right to the file and its directory",
    "SQLITE_CANTOPEN": "it cannot be opened; give this user the right to it and its directory",
    "SQLITE_NOMEM": "there is not enough memory; close other programs and try again",
    "SQLITE_TOOBIG": "a text is too long for SQLite; shorten it",
}


class Identity(NamedTuple):
    """What a store says of itself.

    Args:
        key: names these embeddings; another one when they are all replaced.
        fingerprint: of the encoder.
        dimension: number of values in an embedding.
    """

    key: str
    fingerprint: str
    dimension: int


def create(
    path: Path,
    *,
    fingerprint: str,
    dimension: int,
    canaries: tuple[Sequence[str], NDArray[np.float32]] | None,
) -> None:
    """Makes the file under another name and gives it its own when it is whole.

    Raises:
        StorageError: there is a file of that name, or it cannot be written.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as directory:
            temporary = Path(directory) / path.name
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.execute("PRAGMA page_size = 8192")  # 5 vectors of 384 values; 4096: 2
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(_SCHEMA)
                connection.execute("BEGIN")
                write_identity(connection, fingerprint, dimension, canaries)
                connection.execute("COMMIT")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            _publish(temporary, path)


def write_identity(
    connection: sqlite3.Connection,
    fingerprint: str,
    dimension: int,
    canaries: tuple[Sequence[str], NDArray[np.float32]] | None,
) -> None:
    """Says whose embeddings these are, in the transaction that is open."""
    connection.execute("DELETE FROM store")
    connection.execute(
        "INSERT INTO store VALUES (?, ?, ?)", (uuid.uuid4().hex, fingerprint, dimension)
    )
    connection.execute("DELETE FROM canaries")
    for position, (text, vector) in enumerate(zip(*(canaries or ((), ())), strict=True)):
        blob = np.asarray(vector, dtype="<f4").tobytes()
        connection.execute("INSERT INTO canaries VALUES (?, ?, ?)", (position, text, blob))


def connect(path: Path) -> sqlite3.Connection:
    """Opens a store's file, to be read only where it may not be written.

    Raises:
        StorageError: no file, a directory, no store, damaged, or of a newer safe-embed.
    """
    if path.is_dir():
        raise StorageError(f"{path} is a directory, and a store is a file; name a file in it")
    if not path.exists():
        raise StorageError(f"there is no store {path}; build one first, or check the path")
    with storage_errors(path):
        connection = _connect(path)
        try:
            _require_store(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def read_identity(connection: sqlite3.Connection) -> Identity:
    """Reads what a store says of itself.

    Raises:
        sqlite3.DatabaseError: it says nothing that can be.
    """
    rows = connection.execute("SELECT key, fingerprint, dimension FROM store").fetchall()
    if [[type(value) for value in row] for row in rows] != [[str, str, int]]:
        raise sqlite3.DatabaseError("it does not say whose embeddings it holds")
    return Identity(*rows[0])


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite and the system say into one line with the remedy."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        for start, remedy in _REMEDIES.items():
            if name.startswith(start):
                raise StorageError(
                    f"the store {path} cannot be used ({error}): {remedy}"
                ) from error
        if name == "SQLITE_NOTADB":
            raise StorageError(
                f"{path} is no safe-embed store ({error}): check the path, or restore it from a "
                "copy where it was one"
            ) from error
        raise damaged(path, str(error)) from error
    except UnicodeDecodeError as error:  # of a message of SQLite that quotes what it has read
        raise damaged(path, "its tables are not what was written") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"the store {path} cannot be used ({reason}): check the path, its rights and the disk"
        ) from error


def damaged(path: Path, reason: str) -> StorageError:
    """The error for a file that is not what was written."""
    return StorageError(
        f"the store {path} is damaged ({reason}): restore it from a copy, or delete it and build "
        "it again"
    )


def _publish(temporary: Path, path: Path) -> None:
    """Gives a file its name unless that is taken."""
    taken = StorageError(f"{path} exists already: open it, or choose another path")
    if path.exists():
        raise taken
    try:
        os.link(temporary, path)  # unlike a rename it never replaces what another made meanwhile
    except FileExistsError:
        raise taken from None
    except OSError:  # a file system without links
        temporary.rename(path)


def _connect(path: Path) -> sqlite3.Connection:
    address = path.resolve().as_uri()
    log = path.with_name(f"{path.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    if os.access(path, os.W_OK) and (has_log or os.access(path.parent, os.W_OK)):
        mode = "mode=rw"
    elif has_log or os.access(path.parent, os.W_OK):
        mode = "mode=ro"
    else:  # no log can lie beside it, so it is whole and nobody writes it
        mode = "mode=ro&immutable=1"
    connection = sqlite3.connect(
        f"{address}?{mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,  # the store has a lock of its own
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _require_store(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise StorageError(f"{path} is no safe-embed store; check the path")
    if version != SCHEMA_VERSION:
        raise StorageError(
            f"the store {path} has format {version}, and this safe-embed reads {SCHEMA_VERSION}: "
            "upgrade safe-embed"
        )
    read_identity(connection)
