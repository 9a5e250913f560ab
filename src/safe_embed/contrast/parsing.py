"""Raw answers that were collected elsewhere, read row by row into contrast sets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

from safe_embed.contrast.answers import AnswerError, Reason, check_edits, parse_answer
from safe_embed.contrast.outcome import rejected_path
from safe_embed.datasets.columns import FORMATS, record_of
from safe_embed.datasets.formats import normalised_text
from safe_embed.datasets.tables import Problem, Row, read_table
from safe_embed.errors import DataError, InputError
from safe_embed.files import atomic_file
from safe_embed.records import ContrastSet

__all__ = ["ParseSummary", "ParsedSet", "RejectedAnswer", "parse_raw", "write_parsed"]

_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "category": ("category", "types_of_harm"),
    "original": ("original", "original_prompt", "question", "prompt"),
    "answer": ("answer", "contrasts", "raw"),
}
"""Each field with the columns that may hold it; the first that is there is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedSet:
    """A row whose answer gave a contrast set."""

    row: int
    record: ContrastSet
    defect: tuple[Reason | Literal["duplicate text"], str] | None
    """Why `safe-embed run --suite` would refuse the set, with the detail; None where it takes it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedAnswer:
    """A row that gave no contrast set."""

    row: int
    id: str | None
    category: str | None
    original: str | None
    reason: Reason | Literal["bad row", "duplicate text"]
    """"bad row" where something else than the answer is wrong with the row."""
    detail: str
    raw: str | None
    """The answer as it was collected."""


Parsed: TypeAlias = ParsedSet | RejectedAnswer


@dataclass(kw_only=True)
class ParseSummary:
    """What became of the rows of a file."""

    n: int = 0
    """Rows that were read."""
    sets: int = 0
    """Contrast sets that were written."""
    rejected: Counter[str] = field(default_factory=Counter)
    """How many rows gave none, by the reason."""
    defects: Counter[str] = field(default_factory=Counter)
    """How many of the sets `safe-embed run --suite` would refuse, by the reason."""
    first_defect: str = ""
    """The first of those: its row and what is wrong."""


def parse_raw(path: Path | str, n: int = 5, *, strict: bool = False) -> Iterator[Parsed]:
    """Reads collected answers one row at a time, in the order of the file.

    Args:
        path: a file that `safe_embed.datasets.read_table` reads, with the columns `category`,
            `original` (or `original_prompt`, `question`, `prompt`) and `answer` (or `contrasts`,
            `raw`), and perhaps `id`.
        n: how many edits each prompt must have, at least 1.
        strict: also reject the sets that `safe-embed run --suite` would refuse.

    Returns:
        A set or a rejection for each row. In memory are two short keys of each row before.

    Raises:
        DataError: the file as a whole cannot be read, or lacks a column.
        InputError: n is less than 1.
    """
    if n < 1:
        raise InputError(f"n must be at least 1, got {n}")
    return _rows(Path(path), n, strict=strict)


def write_parsed(parsed: Iterable[Parsed], out: Path) -> Iterator[tuple[Parsed, ParseSummary]]:
    """Writes sets to `out` and rejections to the file beside it, while they are read.

    Args:
        parsed: as `parse_raw` gives them.
        out: a .jsonl file; it and `rejected_path(out)` are whole or absent.

    Returns:
        Each row when it is written, with the summary so far. The files are there when the last
        was taken.

    Raises:
        InputError: `out` has another extension.
        StorageError: a file cannot be written.
    """
    if out.suffix.lower() != ".jsonl":
        raise InputError(f"--out {out} must end in .jsonl, because that is what is written")
    return _write(parsed, out)


def _write(parsed: Iterable[Parsed], out: Path) -> Iterator[tuple[Parsed, ParseSummary]]:
    summary = ParseSummary()
    with (
        atomic_file(out) as sets_path,
        atomic_file(rejected_path(out)) as rejected_file,
        sets_path.open("w", encoding="utf-8", newline="\n") as sets,
        rejected_file.open("w", encoding="utf-8", newline="\n") as rejected,
    ):
        for item in parsed:
            summary.n += 1
            if isinstance(item, RejectedAnswer):
                summary.rejected[item.reason] += 1
                rejected.write(json.dumps(asdict(item)) + "\n")  # may hold lone surrogates
            else:
                summary.sets += 1
                if item.defect is not None:
                    summary.defects[item.defect[0]] += 1
                    told = f"row {item.row}: {item.defect[0]}, {item.defect[1]}"
                    summary.first_defect = summary.first_defect or told
                sets.write(json.dumps(item.record.model_dump(), ensure_ascii=False) + "\n")
            yield item, summary


def _rows(path: Path, n: int, *, strict: bool) -> Iterator[Parsed]:
    rows_of_ids: dict[str, int] = {}
    rows_of_texts: dict[int, int] = {}
    checked = False
    for row in read_table(path):
        if isinstance(row, Problem):
            yield _rejected(Row(row.row or 0, {}), "bad row", row.message)
            continue
        if not checked:
            _require_columns(path, row)
            checked = True
        item = _parsed(row, n)
        if isinstance(item, ParsedSet):
            record = item.record
            first = rows_of_ids.setdefault(record.id, row.number)
            if first != row.number:
                item = _rejected(row, "bad row", f"id: is that of row {first} too; make it unique")
            else:
                key = hash(normalised_text(record.original))  # the text itself may be long
                first = rows_of_texts.setdefault(key, row.number)
                item = _checked(item, n, first)
                if strict and item.defect is not None:
                    item = _rejected(row, *item.defect)
        yield item


def _require_columns(path: Path, row: Row) -> None:
    for names in _COLUMNS.values():
        if not any(name in row.values for name in names):
            found = ", ".join(ascii(name[:40]) for name in list(row.values)[:12])
            raise DataError(
                path, f"has no {' or '.join(names)}; add it (it has {found})", row=row.number
            )


def _parsed(row: Row, n: int) -> Parsed:
    try:
        edits = parse_answer(_raw(row) or "", n, prompt_id=_id(row))
    except AnswerError as error:
        return _rejected(row, error.reason, error.detail)
    values: dict[str, object] = {"id": row.values.get("id"), "edits": edits}
    values |= {name: _cell(row, name) for name in ("category", "original")}
    record = record_of(Row(row.number, values), FORMATS["contrast sets"])
    if isinstance(record, list):
        problem = record[0]
        return _rejected(row, "bad row", str(Problem(None, problem.field, problem.message)))
    assert isinstance(record, ContrastSet)  # noqa: S101 - of that format
    return ParsedSet(row=row.number, record=record, defect=None)


def _checked(item: ParsedSet, n: int, first: int) -> ParsedSet:
    """The set with what `run --suite` would say of it."""
    record = item.record
    if first != item.row:
        return replace(item, defect=("duplicate text", f"the same prompt as row {first}"))
    try:
        check_edits(record.original, record.edits, n)
    except AnswerError as error:
        return replace(item, defect=(error.reason, error.detail))
    return item


def _rejected(
    row: Row, reason: Reason | Literal["bad row", "duplicate text"], detail: str
) -> RejectedAnswer:
    category, original = _cell(row, "category"), _cell(row, "original")
    return RejectedAnswer(
        row=row.number,
        id=_id(row),
        category=category if isinstance(category, str) else None,
        original=original if isinstance(original, str) else None,
        reason=reason,
        detail=detail,
        raw=_raw(row),
    )


def _cell(row: Row, name: str) -> object:
    return next(
        (row.values[one] for one in _COLUMNS[name] if row.values.get(one) is not None), None
    )


def _raw(row: Row) -> str | None:
    """The answer as text, also where a program has stored its JSON and not its text."""
    cell = _cell(row, "answer")
    if isinstance(cell, dict | list):
        return json.dumps(cell)
    return cell if isinstance(cell, str) else None


def _id(row: Row) -> str | None:
    """The id as text, also where a program made it floating point."""
    value = row.values.get("id")
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    return None if value is None or value == "" else str(value)
