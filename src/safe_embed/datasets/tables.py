"""Tables in files, read row by row: CSV, JSONL, JSON and Parquet.

CSV and JSONL are read with the standard library, because every fault is reported with the line it
stands on. What happens to a file that is not as it should be:

- `DataError`, for the file as a whole: it is missing, a directory, unreadable, of an unknown
  extension, UTF-16, damaged gzip or Parquet, without rows, or has a name twice in a CSV header.
- `Problem` with its row, and reading goes on: a CSV row with too few or too many fields, or with an
  open or stray quote; a JSONL line that is no object, or has a key twice; a NUL byte in either.
- A lone surrogate in the value: invalid UTF-8, or such an escape in JSON. `records.check_text`
  refuses it where the text is used, and what is not used does no harm.
- Accepted: blank lines (counted, skipped), a byte order mark, CRLF.

A JSON file, unlike JSONL, is one value; `nested` says which, and what is no row of it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from safe_embed.datasets.nested import nested_rows
from safe_embed.datasets.parquet import iterate_parquet, read_parquet, write_parquet
from safe_embed.errors import DataError

__all__ = ["Problem", "Row", "read_parquet", "read_table", "type_name", "write_parquet"]

MAX_FIELD_CHARS = 16 * 1024 * 1024
"""Longest field of a CSV file. The standard 128 KiB is less than some answers of models."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a table, by column name."""

    number: int
    """Line on which it starts (a CSV header is line 1); in Parquet and JSON the record."""
    values: dict[str, object]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one row, and how to mend it."""

    row: int | None
    field: str | None
    message: str

    def __str__(self) -> str:
        """The problem as one line, printable whatever the file holds."""
        where = [f"row {self.row}"] if self.row is not None else []
        where += [self.field] if self.field is not None else []
        line = f"{', '.join(where)}: {self.message}" if where else self.message
        return line.encode("utf-8", "backslashreplace").decode("utf-8")


_Reader: TypeAlias = Callable[[Path], Iterator[Row | Problem]]


def read_table(path: Path | str) -> Iterator[Row | Problem]:
    """Reads a table row by row, in the order of the file.

    Args:
        path: a .csv, .jsonl, .ndjson (each also .gz), .json or .parquet file.

    Returns:
        An iterator that gives each row, or the problem of a row that cannot be read. Values of CSV
        are text; those of JSON and Parquet have the types of the file (Parquet types other than
        text, numbers, booleans and lists of them come as text).

    Raises:
        DataError: the file as a whole cannot be read, at once or while it is read.
    """
    path = Path(path)
    name = path.name.lower()
    reader = next((read for ends, read in _READERS.items() if name.endswith(ends)), None)
    if path.is_dir():
        raise DataError(path, "is a directory; name a file in it")
    if reader is None:
        raise DataError(path, f"has an unknown extension; must be one of {', '.join(_READERS)}")
    if not path.exists():
        raise DataError(path, "does not exist; check the name and the working directory")
    return _whole_file_errors(path, reader)


def _whole_file_errors(path: Path, reader: _Reader) -> Iterator[Row | Problem]:
    empty = True
    try:
        for item in reader(path):
            empty = False
            yield item
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(path, f"is damaged or not gzip ({error}); fetch or pack it again") from None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    if empty:
        raise DataError(path, "holds no rows; it must hold at least one")


@contextmanager
def _open_text(path: Path) -> Iterator[BinaryIO]:
    """Opens a text table as bytes, unpacked, and refuses what is not UTF-8 at first sight."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        head = file.peek(4)[:4]
        marked = head.startswith((b"\xff\xfe", b"\xfe\xff"))
        if marked or b"\0\0" in (head[::2], head[1::2]):  # no mark, but every other byte is NUL
            raise DataError(path, "is UTF-16 or UTF-32, must be UTF-8; save the file as UTF-8")
        yield cast("BinaryIO", file)


