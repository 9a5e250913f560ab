"""Files that are whole or absent: digests, atomic writes, and the user's directories."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safe_embed.errors import StorageError

__all__ = ["atomic_directory", "atomic_file", "cache_dir", "data_dir", "sha256_of"]

CACHE_DIR_VARIABLE = "SAFE_EMBED_CACHE_DIR"
DATA_DIR_VARIABLE = "SAFE_EMBED_DATA_DIR"


def cache_dir() -> Path:
    """Directory of what can be made again: weights, graphs, embeddings.

    `SAFE_EMBED_CACHE_DIR` where it is set, else the platform's cache directory. Not created here.
    """
    return _user_dir(CACHE_DIR_VARIABLE, "user_cache_path")


def data_dir() -> Path:
    """Directory of fetched data sets: `SAFE_EMBED_DATA_DIR`, else the platform's data directory."""
    return _user_dir(DATA_DIR_VARIABLE, "user_data_path")


def _user_dir(variable: str, function: str) -> Path:
    if chosen := os.environ.get(variable):
        return Path(chosen).expanduser()
    import platformdirs  # only needed where the variable is not set

    path: Path = getattr(platformdirs, function)("safe-embed", appauthor=False)
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as 64 lower-case hex digits, read in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` to write to, and renames it when the block succeeds.

    A reader sees the old file or the new one, never half of one; a process that is killed leaves
    only a temporary file behind.

    Raises:
        StorageError: the directory cannot be written, or the disk is full.
    """
    with _storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with _storage_errors(path):
            yield temporary
            _flush_to_disk(temporary)
            temporary.chmod(0o666 & ~_umask())  # mkstemp makes it private
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Like `atomic_file` for a directory; when two processes race, the first to finish wins.

    Raises:
        StorageError: the parent directory cannot be written, or the disk is full.
    """
    with _storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        with _storage_errors(path):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush_to_disk(file)
            temporary.chmod(0o777 & ~_umask())  # mkdtemp makes it private
            try:
                temporary.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(f"cannot write {path}: {reason}; nothing was left behind") from error


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
