"""Files of records: pairs, contrast sets and prompts.

A row that cannot be used is a problem in the answer, not the end of the reading; `load_records` is
for those who need every row.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from safe_embed.datasets.columns import FORMATS, KINDS, Format, Kind, Record, detect_kind, record_of
from safe_embed.datasets.tables import Problem, Row, read_table
from safe_embed.errors import DataError, UnknownNameError
from safe_embed.files import sha256_of
from safe_embed.records import ContrastSet, Prompt, PromptPair

__all__ = ["Defect", "RecordFile", "load_records", "normalised_text", "read_records"]

Defect = Literal["duplicate text", "equal edits"]
"""What some published files are known to have; where allowed, a warning instead of a problem."""

_R = TypeVar("_R", PromptPair, ContrastSet, Prompt)
_ROWS_READ_FOR_COLUMNS = 100


@dataclass(frozen=True, slots=True)
class RecordFile:
    """What was read from one file."""

    path: Path
    kind: Kind
    digest: str
    """SHA-256 of the file's bytes."""
    records: tuple[Record, ...]
    """The rows without a problem, in the order of the file."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    """Defects that were allowed; their rows are among the records."""

    @property
    def pairs(self) -> tuple[PromptPair, ...]:
        """The records of a file of pairs; a `DataError` where it is of another kind."""
        return self._all(PromptPair)

    @property
    def contrast_sets(self) -> tuple[ContrastSet, ...]:
        """The records of a file of contrast sets; a `DataError` where it is of another kind."""
        return self._all(ContrastSet)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The records of a file of prompts; a `DataError` where it is of another kind."""
        return self._all(Prompt)

    def _all(self, wanted: type[_R]) -> tuple[_R, ...]:
        if FORMATS[self.kind].record is not wanted:
            kind = next(kind for kind in KINDS if FORMATS[kind].record is wanted)
            raise DataError(self.path, f"holds {self.kind}, must hold {kind}; name another file")
        return tuple(record for record in self.records if isinstance(record, wanted))


def read_records(
    path: Path | str,
    kind: Kind | None = None,
    *,
    allow: Collection[Defect] = (),
    ignore: Collection[str] = (),
) -> RecordFile:
    """Reads a file of records and collects the problems of its rows.

    Args:
        path: a file that `read_table` reads.
        kind: what the file holds; found from its columns where None.
        allow: defects that are warnings instead of problems.
        ignore: columns to leave out, where one has a known name and another meaning.

    Raises:
        DataError: the file as a whole cannot be read, or has not the columns of its kind.
        UnknownNameError: no such kind.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind of records", kind, KINDS)
    table = read_table(path)
    first = list(itertools.islice(table, _ROWS_READ_FOR_COLUMNS))
    columns = _columns(path, first, ignore)
    kind = kind or detect_kind(path, columns)
    FORMATS[kind].require_columns(path, columns)
    reading = _Reading(FORMATS[kind], frozenset(allow))
    for row in itertools.chain(first, table):
        reading.add(row, ignore)
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from error
    return RecordFile(
        path=path,
        kind=kind,
        digest=digest,
        records=tuple(reading.records),
        problems=tuple(reading.problems),
        warnings=tuple(reading.warnings),
    )


def load_records(
    path: Path | str,
    kind: Kind | None = None,
    *,
    allow: Collection[Defect] = (),
    ignore: Collection[str] = (),
) -> RecordFile:
    """Reads a file of which each row must be usable; the arguments are those of `read_records`.

    Raises:
        DataError: as `read_records`, and for the first problem, which tells how many follow.
        UnknownNameError: no such kind.
    """
    file = read_records(path, kind, allow=allow, ignore=ignore)
    if not file.problems:
        return file
    first, more = file.problems[0], len(file.problems) - 1
    message = str(Problem(None, first.field, first.message))
    if more:
        plural = "s" if more > 1 else ""
        message += f" ({more:,} more problem{plural}: `safe-embed data check {path}` lists them)"
    raise DataError(file.path, message, row=first.row)


def normalised_text(text: str) -> str:
    """The text for comparison: neither case nor white space tells two prompts apart."""
    return " ".join(text.casefold().split())


def _columns(path: Path, rows: list[Row | Problem], ignore: Collection[str]) -> list[str]:
    """Names of the columns in the first rows: lines of JSONL may have different ones."""
    names = {name: None for row in rows if isinstance(row, Row) for name in row.values}
    for row in rows:
        if not names and isinstance(row, Problem):
            raise DataError(path, f"no row at the start can be read; {row.message}", row=row.row)
    return [name for name in names if name not in ignore]


@dataclass(slots=True)
class _Reading:
    """Rows turned into records one by one, compared with those before."""

    form: Format
    allow: frozenset[Defect]
    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    rows_of_ids: dict[str, int] = field(default_factory=dict)
    rows_of_texts: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row | Problem, ignore: Collection[str]) -> None:
        if isinstance(row, Problem):
            self.problems.append(row)
            return
        record = record_of(row, self.form, ignore)
        if isinstance(record, list):
            self.problems += record
            return
        refused = False
        for defect, problem in self._defects(row.number, record):
            allowed = defect in self.allow
            refused = refused or not allowed
            (self.warnings if allowed else self.problems).append(problem)
        if not refused:
            self.records.append(record)

    def _defects(self, row: int, record: Record) -> Iterator[tuple[Defect | None, Problem]]:
        first = self.rows_of_ids.setdefault(record.id, row)
        if first != row:
            yield None, Problem(row, "id", f"is that of row {first} too; make it unique")
        for name in self.form.texts:
            first = self.rows_of_texts.setdefault(normalised_text(getattr(record, name)), row)
            if first != row:
                message = f"has the same text as row {first}; remove one of them"
                yield "duplicate text", Problem(row, name, message)
        if isinstance(record, PromptPair):
            if normalised_text(record.unsafe) == normalised_text(record.safe):
                yield None, Problem(row, "safe", "is the same text as the unsafe side; change one")
        elif isinstance(record, ContrastSet):
            yield from _equal_edits(row, record)


def _equal_edits(row: int, record: ContrastSet) -> Iterator[tuple[Defect, Problem]]:
    seen = {normalised_text(record.original): "the original"}
    for number, edit in enumerate(record.edits, 1):
        other = seen.setdefault(normalised_text(edit), f"edit {number}")
        if other != f"edit {number}":
            message = f"edit {number} is the same text as {other}; change or remove it"
            yield "equal edits", Problem(row, "edits", message)
