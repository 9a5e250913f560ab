"""Everything that a user can cause, as one tree of errors.

SafeEmbedError
├── InputError             an option or argument has a value that cannot be used
│   ├── UnknownNameError   no encoder, data set, suite or task has that name
│   └── DataError          a data file: names the file, the row and the remedy
├── EncoderError           weights that are missing, damaged or not a sentence encoder
│   └── UnsupportedModelError  a sound model that the engine cannot run
├── DownloadError          a file could not be fetched, or has the wrong digest
├── StorageError           a cache or output file could not be read or written
└── MissingExtraError      an optional part of the package is not installed

The command line prints the message as one line and exits with code 2. A message says what is
wrong, what it must be, what it was, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = [
    "DataError",
    "DownloadError",
    "EncoderError",
    "InputError",
    "MissingExtraError",
    "SafeEmbedError",
    "StorageError",
    "UnknownNameError",
    "UnsupportedModelError",
    "first_line",
]


class SafeEmbedError(Exception):
    """Base of all errors that a user can cause and mend."""


class InputError(SafeEmbedError):
    """An option or argument has a value that cannot be used."""


class UnknownNameError(InputError):
    """No thing of this kind has that name; suggests the nearest that exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, remedy: str = "") -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names)}."
        super().__init__(" ".join(filter(None, [f"unknown {kind} {name!r}: {hint}", remedy])))
        self.name = name


class DataError(InputError):
    """A data file cannot be used as it is.

    Args:
        path: the file.
        message: what is wrong and what to do.
        row: where: the line of a CSV or JSONL file (the first line is 1, a CSV header included),
            the record of a Parquet file (the first is 1); None for the file as a whole.
    """

    def __init__(self, path: Path | str, message: str, *, row: int | None = None) -> None:
        where = str(path) if row is None else f"{path}, row {row}"
        super().__init__(f"{where}: {message}")
        self.path = Path(path)
        self.row = row


class EncoderError(SafeEmbedError):
    """An encoder cannot be loaded, or returned something that is no embedding."""


class UnsupportedModelError(EncoderError):
    """A sound directory that the engine cannot run, but sentence-transformers may."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: {reason} is not supported by the engine; "
            "the sentence-transformers backend may load it"
        )


class DownloadError(SafeEmbedError):
    """A file could not be fetched, or what came is not what was pinned."""


class StorageError(SafeEmbedError):
    """A cache or output file could not be read or written."""


class MissingExtraError(SafeEmbedError):
    """An optional part of the package is not installed; carries the pip line that brings it."""

    def __init__(self, extra: str, *, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the extra {extra!r}: pip install 'safe-embed[{extra}]'"
        )
        self.extra = extra


def first_line(error: Exception) -> str:
    """The first line of another library's error; the name of its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
