"""Versions as intervals: what differs between two, and how one is brought back."""

from __future__ import annotations

import sqlite3

from safe_embed.stores.base import Diff
from safe_embed.stores.sqlite_rows import COLUMNS, PresentRow, copy_rows, end_rows, to_exemplar

__all__ = ["difference", "revert_rows"]

# A row is touched between two versions when it started or ended there; both are indexed.
_TOUCHED = f"""
SELECT {COLUMNS}, number, vector, valid_from, valid_to FROM exemplars WHERE number IN (
    SELECT number FROM exemplars WHERE valid_from > :low AND valid_from <= :high UNION
    SELECT number FROM exemplars WHERE valid_to > :low AND valid_to <= :high
) ORDER BY id
"""  # noqa: S608 - made of constants


def difference(connection: sqlite3.Connection, old: int, new: int) -> Diff:
    """What changed from one version to another, by the rows that were touched between."""
    before, after = _touched(connection, old, new)
    return Diff(
        added=tuple(row.exemplar for id_, row in after.items() if id_ not in before),
        removed=tuple(row.exemplar for id_, row in before.items() if id_ not in after),
        changed=tuple(
            (before[id_].exemplar, row.exemplar)
            for id_, row in after.items()
            if id_ in before and before[id_].exemplar != row.exemplar
        ),
    )


def revert_rows(connection: sqlite3.Connection, target: int, newest: int) -> int:
    """Ends and starts rows in version `newest + 1` so that it equals an earlier one.

    Returns:
        Number of exemplars that were changed; where it is 0 nothing was written.
    """
    present, wanted = _touched(connection, newest, target)
    same = {
        id_
        for id_, row in wanted.items()
        if id_ in present
        and (row.exemplar, row.vector) == (present[id_].exemplar, present[id_].vector)
    }
    ended = [row.number for id_, row in present.items() if id_ not in same]
    started = [row.number for id_, row in wanted.items() if id_ not in same]
    end_rows(connection, ended, newest + 1)
    copy_rows(connection, started, newest + 1)
    return len((present.keys() | wanted.keys()) - same)


def _touched(
    connection: sqlite3.Connection, one: int, other: int
) -> tuple[dict[str, PresentRow], dict[str, PresentRow]]:
    """The rows that two versions do not share, by id, of the one and of the other."""
    found: tuple[dict[str, PresentRow], dict[str, PresentRow]] = ({}, {})
    bounds = {"low": min(one, other), "high": max(one, other)}
    for row in connection.execute(_TOUCHED, bounds):
        number, vector, valid_from, valid_to = row[7:]
        for version, rows in zip((one, other), found, strict=True):
            if valid_from <= version and (valid_to is None or version < valid_to):
                rows[row[0]] = PresentRow(to_exemplar(row), number, vector)
    return found