def _csv_rows(path: Path) -> Iterator[Row | Problem]:
    # The limit is one for the process, so it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_FIELD_CHARS))
    with (
        _open_text(path) as file,
        io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text,
    ):
        reader = csv.reader(text, strict=True)
        header: list[str] | None = None
        while True:
            start = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Problem(start, None, _csv_remedy(error))
                continue
            if not fields:
                continue
            if header is None:
                header = _header(path, fields, start)
            else:
                yield _csv_row(start, header, fields)


def _header(path: Path, fields: list[str], row: int) -> list[str]:
    names = [name.strip() for name in fields]
    if any("\0" in name for name in names):
        raise DataError(path, _NUL_REMEDY, row=row)
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(path, f"names the column {twice[0]!r} twice; rename or remove one", row=row)
    return names


def _csv_row(number: int, header: list[str], fields: list[str]) -> Row | Problem:
    if len(fields) != len(header):
        return Problem(
            number,
            None,
            f"has {len(fields)} fields, must have {len(header)} like the header; put quotes around "
            "a text that holds a comma or a line break",
        )
    for name, field in zip(header, fields, strict=True):
        if "\0" in field:
            return Problem(number, name or None, _NUL_REMEDY)
    # A column without a name is what some programs write for row numbers.
    return Row(number, {name: field for name, field in zip(header, fields, strict=True) if name})


_NUL_REMEDY = "holds a NUL byte, so the file is damaged or not UTF-8; save the file as UTF-8 again"


def _csv_remedy(error: csv.Error) -> str:
    reason = str(error)
    if "unexpected end" in reason:
        return "opens a quote that is never closed; close it, or write a quote inside a text twice"
    if "field limit" in reason:
        return f"has a field of over {MAX_FIELD_CHARS:,} characters; look for a quote left open"
    return f"is not CSV ({reason}); write a quote inside a text twice, and the text in quotes"


def _jsonl_rows(path: Path) -> Iterator[Row | Problem]:
    with _open_text(path) as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8", "surrogateescape")
            if number == 1:
                text = text.removeprefix("\ufeff")
            if text.strip():
                yield _json_row(number, text)


def _json_row(number: int, text: str) -> Row | Problem:
    if "\0" in text:
        return Problem(number, None, _NUL_REMEDY)
    try:
        values = json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError:
        return Problem(number, None, "is nested too deeply; write one flat JSON object per line")
    except ValueError as error:  # JSONDecodeError is one; so is an integer of too many digits
        return Problem(number, None, f"is not JSON ({error}); write one JSON object per line")
    if not isinstance(values, dict):
        found = type_name(values)
        return Problem(number, None, f"is {found}, must be a JSON object; write one per line")
    return Row(number, values)


def _nested_rows(path: Path) -> Iterator[Row | Problem]:
    with _open_text(path) as file:
        text = file.read().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if "\0" in text:
        raise DataError(path, _NUL_REMEDY)
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys)
        rows = list(nested_rows(value))
    except RecursionError:
        raise DataError(path, "is nested too deeply; write categories, then texts") from None
    except ValueError as error:
        remedy = "a file of one JSON object a line is called .jsonl"
        raise DataError(path, f"is not JSON that holds texts ({error}); {remedy}") from None
    for number, values in enumerate(rows, 1):
        yield Row(number, values)


def type_name(value: object) -> str:
    """The type of a value in the words of JSON."""
    for kinds, name in (
        ((str,), "text"),
        ((bool,), "a boolean"),
        ((int, float), "a number"),
        ((list, tuple), "a list"),
        ((dict,), "an object"),
        ((type(None),), "null"),
    ):
        if isinstance(value, kinds):
            return name
    return type(value).__name__


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return values


def _parquet_rows(path: Path) -> Iterator[Row | Problem]:
    for number, values in enumerate(iterate_parquet(path), 1):
        yield Row(number, values)


_READERS: dict[str, _Reader] = {
    ".csv": _csv_rows,
    ".csv.gz": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".jsonl.gz": _jsonl_rows,
    ".ndjson": _jsonl_rows,
    ".ndjson.gz": _jsonl_rows,
    ".json": _nested_rows,
    ".parquet": _parquet_rows,
}
