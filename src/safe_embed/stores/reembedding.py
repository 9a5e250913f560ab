"""Other embeddings for all rows of a store's file, when its encoder is replaced."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from safe_embed.stores.checks import checked_embeddings
from safe_embed.stores.sqlite_rows import vector_hash

__all__ = ["MissingVectors", "every_text", "reembed_rows"]

_TEXTS_AT_ONCE = 1024


class MissingVectors:
    """The embeddings of texts, each made once, however often it is asked for.

    Args:
        embed: from n texts to an array of shape (n, dimension).
        dimension: number of values in one embedding.
    """

    def __init__(
        self, embed: Callable[[Sequence[str]], NDArray[np.float32]], dimension: int
    ) -> None:
        self.of_text: dict[str, NDArray[np.float32]] = {}
        self._embed = embed
        self._dimension = dimension

    def complete(self, texts: Sequence[str]) -> None:
        """Embeds those texts that are missing.

        Raises:
            InputError: what `embed` returned cannot be their embeddings.
        """
        missing = [text for text in texts if text not in self.of_text]
        for start in range(0, len(missing), _TEXTS_AT_ONCE):
            part = missing[start : start + _TEXTS_AT_ONCE]
            rows = checked_embeddings(self._embed(part), len(part), self._dimension)
            self.of_text.update(zip(part, rows, strict=True))


def every_text(connection: sqlite3.Connection) -> list[str]:
    """The distinct texts of all rows, past ones too."""
    rows = connection.execute("SELECT DISTINCT text FROM exemplars ORDER BY text")
    return [text for (text,) in rows]


def reembed_rows(
    connection: sqlite3.Connection, vectors: Mapping[str, NDArray[np.float32]]
) -> None:
    """Gives every row, past ones too, the vector of its text; the old vectors go.

    Args:
        connection: in a transaction.
        vectors: of every text that a row has.
    """
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS fresh (text TEXT PRIMARY KEY, hash BLOB NOT NULL)"
    )
    connection.execute("DELETE FROM fresh")
    for text, row in vectors.items():
        blob = row.astype("<f4", copy=False).tobytes()
        key = vector_hash(blob)
        connection.execute(
            "INSERT OR IGNORE INTO vectors (hash, vector) VALUES (?, ?)", (key, blob)
        )
        connection.execute("INSERT INTO fresh VALUES (?, ?)", (text, key))
    connection.execute(
        "UPDATE exemplars SET vector = (SELECT number FROM vectors WHERE hash = "
        "(SELECT hash FROM fresh WHERE fresh.text = exemplars.text))"
    )
    connection.execute("DELETE FROM vectors WHERE number NOT IN (SELECT vector FROM exemplars)")
    connection.execute("DELETE FROM fresh")
