"""Embeddings computed elsewhere, looked up by text: a GPU machine encodes, a laptop scores."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.texts import checked_texts
from safe_embed.errors import DataError
from safe_embed.files import sha256_of
from safe_embed.vectors import normalize_rows

__all__ = ["FileEncoder"]

_SHOWN_CHARACTERS = 80


class FileEncoder:
    """Encoder that knows the texts of a file and no others.

    A Parquet file has the columns `text` (text) and `embedding` (a list of numbers, all of one
    length); a `.npz` file the arrays `texts` (n,) and `embeddings` (n, d). Other columns and arrays
    are not read. Texts are matched exactly, by code point.

    Args:
        path: the file.

    Raises:
        DataError: the file cannot be read, or a text or embedding cannot be used: a missing one,
            NaN or infinity, a zero vector, another dimension than the first, or one text with two
            embeddings; names the record (the first is 1).
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(path, "does not exist or is no file; check the name")
        self._path = path
        read = {".parquet": _read_parquet, ".npz": _read_npz}.get(path.suffix.lower())
        if read is None:
            raise DataError(path, "embeddings are read from .parquet and .npz files only")
        texts, vectors = read(path)
        self._embeddings = _checked(path, texts, vectors)
        self._rows = _index(path, texts, self._embeddings)
        self._fingerprint = sha256_of(path)

    @property
    def name(self) -> str:
        """That of the file, without its ending."""
        return self._path.stem

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file."""
        return self._fingerprint

    @property
    def dimension(self) -> int:
        """Number of values in one embedding."""
        return int(self._embeddings.shape[1])

    @property
    def published_average_similarity(self) -> float | None:
        """None: a file does not say which encoder made it."""
        return None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Looks embeddings up.

        Args:
            texts: any number of texts; none gives an array of shape (0, d).

        Returns:
            Embeddings of shape (n, d), float32, each of length 1, in the order of `texts`.

        Raises:
            InputError: an item is no string, or has a lone surrogate.
            DataError: the file has no embedding of a text; names the first such text.
        """
        wanted = checked_texts(texts)
        missing = [text for text in dict.fromkeys(wanted) if text not in self._rows]
        if missing:
            more = f" and of {len(missing) - 1} more" if len(missing) > 1 else ""
            raise DataError(
                self._path,
                f"has no embedding of the text {missing[0][:_SHOWN_CHARACTERS]!r}{more}; texts are "
                "matched exactly: encode all texts of the suite, unchanged, into the file",
            )
        return self._embeddings[[self._rows[text] for text in wanted]]


def _read_parquet(path: Path) -> tuple[list[str | None], NDArray[np.float32]]:
    import duckdb  # takes a tenth of a second

    # A glob character in the name stands for itself.
    name = "".join(f"[{char}]" if char in "*?[" else char for char in str(path.absolute()))
    quoted = name.replace("'", "''")
    source = f"read_parquet('{quoted}', hive_partitioning = false)"
    try:
        with closing(duckdb.connect()) as connection:
            columns = {
                column: kind
                for column, kind, *_ in connection.execute(
                    f"DESCRIBE SELECT * FROM {source}"  # noqa: S608 - quoted
                ).fetchall()
            }
            if columns.get("text") != "VARCHAR" or "[" not in columns.get("embedding", ""):
                has = ", ".join(f"{column} ({kind})" for column, kind in columns.items())
                raise DataError(
                    path, f"must have the columns text (text) and embedding (list), has {has}"
                )
            rows = connection.execute(
                f"SELECT text, len(embedding) FROM {source}"  # noqa: S608 - quoted
            ).fetchall()
            _require_one_dimension(path, [length for _, length in rows])
            flat = connection.execute(
                # Rows keep their order; a NULL number becomes NaN and is told as such.
                f"SELECT coalesce(unnest(embedding)::FLOAT, 'nan'::FLOAT) AS v FROM {source}"  # noqa: S608
            ).fetchnumpy()["v"]
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(path, f"is not a readable Parquet file ({reason})") from None
    return [text for text, _ in rows], np.asarray(flat, dtype=np.float32).reshape(len(rows), -1)


def _read_npz(path: Path) -> tuple[list[str | None], NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not {"texts", "embeddings"} <= set(arrays.files):
                has = ", ".join(arrays.files)
                raise DataError(path, f"must have the arrays texts and embeddings, has {has}")
            texts, vectors = arrays["texts"], arrays["embeddings"]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            path,
            f"is not a readable .npz file ({error}); texts must be an array of strings, as "
            "np.savez(path, texts=np.array(texts), embeddings=vectors) writes it",
        ) from None
    if texts.dtype.kind != "U" or texts.ndim != 1:
        raise DataError(path, f"texts must be one row of strings, got {texts.dtype} {texts.shape}")
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or len(vectors) != len(texts):
        raise DataError(
            path,
            f"embeddings must be numbers of shape ({len(texts)}, d), got {vectors.dtype} "
            f"{vectors.shape}",
        )
    return [str(text) for text in texts], vectors.astype(np.float32)


def _require_one_dimension(path: Path, lengths: Sequence[int | None]) -> None:
    if not lengths:
        raise DataError(path, "has no embeddings")
    for row, length in enumerate(lengths, 1):
        if not length:
            raise DataError(path, "embedding is missing or empty; encode the text again", row=row)
        if length != lengths[0]:
            raise DataError(
                path, f"embedding has {length} values, and the first has {lengths[0]}", row=row
            )


def _checked(
    path: Path, texts: Sequence[str | None], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The embeddings with length 1, when each can be used."""
    if not vectors.size:
        raise DataError(path, "has no embeddings")
    for row, text in enumerate(texts, 1):
        if text is None:
            raise DataError(path, "text is missing", row=row)
    usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    if not usable.all():
        row = int(np.flatnonzero(~usable)[0]) + 1
        raise DataError(
            path, "embedding holds NaN or infinity, or is all zeros; encode the text again", row=row
        )
    return normalize_rows(vectors)


def _index(
    path: Path, texts: Sequence[str | None], embeddings: NDArray[np.float32]
) -> dict[str, int]:
    """Row of each text; a text that is there twice must have the same embedding twice."""
    rows: dict[str, int] = {}
    for row, text in enumerate(texts):
        first = rows.setdefault(str(text), row)
        if first != row and not np.allclose(embeddings[first], embeddings[row], atol=1e-6):
            raise DataError(
                path,
                f"the text {str(text)[:_SHOWN_CHARACTERS]!r} has another embedding than in record "
                f"{first + 1}; keep one of them",
                row=row + 1,
            )
    return rows
