"""Texts of a file one by one, in memory that does not grow with the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from safe_embed.datasets.columns import FORMATS, first_turn, listed_columns
from safe_embed.datasets.tables import Problem, Row, read_table, type_name
from safe_embed.errors import DataError
from safe_embed.records import MAX_PROMPT_CHARS

__all__ = ["TextRow", "is_line_file", "iterate_file_lines", "iterate_lines", "iterate_texts"]

_TABLES: Final = (
    ".csv",
    ".jsonl",
    ".ndjson",
    ".csv.gz",
    ".jsonl.gz",
    ".ndjson.gz",
    ".json",
    ".parquet",
)
_LINES: Final = (".txt", ".text", ".lst", "")
_MAX_LINE_BYTES: Final = 4 * MAX_PROMPT_CHARS + 2


@dataclass(frozen=True, slots=True)
class TextRow:
    """One text and where it stands."""

    number: int
    """Line of the file, the first is 1; in Parquet the record."""
    text: str
    """Not checked: it may be blank, too long, or hold a lone surrogate where a byte is no UTF-8."""
    id: str | int | float | None = None
    """The file's; None where it has none."""


def iterate_texts(path: Path | str, columns: Mapping[str, str] | None = None) -> Iterator[TextRow]:
    """Texts of a table, or the lines of a text file, in their order.

    Args:
        path: a file that `read_table` reads, or one of lines (.txt, or no extension), of which
            blank ones are skipped.
        columns: names of the columns of a table, for `text` and `id`; by default `text`, `prompt`,
            `question`, `instruction` or the first of `turns`, whichever comes first, and `id`.

    Raises:
        DataError: the file or, when its turn comes, a row cannot be read, or has no text.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(_TABLES) and not is_line_file(path):
        raise DataError(
            path,
            "has an unknown extension; must be .csv, .jsonl, .ndjson (each also .gz), .json, "
            ".parquet, or .txt for one prompt a line",
        )
    if name.endswith(_TABLES):
        return _table_texts(path, columns or {})
    return iterate_file_lines(path)


def iterate_lines(file: BinaryIO, name: str) -> Iterator[TextRow]:
    """The lines of an open file; blank ones are skipped.

    Args:
        file: opened for bytes.
        name: for messages.

    Raises:
        DataError: there is no line, one is too long to be a prompt, or the file is UTF-16.
    """
    empty, number = True, 0
    while line := file.readline(_MAX_LINE_BYTES):
        number += 1
        if len(line) == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            message = f"has over {MAX_PROMPT_CHARS:,} characters, too many for a prompt; shorten it"
            raise DataError(name, message, row=number)
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(name, "is UTF-16, must be UTF-8; save the file as UTF-8")
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        text = text.removeprefix("\ufeff") if number == 1 else text
        if text.strip():
            empty = False
            yield TextRow(number, text)
    if empty:
        raise DataError(name, "holds no prompt; write one a line")


def is_line_file(path: Path) -> bool:
    """Whether a file of this name is one of lines."""
    return path.suffix.lower() in _LINES


def iterate_file_lines(path: Path) -> Iterator[TextRow]:
    """The lines of a text file; blank ones are skipped.

    Raises:
        DataError: the file cannot be read, or as `iterate_lines`.
    """
    if path.is_dir():
        raise DataError(path, "is a directory; name a file in it")
    try:
        with path.open("rb") as file:
            yield from iterate_lines(file, str(path))
    except FileNotFoundError:
        message = "does not exist; check the name and the working directory"
        raise DataError(path, message) from None
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error


def _table_texts(path: Path, columns: Mapping[str, str]) -> Iterator[TextRow]:
    default = FORMATS["prompts"].columns["text"]
    names = (columns["text"],) if "text" in columns else default
    id_name = columns.get("id", "id")
    for row in read_table(path):
        if isinstance(row, Problem):
            message = str(Problem(None, row.field, row.message))
            raise DataError(path, message, row=row.row)
        found = row.values.get(id_name)
        id_ = found if isinstance(found, str | int | float) else None
        yield TextRow(row.number, _text(path, row, names, columns), id_)


def _text(path: Path, row: Row, names: tuple[str, ...], columns: Mapping[str, str]) -> str:
    name = next((one for one in names if row.values.get(one) is not None), None)
    if name is None:
        raise DataError(
            path,
            f"has no text in a column {' or '.join(names)} (its columns: "
            f"{listed_columns(row.values)}); name the column "
            "with --column text=NAME, or remove the row",
            row=row.number,
        )
    value = row.values[name]
    if "text" in columns or name == "turns":
        value = first_turn(value)
    if not isinstance(value, str):
        message = f"{name}: must be text, is {type_name(value)}; write it in quotes"
        raise DataError(path, message, row=row.number)
    return value
