"""Which columns make which record, one row at a time."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from pydantic import ValidationError

from safe_embed.datasets.tables import Problem, Row, type_name
from safe_embed.errors import DataError
from safe_embed.records import ContrastSet, Prompt, PromptPair, check_text

__all__ = [
    "FORMATS",
    "KINDS",
    "Format",
    "Kind",
    "Record",
    "detect_kind",
    "first_turn",
    "listed_columns",
    "record_of",
]

Kind = Literal["pairs", "contrast sets", "prompts"]
KINDS: tuple[Kind, ...] = get_args(Kind)

Record: TypeAlias = PromptPair | ContrastSet | Prompt

_NUMBERED_EDIT = re.compile(r"(?:edit_|prompt_#)([0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class Format:
    """How the columns of a table make one kind of record."""

    record: type[Record]
    columns: Mapping[str, tuple[str, ...]]
    """Each field with the columns that may hold it; the first that is there is taken."""
    texts: tuple[str, ...]
    """The fields that tell this kind from the others, and whose texts must not repeat."""

    def required(self) -> list[str]:
        """Fields that each row must have; an id is made from the row where it is absent."""
        fields = self.record.model_fields
        return [name for name in self.columns if name != "id" and fields[name].is_required()]

    def require_columns(self, path: Path, columns: Collection[str]) -> None:
        """Raises a `DataError` where the table lacks a column as a whole."""
        for field in self.required():
            found = any(name in columns for name in self.columns[field])
            if field == "edits":
                found = found or any(map(_NUMBERED_EDIT.fullmatch, columns))
            if not found:
                wanted = " or ".join(self.columns[field])
                wanted += " or edit_1, edit_2, ..." if field == "edits" else ""
                raise DataError(
                    path, f"has no column {wanted}; add it (its columns: {listed_columns(columns)})"
                )


FORMATS: Mapping[Kind, Format] = MappingProxyType(
    {
        "pairs": Format(
            PromptPair,
            {
                "id": ("id",),
                "type": ("type",),
                "unsafe": ("unsafe", "unsafe_prompt"),
                "safe": ("safe", "safe_prompt"),
                "focus": ("focus",),
                "category": ("category", "types_of_harm"),
            },
            texts=("unsafe", "safe"),
        ),
        "contrast sets": Format(
            ContrastSet,
            {
                "id": ("id",),
                "category": ("category", "types_of_harm"),
                "original": ("original", "original_prompt"),
                "edits": ("edits",),  # or one column for each, `_NUMBERED_EDIT`
            },
            texts=("original",),
        ),
        "prompts": Format(
            Prompt,
            {
                "id": ("id",),
                "text": ("text", "prompt", "question", "instruction", "turns"),
                "label": ("label", "is_safe"),
                "category": ("category", "types_of_harm"),
            },
            texts=("text",),
        ),
    }
)


def detect_kind(path: Path, columns: Collection[str]) -> Kind:
    """The kind of records that a table with these columns holds.

    Raises:
        DataError: the columns are those of no kind.
    """
    for kind, form in FORMATS.items():
        if all(any(name in columns for name in form.columns[text]) for text in form.texts):
            return kind
    needed = "; ".join(f"{kind}: {', '.join(form.required())}" for kind, form in FORMATS.items())
    raise DataError(
        path,
        f"has the columns {listed_columns(columns)}, which make no records; name them as one of "
        f"these: {needed} (in CSV the first line names the columns, with commas between)",
    )


def listed_columns(columns: Collection[str]) -> str:
    """Names of columns for a message, the first 12; escaped, as they come from a file."""
    shown = [ascii(name[:40]) for name in itertools.islice(columns, 12)]
    return ", ".join(shown) + (", ..." if len(columns) > len(shown) else "")


def record_of(row: Row, form: Format, ignore: Collection[str] = ()) -> Record | list[Problem]:
    """Makes the record of one row, or says all that is wrong with the row.

    Args:
        row: the row; columns that the format does not know are left out.
        form: the format of the table.
        ignore: columns to leave out all the same.
    """
    cells = {name: value for name, value in row.values.items() if name not in ignore}
    required = form.required()
    values: dict[str, object] = {"id": f"row {row.number}"}
    columns: dict[str, str] = {}
    problems: list[Problem] = []
    for field, names in form.columns.items():
        column = next((name for name in names if not _is_absent(cells.get(name))), None)
        if column is None or (field not in required and _is_blank(cells[column])):
            continue
        columns[field] = column
        try:
            values[field] = _CONVERTERS.get(column, _unchanged)(cells[column])
        except ValueError as error:
            problems.append(Problem(row.number, column, str(error)))
            values.pop(field, None)
    numbered = []
    if "edits" in form.columns and "edits" not in columns:
        numbered = _numbered_edits(cells)
        if numbered:
            values["edits"] = [cells[name] for name in numbered]
    try:
        record = form.record.model_validate(values)
    except ValidationError as error:
        told = {problem.field for problem in problems}
        for item in error.errors(include_url=False):
            problem = Problem(row.number, *_explained(item, form, columns, numbered))
            if columns.get(str(item["loc"][0])) not in told:
                problems.append(problem)
        return problems
    return problems or record


def _is_absent(value: object) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN, as pandas writes what is absent


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()


def _numbered_edits(cells: Mapping[str, object]) -> list[str]:
    """Columns of the edits in the order of their numbers; a set may have fewer than the others."""
    found = [
        (int(match[1]), name)
        for name, value in cells.items()
        if (match := _NUMBERED_EDIT.fullmatch(name)) and not _is_absent(value) and value != ""
    ]
    return [name for _, name in sorted(found)]


def _explained(
    item: Mapping[str, Any], form: Format, columns: Mapping[str, str], numbered: list[str]
) -> tuple[str, str]:
    """The user's column and our words for one error of pydantic."""
    field, *inner = item["loc"]
    column = columns.get(field, " or ".join(form.columns[field]))
    if inner:
        column = numbered[inner[0]] if numbered else f"{column}, item {inner[0] + 1}"
    kind, found = item["type"], item["input"]
    if kind == "missing":
        return column, "is missing; add it, or remove the row"
    if kind == "value_error":
        return column, str(item["ctx"]["error"])
    if kind == "string_type":
        return column, f"must be text, is {type_name(found)}"
    if kind == "literal_error":
        return column, f"must be {item['ctx']['expected']}, is {ascii(found)[:60]}"
    if kind in {"tuple_type", "too_short"}:
        return column, f"must be a list of at least one text, is {type_name(found)}"
    return column, str(item["msg"])


def _unchanged(value: object) -> object:
    return value


def _id(value: object) -> object:
    """Integers as text, also where a program made them floating point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _label(value: object) -> object:
    return value.strip().casefold() if isinstance(value, str) else value


def _is_safe(value: object) -> object:
    match str(value).strip().casefold():
        case "true" | "1" | "1.0":
            return "safe"
        case "false" | "0" | "0.0":
            return "unsafe"
    raise ValueError(f"must be true or false, is {ascii(value)[:60]}")


def _edits(value: object) -> object:
    """A list, or the JSON of one in a cell of CSV."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError(
            "must be a JSON list of texts, or use columns edit_1, edit_2, ..."
        ) from None


def first_turn(value: object) -> object:
    """The first text of a conversation, a list of texts; anything else as it is."""
    if isinstance(value, list) and value and isinstance(value[0], str):
        return value[0]
    return value


def _focus(value: object) -> object:
    return check_text(value) if isinstance(value, str) else value


_CONVERTERS: Mapping[str, Callable[[object], object]] = MappingProxyType(
    {
        "id": _id,
        "label": _label,
        "is_safe": _is_safe,
        "turns": first_turn,
        "edits": _edits,
        "focus": _focus,
    }
)
