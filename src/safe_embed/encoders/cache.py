"""Embeddings that were computed once and are kept: one SQLite file per encoder fingerprint.

A vector is found by a digest of its text, so the order, the number and the source of the texts do
not matter. SQLite's write-ahead log gives what a cache needs when processes are killed or run side
by side: a batch is there as a whole or not at all. A checksum per vector tells when a file was
damaged later, which SQLite itself would not notice.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.base import Encoder
from safe_embed.encoders.texts import checked_texts
from safe_embed.errors import EncoderError, StorageError

__all__ = ["CachedEncoder", "EmbeddingCache", "text_key", "uncached"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE embeddings (key TEXT NOT NULL UNIQUE, checksum INTEGER NOT NULL, vector BLOB NOT NULL)
"""
_BUSY_TIMEOUT_S = 60.0  # the other process writes one batch
_KEYS_PER_SELECT = 4096
# What the surroundings do to a sound file, as opposed to a file that is not sound.
_SURROUNDINGS = (
    "SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_LOCKED",
    "SQLITE_NOMEM", "SQLITE_PERM", "SQLITE_PROTOCOL", "SQLITE_READONLY",
)  # fmt: skip


def text_key(text: str) -> str:
    """Digest under which the embedding of a text is kept: 32 hex digits; text must be Unicode."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


class EmbeddingCache:
    """Vectors on disk, by encoder fingerprint and text digest.

    Holds no open file between calls, so it may be shared by threads and forked processes.

    Args:
        directory: where the files are; created when it is first used.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, fingerprint: str) -> Path:
        """The file of one encoder."""
        return self.directory / f"{fingerprint}.sqlite"

    def lookup(self, fingerprint: str, keys: Sequence[str], dimension: int) -> dict[str, bytes]:
        """Finds stored vectors.

        Args:
            fingerprint: of the encoder.
            keys: digests of texts, see `text_key`.
            dimension: values that each vector must have.

        Returns:
            Of each key that is stored, its vector: float32, little-endian.

        Raises:
            StorageError: the file is damaged, or cannot be read.
        """
        path = self.path(fingerprint)
        with _errors(path):
            self.directory.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                return {}
            try:
                with closing(_connect(path)) as connection:
                    return _select(connection, path, keys, dimension * 4)
            except sqlite3.OperationalError:
                if _may_change(path):
                    raise
            # A read-only place: no log beside the file, so it is whole and nobody writes it.
            address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(address, uri=True)) as connection:
                return _select(connection, path, keys, dimension * 4)

    def store(self, fingerprint: str, keys: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Keeps vectors, all or none; a key that is there already keeps what it has.

        Args:
            fingerprint: of the encoder.
            keys: n digests of texts.
            vectors: float32 of shape (n, d).

        Raises:
            EncoderError: not n finite vectors; nothing is stored.
            StorageError: the file is damaged or cannot be written, or the disk is full.
        """
        if vectors.ndim != 2 or len(vectors) != len(keys):
            raise EncoderError(f"{len(keys)} texts gave embeddings of shape {vectors.shape}")
        if not np.isfinite(vectors).all():
            bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise EncoderError(
                f"embedding {bad} of {len(keys)} holds NaN or infinity; none of them was stored"
            )
        blobs = [row.tobytes() for row in vectors.astype("<f4", copy=False)]
        path = self.path(fingerprint)
        with _errors(path):
            self.directory.mkdir(parents=True, exist_ok=True)
            with closing(_connect(path)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(
                    "INSERT OR IGNORE INTO embeddings VALUES (?, ?, ?)",
                    zip(keys, map(_checksum, keys, blobs), blobs, strict=True),
                )
                connection.execute("COMMIT")


class CachedEncoder:
    """An encoder that computes each text once and then looks it up.

    Args:
        encoder: computes what is not there yet.
        cache: where embeddings are kept.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from safe_embed.encoders import load_encoder
        >>> with TemporaryDirectory() as directory:
        ...     encoder = CachedEncoder(load_encoder("fake"), EmbeddingCache(Path(directory)))
        ...     first, again = encoder.encode(["a prompt"]), encoder.encode(["a prompt"])
        >>> bool((first == again).all())
        True
    """

    def __init__(self, encoder: Encoder, cache: EmbeddingCache) -> None:
        self.wrapped = encoder  # may keep more protocols than `Encoder`
        self.cache = cache

    @property
    def name(self) -> str:
        """That of the wrapped encoder."""
        return self.wrapped.name

    @property
    def fingerprint(self) -> str:
        """That of the wrapped encoder: the cache changes no embedding."""
        return self.wrapped.fingerprint

    @property
    def dimension(self) -> int:
        """That of the wrapped encoder."""
        return self.wrapped.dimension

    @property
    def published_average_similarity(self) -> float | None:
        """That of the wrapped encoder."""
        return self.wrapped.published_average_similarity

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeds texts, computing only those that are not in the cache, in one call.

        Args:
            texts: any number of texts, duplicates allowed.

        Returns:
            Embeddings of shape (n, d), float32, in the order of `texts`; bit for bit what the
            wrapped encoder returned when it first saw each text.

        Raises:
            InputError: a text is no string or holds a lone surrogate.
            EncoderError: the wrapped encoder returned something that is no embedding.
            StorageError: the cache is damaged, or cannot be read or written.
        """
        texts = checked_texts(texts)
        keys = [text_key(text) for text in texts]
        missing = dict(zip(keys, texts, strict=True))  # each distinct text once
        blobs = self.cache.lookup(self.fingerprint, list(missing), self.dimension)
        for key in blobs:
            del missing[key]
        if missing:
            vectors = self.wrapped.encode(list(missing.values()))
            if vectors.shape != (len(missing), self.dimension):
                raise EncoderError(
                    f"{self.name} must return an array of shape "
                    f"{(len(missing), self.dimension)}, and returned {vectors.shape}"
                )
            self.cache.store(self.fingerprint, list(missing), vectors)
            rows = vectors.astype("<f4", copy=False)
            blobs.update((key, row.tobytes()) for key, row in zip(missing, rows, strict=True))
        joined = bytearray().join([blobs[key] for key in keys])  # so that the array is writable
        stacked = np.frombuffer(joined, "<f4").reshape(len(keys), self.dimension)
        return stacked.astype(np.float32, copy=False)


def uncached(encoder: Encoder) -> Encoder:
    """The encoder without its cache, for who must know what it says now; any other as it is."""
    while isinstance(encoder, CachedEncoder):
        encoder = encoder.wrapped
    return encoder


def _connect(path: Path) -> sqlite3.Connection:
    if not path.exists():
        _create(path)
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
    try:
        _require_version(connection, path)
        # A crash of the machine may cost the last batches, and never more than that.
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Makes the file under another name and renames it, so that nobody sees it half made.

    Switching to the write-ahead log needs the file alone and does not wait for others.
    """
    import filelock

    with filelock.FileLock(path.with_suffix(".lock")):
        if path.exists():  # another process was faster
            return
        temporary = path.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)  # of a process that was killed
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            connection.execute("PRAGMA page_size = 8192")  # 5 vectors of 384 values; 4096 fits 2
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        temporary.rename(path)


def _require_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != _VERSION:
        raise StorageError(
            f"the embedding cache {path} has format {version}, and this version of safe-embed "
            f"reads {_VERSION}: delete the file, or go without with --no-cache"
        )


def _select(
    connection: sqlite3.Connection, path: Path, keys: Sequence[str], n_bytes: int
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for start in range(0, len(keys), _KEYS_PER_SELECT):
        # One JSON array is one parameter; the number of parameters is limited.
        wanted = json.dumps(keys[start : start + _KEYS_PER_SELECT])
        for key, checksum, vector in connection.execute(
            "SELECT key, checksum, vector FROM embeddings "
            "WHERE key IN (SELECT value FROM json_each(?))",
            (wanted,),
        ):
            sound = isinstance(vector, bytes) and len(vector) == n_bytes
            if not sound or _checksum(key, vector) != checksum:
                raise _damaged(path, "a vector does not match its checksum")
            found[key] = vector
    return found


def _checksum(key: str, vector: bytes) -> int:
    """Over both: a damaged index may point from a sound key to the sound vector of another."""
    return zlib.crc32(vector, zlib.crc32(key.encode()))


def _may_change(path: Path) -> bool:
    """Whether a log lies beside the file, or one could be made there."""
    log = path.with_name(f"{path.name}-wal")
    return (log.exists() and log.stat().st_size > 0) or os.access(path.parent, os.W_OK)


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "").startswith(_SURROUNDINGS):
            raise _unusable(path, str(error)) from error
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _unusable(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"the embedding cache {path} cannot be used: {reason}; set SAFE_EMBED_CACHE_DIR to a "
        "directory with room, or go without with --no-cache"
    )


def _damaged(path: Path, reason: str) -> StorageError:
    return StorageError(
        f"the embedding cache {path} is damaged ({reason}): delete the file, and its embeddings "
        "are computed again; or go without with --no-cache"
    )
