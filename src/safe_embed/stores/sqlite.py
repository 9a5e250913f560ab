"""The embedded store: one SQLite file, and a search structure in memory that is made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import StorageError
from safe_embed.stores import schema
from safe_embed.stores.base import Exemplar
from safe_embed.stores.checks import (
    checked_documents,
    checked_embeddings,
    checked_rows,
    require_distinct,
    require_version,
)
from safe_embed.stores.reembedding import MissingVectors, every_text, reembed_rows
from safe_embed.stores.sqlite_file import SqliteFile
from safe_embed.stores.sqlite_reader import SqliteReader
from safe_embed.stores.sqlite_rows import (
    copy_rows,
    count_rows,
    end_rows,
    present_rows,
    required_rows,
    start_rows,
    write_documents,
)
from safe_embed.stores.sqlite_versions import revert_rows

__all__ = ["SqliteStore"]


Canaries = tuple[Sequence[str], NDArray[np.float32]]


class SqliteStore(SqliteReader):
    """Keeps the contract of `ExemplarStore` in one file that processes may share.

    A change that was acknowledged survives a crash of the process and of the machine. Searches see
    what other processes changed at once. Large labels are searched through a file beside the store,
    `NAME.search`, which is made when it is needed and may be deleted at any time.

    Args:
        file: the opened file; `create` and `open` make it.
        report: told in a line what the user may want to know; a log warning where it is None.

    Example:
        >>> import numpy as np, tempfile
        >>> from pathlib import Path
        >>> from safe_embed.stores.base import Exemplar
        >>> with tempfile.TemporaryDirectory() as name:
        ...     store = SqliteStore.create(Path(name) / "mine.store", fingerprint="f", dimension=2)
        ...     version = store.add([Exemplar(id="a", text="A?", label="safe")], np.eye(2)[:1])
        ...     found = store.search(np.eye(2)[:1], 1, label="safe").exemplars[0][0].text
        ...     store.close()
        >>> version, found
        (1, 'A?')
    """

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        fingerprint: str,
        dimension: int,
        canaries: Canaries | None = None,
        report: Callable[[str], None] | None = None,
    ) -> Self:
        """Makes a new store.

        Args:
            path: of the file, which must not exist.
            fingerprint: of the encoder whose embeddings it will hold.
            dimension: number of values in one embedding.
            canaries: texts and their embeddings, shape (n, dimension), to be compared later with
                what the encoder then says.
            report: see the class.

        Raises:
            InputError: the canaries are no embeddings of this dimension.
            StorageError: there is a file of that name, or it cannot be written.
        """
        path = Path(path)
        schema.create(
            path,
            fingerprint=fingerprint,
            dimension=dimension,
            canaries=_checked_canaries(canaries, dimension),
        )
        return cls(SqliteFile(path), report)

    @classmethod
    def open(
        cls,
        path: Path | str,
        fingerprint: str | None = None,
        *,
        report: Callable[[str], None] | None = None,
    ) -> Self:
        """Opens a store.

        Args:
            path: of the file.
            fingerprint: of the encoder that will ask it; None where none will.
            report: see the class.

        Raises:
            StorageError: no store, damaged, of a newer safe-embed, or of another encoder.
        """
        file = SqliteFile(Path(path))
        if fingerprint not in (None, file.identity.fingerprint):
            file.close()
            raise StorageError(
                f"the store {path} holds embeddings of another encoder (fingerprint "
                f"{file.identity.fingerprint[:12]}, and this one has {str(fingerprint)[:12]}): "
                "use that encoder, or embed the store anew with this one"
            )
        return cls(file, report)

    @classmethod
    def open_or_create(
        cls,
        path: Path,
        fingerprint: str,
        dimension: int,
        *,
        report: Callable[[str], None] | None = None,
    ) -> Self:
        """The store that is there, or a new one; another process may make it meanwhile.

        Raises:
            StorageError: see `open` and `create`.
        """
        if not path.exists():
            try:
                return cls.create(path, fingerprint=fingerprint, dimension=dimension, report=report)
            except StorageError:
                if not path.exists():  # else another process made it
                    raise
        return cls.open(path, fingerprint, report=report)

    def add(
        self, exemplars: Sequence[Exemplar], embeddings: NDArray[np.float32], *, note: str = ""
    ) -> int:
        """See `ExemplarStore.add`."""
        rows = checked_rows(exemplars, embeddings, self.dimension)
        with self._file.writing("add", note) as version:
            present = present_rows(version.connection, [one.id for one in exemplars])
            new = [
                (one, row)
                for one, row in zip(exemplars, rows, strict=True)
                if (old := present.get(one.id)) is None
                or old.exemplar != replace(one, muted=old.exemplar.muted)
            ]
            ended = [present[one.id].number for one, _ in new if one.id in present]
            end_rows(version.connection, ended, version.number)
            start_rows(
                version.connection,
                [one for one, _ in new],
                (row for _, row in new),
                version.number,
            )
            version.n = len(new)
        return version.newest

    def remove(self, ids: Sequence[str], *, note: str = "") -> int:
        """See `ExemplarStore.remove`."""
        require_distinct(ids)
        with self._file.writing("remove", note) as version:
            rows = required_rows(version.connection, ids)
            end_rows(version.connection, [row.number for row in rows], version.number)
            version.n = len(rows)
        return version.newest

    def mute(self, ids: Sequence[str], *, muted: bool = True, note: str = "") -> int:
        """See `ExemplarStore.mute`."""
        require_distinct(ids)
        with self._file.writing("mute" if muted else "unmute", note) as version:
            rows = required_rows(version.connection, ids)
            numbers = [row.number for row in rows if row.exemplar.muted != muted]
            end_rows(version.connection, numbers, version.number)
            copy_rows(version.connection, numbers, version.number, muted=muted)
            version.n = len(numbers)
        return version.newest

    def revert(self, version: int, *, note: str = "") -> int:
        """See `ExemplarStore.revert`."""
        with self._file.writing("revert", note) as written:
            require_version(version, written.number - 1)
            written.n = revert_rows(written.connection, version, written.number - 1)
        return written.newest

    def reembed(
        self,
        fingerprint: str,
        embed: Callable[[Sequence[str]], NDArray[np.float32]],
        *,
        dimension: int,
        canaries: Canaries | None = None,
        documents: Mapping[str, str] | None = None,
        note: str = "",
    ) -> int:
        """Replaces all embeddings, those of earlier versions too, by another encoder's.

        Other processes that have the store open are told to open it again.

        Args:
            fingerprint: of the encoder that `embed` asks.
            embed: from n texts to an array of shape (n, dimension), rows of length 1; asked for
                some thousand texts at a time, most of them while others may still write.
            dimension: number of values in one embedding from now on.
            canaries: texts and their new embeddings, instead of the old ones.
            documents: what goes with the new embeddings, set in the same change.
            note: for the history.

        Returns:
            The new version.

        Raises:
            InputError: what `embed` returned cannot be embeddings; nothing is changed.
            StorageError: another writer holds the store, or it cannot be written.
        """
        canaries = _checked_canaries(canaries, dimension)
        documents = checked_documents(documents or {})
        vectors = MissingVectors(embed, dimension)
        with self._file.reading() as connection:
            texts = every_text(connection)
        vectors.complete(texts)
        with self._file.writing("reembed", note) as version:
            vectors.complete(every_text(version.connection))
            reembed_rows(version.connection, vectors.of_text)
            schema.write_identity(version.connection, fingerprint, dimension, canaries)
            write_documents(version.connection, documents)
            version.n = sum(count_rows(version.connection, "label").values())
            version.replaces_identity = True
        with self._file.lock:
            self._indexes.forget()
        return version.number

    def set_documents(self, documents: Mapping[str, str]) -> None:
        """See `ExemplarStore.set_documents`."""
        documents = checked_documents(documents)
        with self._file.writing() as version:
            write_documents(version.connection, documents)


def _checked_canaries(canaries: Canaries | None, dimension: int) -> Canaries | None:
    if canaries is None:
        return None
    texts, vectors = canaries
    return texts, checked_embeddings(vectors, len(texts), dimension)
