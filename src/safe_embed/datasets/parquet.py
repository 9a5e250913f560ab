"""Parquet files, read and written by DuckDB, a third of the size of the other engines."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safe_embed.errors import DataError, InputError, StorageError
from safe_embed.files import atomic_file

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

__all__ = ["iterate_parquet", "read_parquet", "write_parquet"]

FETCHED_ROWS = 10_000

_PLAIN_TYPES = {
    "VARCHAR", "BLOB", "BOOLEAN", "FLOAT", "DOUBLE", "TINYINT", "SMALLINT", "INTEGER", "BIGINT",
    "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
}  # fmt: skip


def iterate_parquet(path: Path) -> Iterator[dict[str, object]]:
    """Gives each row by column name, in the order of the file and in little memory.

    Columns of other types than text, numbers, booleans and lists of them come as text, and bytes
    as text with a lone surrogate for each byte that is not UTF-8.

    Raises:
        DataError: the file is not Parquet.
    """
    with _reading(path) as (connection, source):
        columns = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()  # noqa: S608
        wanted = ", ".join(_readable(name, kind) for name, kind, *_ in columns)
        result = connection.execute(f"SELECT {wanted} FROM {source}")  # noqa: S608 - quoted
        names = [name for name, *_ in columns]
        while rows := result.fetchmany(FETCHED_ROWS):
            for values in rows:
                yield dict(zip(names, map(_decoded, values), strict=True))


def read_parquet(path: Path | str) -> dict[str, list[Any]]:
    """Reads a Parquet file by column, empty columns included.

    Raises:
        DataError: the file is missing or not Parquet.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "does not exist or is no file; check the name")
    with _reading(path) as (connection, source):
        result = connection.execute(f"SELECT * FROM {source}")  # noqa: S608 - quoted
        names = [column[0] for column in result.description or []]
        rows = result.fetchall()
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


@contextmanager
def _reading(path: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """Gives a connection and the SQL of the file's table."""
    import duckdb  # takes a tenth of a second, and only Parquet needs it

    # A glob character in the name stands for itself, and `name=value` folders are no columns.
    name = "".join(f"[{char}]" if char in "*?[" else char for char in str(path.absolute()))
    try:
        with closing(_connect()) as connection:
            yield connection, f"read_parquet({_quote(name)}, hive_partitioning = false)"
    except duckdb.Error as error:
        raise DataError(path, f"is not a readable Parquet file ({_first_line(error)})") from None


def _readable(name: str, kind: str) -> str:
    """SQL of one column: others than the plain types would need packages that we do not have."""
    quoted = _quote_name(name)
    return quoted if kind.removesuffix("[]") in _PLAIN_TYPES else f"CAST({quoted} AS VARCHAR)"


def _decoded(value: object) -> object:
    # Old writers mark text as bytes. A lone surrogate says later that it was none.
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def write_parquet(path: Path | str, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
    """Writes columns of equal length as a Parquet file, whole or not at all.

    The type of a column is found from its values: text, booleans, integers (64 bits), floating
    point (64 bits), or lists of one of these. None becomes NULL; NaN, and NUL in a text, are kept.
    A column of no values, or of None alone, is text; a list of empty lists is of integers.

    Args:
        path: the file, replaced where it exists.
        columns: values by column name; names differ by more than case, as Parquet readers need.

    Raises:
        InputError: a text is not valid Unicode, an integer needs over 64 bits, or types are mixed.
        StorageError: the file cannot be written.
        ValueError: no columns, columns of different lengths, or unusable names.
    """
    import duckdb

    path = Path(path)
    values = [[_plain(value) for value in column] for column in columns.values()]
    if len({len(column) for column in values}) != 1:
        raise ValueError("columns must be at least one, all of the same length")
    if not all(columns) or len({name.lower() for name in columns}) < len(columns):
        raise ValueError(f"column names must not be blank or equal but for case: {list(columns)}")
    types = [_sql_type(name, column) for name, column in zip(columns, values, strict=True)]
    # Floating point goes as text, because DuckDB 1 takes the NaN of a Python list for NULL.
    sent = [
        [_as_text(value) for value in column] if sql.startswith("DOUBLE") else column
        for sql, column in zip(types, values, strict=True)
    ]
    wanted = ", ".join(
        f"unnest(?::{sql.replace('DOUBLE', 'VARCHAR')}[])::{sql} AS {_quote_name(name)}"
        for name, sql in zip(columns, types, strict=True)
    )
    try:
        with atomic_file(path) as temporary, closing(_connect()) as connection:
            target = _quote(str(temporary.absolute()))
            # The name is temporary already, so DuckDB need not make one of its own.
            options = "FORMAT PARQUET, COMPRESSION ZSTD, USE_TMP_FILE false"
            connection.execute(f"COPY (SELECT {wanted}) TO {target} ({options})", sent)
    except duckdb.IOException as error:
        raise StorageError(f"cannot write {path}: {error}") from error
    except duckdb.Error as error:
        reason = f"a value does not fit its column ({_first_line(error)})"
        raise InputError(f"cannot write {path}: {reason}") from None


def _plain(value: Any) -> Any:  # noqa: ANN401
    """What DuckDB takes in place of a tuple, or of a NumPy scalar or array."""
    if isinstance(value, tuple):
        return list(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _as_text(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return None if value is None else repr(float(value))


def _require_unicode(name: str, values: list[str | None]) -> None:
    try:
        "".join(filter(None, values)).encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"column {name!r} holds a text with a lone surrogate; mend it") from None


def _sql_type(name: str, values: list[Any]) -> str:
    types = {type(value) for value in values if value is not None}
    if types and all(issubclass(kind, list) for kind in types):
        inner = [item for value in values if value is not None for item in value]
        return f"{_sql_type(name, inner) if inner else 'BIGINT'}[]"
    for base, sql in (
        (str, "VARCHAR"),
        (bool, "BOOLEAN"),
        (numbers.Integral, "BIGINT"),
        (numbers.Real, "DOUBLE"),
    ):
        if all(issubclass(kind, base) for kind in types):
            if base is str:
                _require_unicode(name, values)
            return sql
    found = ", ".join(sorted(kind.__name__ for kind in types))
    raise InputError(f"column {name!r} must hold values of one type, holds {found}")


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    # Nothing is fetched behind the user's back: an extension that is missing is an error.
    offline = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    return duckdb.connect(config=cast("dict[str, Any]", offline))


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
