"""The search structure of a store's file: loaded, brought up to date, and built anew."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import StorageError
from safe_embed.files import atomic_file
from safe_embed.records import Label
from safe_embed.stores.blocks import Block, LabelIndex
from safe_embed.stores.fast_search import TRAINING_ROWS, FastIndex, can_index
from safe_embed.stores.row_data import Names
from safe_embed.stores.schema import Identity, damaged
from safe_embed.stores.sidecar import Origin, Rows, SidecarWriter, read_sidecar
from safe_embed.stores.sqlite_rows import newest_version, vector_hash

__all__ = ["EXACT_ROWS", "SearchIndexes"]

EXACT_ROWS = 10_000
"""So many rows of a label are searched by plain products: 0.4 ms for 384 values on one core."""
_DEAD_SHARE = 0.3  # of the indexed rows; above it the index is built anew
_CHUNK_ROWS = 256  # more would leave holes in the heap, a tenth of the vectors of 10,000
_LABELS: tuple[Label, ...] = get_args(Label)
_FINDABLE = "valid_to IS NULL AND muted = 0"
_SELECT = """
SELECT e.number, e.category, e.source, e.tenant, v.hash, v.vector
FROM exemplars AS e JOIN vectors AS v ON v.number = e.vector
"""


class SearchIndexes:
    """What a search of each label may find, as of one version of a store.

    Args:
        path: of the store; the search file is beside it.
        report: told in a line what the user may want to know.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path = path
        self._sidecar = path.with_name(f"{path.name}.search")
        self._report = report
        self._told: set[str] = set()
        self._names = Names()
        self._version = -1
        self._indexes: dict[Label, LabelIndex] = {}

    def of(self, label: Label) -> tuple[LabelIndex, Names]:
        """The index of a label and the names in its filters, as `update` left them."""
        return self._indexes[label], self._names

    def update(self, connection: sqlite3.Connection, identity: Identity) -> None:
        """Brings all indexes to the newest version; the caller opened a transaction."""
        newest, time = newest_version(connection)
        if self._version < 0:
            self._open(connection, identity)
        if self._version == newest:
            return
        n_new = {label: self._n_new(connection, label) for label in _LABELS}
        fits = all(
            n + self._indexes[label].tail.n_alive <= EXACT_ROWS for label, n in n_new.items()
        )
        if fits:
            self._advance(connection, identity.dimension, n_new)
            self._version = newest
        if not fits or self._is_worn():
            self._build(connection, identity, newest, time)

    def forget(self) -> None:
        """Makes the next search start from the file."""
        self._version = -1

    def discard(self) -> None:
        """Drops a search file that is damaged."""
        self._tell(f"the search file {self._sidecar} is damaged; it is built again")
        with suppress(OSError):
            self._sidecar.unlink(missing_ok=True)
        self.forget()

    def _open(self, connection: sqlite3.Connection, identity: Identity) -> None:
        """Takes the search file where it fits, else starts from nothing."""
        empty = Block.empty(identity.dimension)
        self._names = Names()
        self._version = 0
        self._indexes = {label: LabelIndex(empty, empty) for label in _LABELS}
        found = read_sidecar(self._sidecar, self._accepted(identity))
        if found is None:
            return
        origin, names, blocks = found
        known = connection.execute(
            "SELECT time FROM versions WHERE version = ?", (origin.version,)
        ).fetchone()
        if known == (origin.time,):
            self._take(origin.version, names, blocks, empty)

    def _take(self, version: int, names: Names, blocks: dict[str, Block], empty: Block) -> None:
        self._version, self._names = version, names
        self._indexes = {label: LabelIndex(blocks[label], empty) for label in _LABELS}

    def _accepted(self, identity: Identity) -> dict[str, Any]:
        return {
            "key": identity.key,
            "dimension": identity.dimension,
            "fast": can_index(identity.dimension),
        }

    def _n_new(self, connection: sqlite3.Connection, label: Label) -> int:
        """Rows that started since the version that is loaded and may be found."""
        (n,) = connection.execute(
            "SELECT count(*) FROM exemplars "  # noqa: S608 - constants
            f"WHERE valid_from > ? AND label = ? AND {_FINDABLE}",
            (self._version, label),
        ).fetchone()
        return int(n)

    def _advance(
        self, connection: sqlite3.Connection, dimension: int, n_new: dict[Label, int]
    ) -> None:
        """Takes over the rows that ended or started since the version that is loaded."""
        ended = connection.execute(
            "SELECT number FROM exemplars WHERE valid_to > ? ORDER BY number", (self._version,)
        )
        gone = np.array([number for (number,) in ended], dtype=np.int64)
        advanced = {}
        for label, index in self._indexes.items():
            where = f"WHERE e.valid_from > ? AND e.label = ? AND {_FINDABLE} ORDER BY e.number"
            rows = connection.execute(_SELECT + where, (self._version, label))
            chunks = self._chunks(rows, dimension)
            tail = _extended(index.tail.without(gone), chunks, n_new[label])
            advanced[label] = LabelIndex(index.base.without(gone), tail)
        self._indexes = advanced  # all labels or, where a vector is damaged, none

    def _is_worn(self) -> bool:
        return any(
            index.base.n_alive < (1 - _DEAD_SHARE) * len(index.base.numbers)
            for index in self._indexes.values()
        )

    def _build(
        self, connection: sqlite3.Connection, identity: Identity, newest: int, time: str
    ) -> None:
        """Writes a search file from the rows of the newest version, and takes it."""
        fast = can_index(identity.dimension)
        if not fast:
            self._tell(
                "faiss is not installed, so searches over many exemplars are exact and slower: "
                "pip install 'safe-embed[search]'"
            )
        origin = Origin(identity.key, newest, time, identity.dimension, fast)
        self._version = -1  # whatever goes wrong, the next search starts from the file
        try:
            with atomic_file(self._sidecar) as temporary, temporary.open("wb") as file:
                self._write(connection, origin, SidecarWriter(file))
            source: Path | memoryview = self._sidecar
        except StorageError as error:
            self._tell(f"{error}; the search index stays in memory and is built at each start")
            memory = io.BytesIO()
            self._write(connection, origin, SidecarWriter(memory))
            source = memory.getbuffer()
        found = read_sidecar(source, origin._asdict())
        if found is None:
            raise StorageError(f"{self._sidecar} was not written as it should be; check the disk")
        self._take(newest, found[1], found[2], Block.empty(identity.dimension))

    def _write(self, connection: sqlite3.Connection, origin: Origin, writer: SidecarWriter) -> None:
        self._names = Names()
        for label in _LABELS:
            numbers = [
                number
                for (number,) in connection.execute(
                    f"SELECT number FROM exemplars WHERE label = ? AND {_FINDABLE}",  # noqa: S608
                    (label,),
                )
            ]
            index = None
            if origin.fast and len(numbers) > EXACT_ROWS:
                step = -(-len(numbers) // TRAINING_ROWS)
                index = FastIndex.train(self._sample(connection, numbers[::step], origin.dimension))
            where = f"WHERE e.label = ? AND {_FINDABLE} ORDER BY e.number"
            rows = connection.execute(_SELECT + where, (label,))
            writer.add_block(label, self._chunks(rows, origin.dimension), index)
        writer.finish(origin, self._names)

    def _sample(
        self, connection: sqlite3.Connection, numbers: list[int], dimension: int
    ) -> NDArray[np.float32]:
        rows = connection.execute(
            _SELECT + "WHERE e.number IN (SELECT value FROM json_each(?))",  # noqa: S608 - constants
            (json.dumps(numbers),),
        )
        return np.concatenate([chunk.matrix for chunk in self._chunks(rows, dimension)])

    def _chunks(self, rows: sqlite3.Cursor, dimension: int) -> Iterator[Rows]:
        """Rows of `_SELECT` as arrays, some thousands at a time."""
        while part := rows.fetchmany(_CHUNK_ROWS):
            for number, *_, key, vector in part:
                sound = isinstance(vector, bytes) and len(vector) == dimension * 4
                if not sound or vector_hash(vector) != key:
                    raise damaged(self._path, f"the vector of row {number} is not what was written")
            codes = [[self._names.number(name) for name in row[1:4]] for row in part]
            vectors = b"".join([row[5] for row in part])
            yield Rows(
                numbers=np.array([row[0] for row in part], dtype=np.int64),
                codes=np.array(codes, dtype=np.int32),
                matrix=np.frombuffer(vectors, "<f4").reshape(-1, dimension).astype(np.float32),
            )

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._report(line)


def _extended(block: Block, chunks: Iterable[Rows], n_new: int) -> Block:
    """A tail without the rows that ended and with those that started.

    Filled in place, so that no more than a chunk of it is in memory twice.
    """
    keep = np.ones(len(block.numbers), np.bool_) if block.alive is None else block.alive
    n_kept = int(np.count_nonzero(keep))
    if not n_new and n_kept == len(keep):
        return block
    n = n_kept + n_new
    numbers = np.empty(n, dtype=np.int64)
    codes = np.empty((n, 3), dtype=np.int32)
    matrix = np.empty((n, block.matrix.shape[1]), dtype=np.float32)
    start = 0
    kept = Rows(block.numbers[keep], block.codes[keep], block.matrix[keep])
    for chunk in chain([kept], chunks):
        part = slice(start, start + len(chunk.numbers))
        if part.stop <= n:
            numbers[part], codes[part], matrix[part] = chunk
        start = part.stop
    if start != n:
        raise sqlite3.DatabaseError("its indexes do not fit its rows")
    return Block(numbers, codes, matrix)
