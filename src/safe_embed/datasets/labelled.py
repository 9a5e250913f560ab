"""Labelled files of other people's making: their columns as our fields, their words as labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from safe_embed.datasets.columns import (
    FORMATS,
    KINDS,
    Kind,
    Record,
    detect_kind,
    first_turn,
    listed_columns,
    record_of,
)
from safe_embed.datasets.tables import Problem, Row, read_table
from safe_embed.datasets.texts import is_line_file, iterate_file_lines
from safe_embed.errors import DataError, InputError, UnknownNameError
from safe_embed.records import Label, Prompt

__all__ = ["ColumnMap", "LabelledRow", "load_labelled", "with_label"]

_MORE_FIELDS: Final = ("source", "tenant", "muted")  # of exemplars; no record has them
_FIELDS: Final = frozenset(_MORE_FIELDS).union(*(form.columns for form in FORMATS.values()))
_ROWS_READ_FOR_COLUMNS: Final = 100


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """How a file names what we call otherwise.

    Args:
        columns: from a field of ours, such as `text` or `label`, to the file's column.
        unsafe: values of the label that mean unsafe, compared without case.
        safe: values that mean safe. With either, any other value is refused.

    Raises:
        InputError: a value means both, or there are only values for one label.
        UnknownNameError: no field has that name.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    unsafe: tuple[str, ...] = ()
    safe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in _FIELDS:
                raise UnknownNameError("field", name, _FIELDS)
        if bool(self.unsafe) != bool(self.safe):
            raise InputError("say which values mean unsafe and which mean safe, not only one")
        if both := {_word(one) for one in self.unsafe} & {_word(one) for one in self.safe}:
            raise InputError(f"the label {min(both)!r} cannot mean unsafe and safe; choose one")

    def apply(self, path: Path, row: Row | Problem) -> Row | Problem:
        """A row by our names; the file's own stay where they do not stand in the way."""
        if isinstance(row, Problem) or not (self.columns or self.unsafe):
            return row
        values = dict(row.values)
        for name, column in self.columns.items():
            values.pop(name, None)
            if column in row.values:
                value = row.values[column]
                values[name] = first_turn(value) if name == "text" else value
        if self.unsafe and "label" in values:
            values["label"] = self._label(path, row.number, values["label"])
        return Row(row.number, values)

    def _label(self, path: Path, row: int, value: object) -> Label:
        word = _word(value)
        if word in map(_word, self.unsafe):
            return "unsafe"
        if word in map(_word, self.safe):
            return "safe"
        known = ", ".join((*self.unsafe, *self.safe))
        raise DataError(path, f"the label is {ascii(value)[:60]}, must be one of {known}", row=row)


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """One row of a labelled file."""

    number: int
    """As `tables.Row` counts."""
    record: Record
    """A prompt has a label."""
    values: Mapping[str, object]
    """All cells, by our names where they were mapped."""

    @property
    def has_id(self) -> bool:
        """Whether the file gives the id; else it is made of the row's number."""
        return self.record.id != f"row {self.number}"


def load_labelled(
    path: Path | str,
    kind: Kind | None = None,
    *,
    mapping: ColumnMap | None = None,
    label: Label | None = None,
) -> tuple[LabelledRow, ...]:
    """Reads prompts with labels, pairs or contrast sets; every row must be usable.

    Unlike `load_records` it lets a text be there twice, as many published sets do.

    Args:
        path: a file that `read_table` reads, or .txt with one prompt a line.
        kind: what the file holds; found from its columns where None.
        mapping: names of columns and labels.
        label: that of every prompt which has none of its own. A safe one then has no category: that
            of a benign set is a topic, and no harm.

    Raises:
        DataError: the file as a whole, or a row, cannot be used; an id is there twice; a row has
            another label than was said.
        UnknownNameError: no such kind.
    """
    path, mapping = Path(path), mapping or ColumnMap()
    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind of records", kind, KINDS)
    table = (mapping.apply(path, row) for row in _read(path))
    first = list(itertools.islice(table, _ROWS_READ_FOR_COLUMNS))
    columns = list(dict.fromkeys(name for one in _rows(path, first) for name in one.values))
    for name, column in mapping.columns.items():
        if name not in columns:
            raise DataError(
                path,
                f"has no column {column!r} for {name!r} (its columns: {listed_columns(columns)})",
            )
    form = FORMATS[kind or detect_kind(path, columns)]
    form.require_columns(path, columns)
    found: list[LabelledRow] = []
    row_of: dict[str, int] = {}
    for row in _rows(path, itertools.chain(first, table)):
        record = record_of(row, form)
        if isinstance(record, list):
            raise _error(path, record[0])
        record = _labelled(path, row.number, record, label)
        if (before := row_of.setdefault(record.id, row.number)) != row.number:
            message = f"the id {record.id!r} is that of row {before} too; make it unique"
            raise DataError(path, message, row=row.number)
        found.append(LabelledRow(row.number, record, row.values))
    return tuple(found)


def with_label(record: Record, label: Label | None) -> Record:
    """A prompt with this label, where it has none.

    Raises:
        ValueError: the record has another label, or sides with labels of their own; or no label.
    """
    if not isinstance(record, Prompt):
        if label is None:
            return record
        raise ValueError(
            f"is no prompt, but has sides with labels of their own; leave `{label}:` out"
        )
    if label is None or record.label == label:
        if record.label is None:
            raise ValueError(
                "has no label; name its column with --column label=NAME, or say that the prompts "
                "are all of one label: `unsafe:` or `safe:` before the name of the file"
            )
        return record
    if record.label is not None:
        raise ValueError(f"is labelled {record.label}, but the file was named as {label}:")
    category = record.category if label == "unsafe" else None
    return record.model_copy(update={"label": label, "category": category})


def _labelled(path: Path, row: int, record: Record, label: Label | None) -> Record:
    try:
        return with_label(record, label)
    except ValueError as error:
        raise DataError(path, str(error), row=row) from None


def _read(path: Path) -> Iterator[Row | Problem]:
    if is_line_file(path):
        return (Row(line.number, {"text": line.text}) for line in iterate_file_lines(path))
    return read_table(path)


def _rows(path: Path, table: Iterator[Row | Problem] | list[Row | Problem]) -> Iterator[Row]:
    for row in table:
        if isinstance(row, Problem):
            raise _error(path, row)
        yield row


def _error(path: Path, problem: Problem) -> DataError:
    return DataError(path, str(Problem(None, problem.field, problem.message)), row=problem.row)


def _word(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().casefold()
