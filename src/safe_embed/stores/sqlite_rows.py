"""Reading and writing the rows of a store's file, inside a transaction that the caller opened."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from sys import intern
from typing import Any, NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from safe_embed.records import Label
from safe_embed.stores.base import Exemplar, Filter
from safe_embed.stores.checks import unknown_exemplar

__all__ = [
    "COLUMNS",
    "PresentRow",
    "copy_rows",
    "count_rows",
    "end_rows",
    "exemplars_by_number",
    "newest_version",
    "present_rows",
    "read_documents",
    "required_rows",
    "select_exemplars",
    "select_vectors",
    "start_rows",
    "to_exemplar",
    "vector_hash",
    "write_documents",
]

COLUMNS = "id, text, label, category, source, tenant, muted"
_LABELS = frozenset(get_args(Label))
_PER_SELECT = 4096
_VALID_AT = "valid_from <= :version AND (valid_to IS NULL OR valid_to > :version)"
_FILTER = """(:label IS NULL OR label = :label)
AND (:categories IS NULL OR category IN (SELECT value FROM json_each(:categories)))
AND (:sources IS NULL OR source IN (SELECT value FROM json_each(:sources)))
AND (:tenants IS NULL OR tenant IN (SELECT value FROM json_each(:tenants)))"""


class PresentRow(NamedTuple):
    """A row with its number in the table and that of its vector."""

    exemplar: Exemplar
    number: int
    vector: int


def newest_version(connection: sqlite3.Connection) -> tuple[int, str]:
    """The newest version and its time; 0 and "" of an empty new store."""
    row = connection.execute(
        "SELECT version, time FROM versions ORDER BY version DESC LIMIT 1"
    ).fetchone()
    return row or (0, "")


def present_rows(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, PresentRow]:
    """The present rows of those ids that are there."""
    query = (
        f"SELECT {COLUMNS}, number, vector FROM exemplars "  # noqa: S608 - constants
        "WHERE valid_to IS NULL AND id IN (SELECT value FROM json_each(?))"
    )
    return {
        row[0]: PresentRow(to_exemplar(row), row[7], row[8])
        for row in _by_chunks(connection, query, ids)
    }


def required_rows(connection: sqlite3.Connection, ids: Sequence[str]) -> list[PresentRow]:
    """The present rows of ids, in their order.

    Raises:
        UnknownNameError: no exemplar has one of them.
    """
    present = present_rows(connection, ids)
    for one in ids:
        if one not in present:
            known = connection.execute(
                "SELECT id FROM exemplars WHERE valid_to IS NULL ORDER BY id"
            )
            raise unknown_exemplar(one, [id_ for (id_,) in known])
    return [present[one] for one in ids]


def exemplars_by_number(
    connection: sqlite3.Connection, numbers: Iterable[int]
) -> dict[int, Exemplar]:
    """The exemplars of some rows, past ones too."""
    query = (
        f"SELECT {COLUMNS}, number FROM exemplars "  # noqa: S608 - constants
        "WHERE number IN (SELECT value FROM json_each(?))"
    )
    return {row[7]: to_exemplar(row) for row in _by_chunks(connection, query, list(numbers))}


def select_exemplars(
    connection: sqlite3.Connection, version: int | None, label: str | None, only: Filter | None
) -> list[Exemplar]:
    """Exemplars of a version (None: the present one), in the order of their ids."""
    only = only or Filter()
    when = "valid_to IS NULL" if version is None else _VALID_AT
    wanted = {
        "version": version,
        "label": label,
        "categories": _as_json(only.categories),
        "sources": _as_json(only.sources),
        "tenants": _as_json(only.tenants),
    }
    query = f"SELECT {COLUMNS} FROM exemplars WHERE {when} AND {_FILTER} ORDER BY id"  # noqa: S608
    return [to_exemplar(row) for row in connection.execute(query, wanted)]


def start_rows(
    connection: sqlite3.Connection,
    exemplars: Sequence[Exemplar],
    embeddings: Iterable[NDArray[np.float32]],
    version: int,
) -> None:
    """Adds rows that are valid from a version on, and those vectors that are not there yet."""

    def vectors() -> Iterator[tuple[bytes, bytes]]:
        for row in embeddings:
            blob = row.astype("<f4", copy=False).tobytes()
            hashes.append(vector_hash(blob))
            yield hashes[-1], blob

    hashes: list[bytes] = []
    connection.executemany("INSERT OR IGNORE INTO vectors (hash, vector) VALUES (?, ?)", vectors())
    connection.executemany(
        f"INSERT INTO exemplars ({COLUMNS}, vector, valid_from) "  # noqa: S608 - constants
        "VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT number FROM vectors WHERE hash = ?), ?)",
        (
            (e.id, e.text, e.label, e.category, e.source, e.tenant, e.muted, key, version)
            for e, key in zip(exemplars, hashes, strict=True)
        ),
    )


def end_rows(connection: sqlite3.Connection, numbers: Iterable[int], version: int) -> None:
    """Says that rows are not valid from a version on."""
    connection.executemany(
        "UPDATE exemplars SET valid_to = ? WHERE number = ?", ((version, one) for one in numbers)
    )


def copy_rows(
    connection: sqlite3.Connection,
    numbers: Iterable[int],
    version: int,
    *,
    muted: bool | None = None,
) -> None:
    """Adds rows like earlier ones that are valid from a version on.

    Args:
        connection: in a transaction.
        numbers: of the rows to be like.
        version: from which on.
        muted: None to take that over too.
    """
    connection.executemany(
        f"INSERT INTO exemplars ({COLUMNS}, vector, valid_from) "  # noqa: S608 - constants
        "SELECT id, text, label, category, source, tenant, coalesce(?, muted), vector, ? "
        "FROM exemplars WHERE number = ?",
        ((muted, version, one) for one in numbers),
    )


def select_vectors(
    connection: sqlite3.Connection, numbers: Iterable[int]
) -> dict[int, bytes] | None:
    """The vectors of some numbers; None where one is not what was written."""
    found = {}
    query = (
        "SELECT number, hash, vector FROM vectors WHERE number IN (SELECT value FROM json_each(?))"
    )
    for number, key, vector in _by_chunks(connection, query, list(numbers)):
        if not isinstance(vector, bytes) or vector_hash(vector) != key:
            return None
        found[number] = vector
    return found


def count_rows(connection: sqlite3.Connection, column: str) -> dict[str, int]:
    """How many present exemplars have each name in a column, in the order of the names."""
    rows = connection.execute(
        f"SELECT {column}, count(*) FROM exemplars WHERE valid_to IS NULL "  # noqa: S608 - ours
        f"AND {column} NOT IN ('', 0) GROUP BY {column} ORDER BY {column}"
    )
    return {str(name): n for name, n in rows}


def read_documents(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, str]:
    """The text of each key that has one."""
    query = "SELECT key, text FROM documents WHERE key IN (SELECT value FROM json_each(?))"
    return dict(_by_chunks(connection, query, keys))


def write_documents(connection: sqlite3.Connection, documents: Mapping[str, str]) -> None:
    """Gives keys their texts, in the transaction that is open."""
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET text = excluded.text",
        documents.items(),
    )


def vector_hash(blob: bytes) -> bytes:
    """The key of a vector: 16 bytes of BLAKE2b, which also tells when the file was damaged."""
    return hashlib.blake2b(blob, digest_size=16).digest()


def _by_chunks(
    connection: sqlite3.Connection, query: str, values: Sequence[Any]
) -> Iterator[tuple[Any, ...]]:
    """One JSON array is one parameter; the number of parameters is limited."""
    for start in range(0, len(values), _PER_SELECT):
        yield from connection.execute(query, (json.dumps(values[start : start + _PER_SELECT]),))


def to_exemplar(row: Sequence[Any]) -> Exemplar:
    """The exemplar of a row that begins with `COLUMNS`.

    Raises:
        sqlite3.DatabaseError: a value is none that was written; SQLite would not notice.
    """
    texts = [value for value in row[:6] if value is not None]
    if row[2] not in _LABELS or [*map(type, texts)] != [str] * (5 + (row[3] is not None)):
        raise sqlite3.DatabaseError("an exemplar is not what was written")
    return Exemplar(
        id=row[0],
        text=row[1],
        # The same few names stand in all rows; one object each saves a third of the memory.
        label=cast("Label", intern(row[2])),
        category=None if row[3] is None else intern(row[3]),
        source=intern(row[4]),
        tenant=intern(row[5]),
        muted=bool(row[6]),
    )


def _as_json(names: frozenset[str] | None) -> str | None:
    return None if names is None else json.dumps(sorted(names))
