"""Contrast sets as they stand in a file, defects included, read row by row."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from safe_embed.datasets.columns import FORMATS
from safe_embed.datasets.tables import Problem, Row, read_table, type_name
from safe_embed.records import check_text

__all__ = ["SetRow", "Verdict", "read_set_rows"]

Verdict: TypeAlias = Literal["safe", "unsafe", "undecided"]
"""What most votes of a judge say of one edit; a tie is unsafe."""

_NUMBERED_EDIT = re.compile(r"(?:edit_|prompt_#)([0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class SetRow:
    """One contrast set; its edits may be blank, repeated or the original."""

    row: int
    id: str
    original: str
    edits: tuple[str, ...]
    verdicts: tuple[Verdict, ...] | None
    """Of each edit, where a judge voted."""


def read_set_rows(path: Path) -> Iterator[SetRow | Problem]:
    """Reads a file of contrast sets in the columns of `safe_embed.datasets`.

    The votes of a judge are `votes` in the object `judge`, or a column of that name: a list for
    each edit, of "safe", "unsafe" or what else the judge said.

    Raises:
        DataError: the file as a whole cannot be read, or lacks a column.
    """
    checked = False
    for row in read_table(path):
        if isinstance(row, Problem):
            yield row
            continue
        if not checked:
            FORMATS["contrast sets"].require_columns(path, row.values)
            checked = True
        yield _set_row(row)


def _set_row(row: Row) -> SetRow | Problem:
    columns = FORMATS["contrast sets"].columns
    field = next((name for name in columns["original"] if name in row.values), "original")
    try:
        original = _text(row.values.get(field), blank=False)
        field = "edits"
        edits = _edits(row.values)
        field = "judge"
        verdicts = _verdicts(row.values, len(edits))
        field = "id"
        id_ = row.values.get("id")
        name = check_text(f"row {row.number}" if id_ in (None, "") else str(id_))
    except ValueError as error:
        return Problem(row.number, field, str(error))
    return SetRow(row.number, name, original, edits, verdicts)


def _text(value: object, *, blank: bool) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, is {type_name(value)}")  # noqa: TRY004 - of the file
    return value if blank and not value.strip() else check_text(value)


def _edits(cells: Mapping[str, object]) -> tuple[str, ...]:
    value = cells.get("edits")
    if value is None:
        value = _numbered(cells)
    elif isinstance(value, str):  # JSON in a cell of CSV
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("must be a JSON list of texts") from None
    if not isinstance(value, list) or not value:
        raise ValueError(f"must be a list of at least one text, is {type_name(value)}")
    texts = []
    for number, item in enumerate(value, 1):
        try:
            texts.append(_text(item, blank=True))
        except ValueError as error:
            raise ValueError(f"item {number} {error}") from None
    return tuple(texts)


def _numbered(cells: Mapping[str, object]) -> list[object]:
    """Cells of numbered columns in their order; a set may have fewer than the table's columns."""
    found = [
        (int(match[1]), value)
        for name, value in cells.items()
        if (match := _NUMBERED_EDIT.fullmatch(name))
    ]
    values = [value for _, value in sorted(found, key=lambda one: one[0])]
    while values and (values[-1] in (None, "") or values[-1] != values[-1]):  # NaN of pandas
        values.pop()
    return values


def _verdicts(cells: Mapping[str, object], n: int) -> tuple[Verdict, ...] | None:
    judge = cells.get("judge", cells)
    votes = judge.get("votes") if isinstance(judge, Mapping) else None
    if votes is None:
        return None
    if not isinstance(votes, list) or len(votes) != n:
        raise ValueError(f"votes must be a list for each of the {n} edits")
    return tuple(map(_verdict, votes))


def _verdict(votes: object) -> Verdict:
    if not isinstance(votes, list):
        raise ValueError(  # noqa: TRY004 - of the file
            f"the votes on an edit must be a list, are {type_name(votes)}"
        )
    safe, unsafe = votes.count("safe"), votes.count("unsafe")
    if not safe and not unsafe:
        return "undecided"
    return "safe" if safe > unsafe else "unsafe"
