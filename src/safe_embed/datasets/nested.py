"""JSON files that are one value: lists of texts, also by category, and lists of objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["CATEGORY_SEPARATOR", "nested_rows"]

CATEGORY_SEPARATOR: Final = " / "
"""Stands between a category and its sub-category."""

_WRAPPERS: Final = frozenset({"data", "instructions", "prompts", "questions", "rows", "texts"})
_COLUMNS: Final = frozenset({"label", "prompt", "text"})


def nested_rows(value: object) -> Iterator[dict[str, object]]:
    """The rows that one JSON value holds.

    Args:
        value: a list of texts or of objects; an object whose values are such lists, or again such
            objects, by category and sub-category; or `{"instructions": [...]}`, where the name (or
            `data`, `prompts`, `questions`, `rows`, `texts`) is no category, and what stands beside
            it is left out.

    Returns:
        For a text a row with `text`, and `category` where it stands under one, the names on its
        path joined by " / "; for an object its own values, and `category` where it has none.

    Raises:
        ValueError: something else stands where a list, a text or an object must.
        RecursionError: it is nested too deeply.
    """
    if isinstance(value, dict):
        wrapped = sorted(_WRAPPERS & value.keys())
        if len(wrapped) == 1:
            value = value[wrapped[0]]
        elif columns := _COLUMNS & value.keys():
            raise ValueError(
                f"it has {min(columns)!r} where a category must stand, so it is one row, or columns"
            )
    yield from _rows(value, ())


def _rows(value: object, path: tuple[str, ...]) -> Iterator[dict[str, object]]:
    category = {"category": CATEGORY_SEPARATOR.join(path)} if path else {}
    if isinstance(value, dict):
        for name, below in value.items():
            yield from _rows(below, (*path, name.strip()))
        return
    if not isinstance(value, list):
        place = f"under {CATEGORY_SEPARATOR.join(path)[:80]!r}" if path else "at the top"
        message = f"{place} there must be a list of texts or objects"
        raise ValueError(message)  # noqa: TRY004 - of a file, no argument of the wrong type
    for number, item in enumerate(value, 1):
        if isinstance(item, str):
            yield {"text": item, **category}
        elif isinstance(item, dict):
            yield {**category, **item}
        else:
            place = f" under {CATEGORY_SEPARATOR.join(path)[:80]!r}" if path else ""
            message = f"item {number}{place} is neither a text nor an object"
            raise ValueError(message)  # noqa: TRY004 - as above
