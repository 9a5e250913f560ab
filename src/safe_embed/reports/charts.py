"""What every chart needs: Altair itself, its data, and texts that may be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from safe_embed.errors import MissingExtraError
from safe_embed.taxonomy import HARM_CATEGORIES

__all__ = ["Figure", "altair_module", "inline_values", "short_category", "shown_text"]

Figure = Any
"""A chart of Altair, whose types do not tell charts, layers and facets apart."""


def altair_module() -> Any:  # noqa: ANN401 - a module
    """Altair, imported late.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import altair as alt
    except ImportError:
        raise MissingExtraError("report", needed_for="figures") from None
    return alt


def inline_values(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Rows as the data of a chart, inside it."""
    return altair_module().InlineData(values=[dict(row) for row in rows])


def short_category(category: str) -> str:
    """A short name of a category of harm; the name itself of another category."""
    return HARM_CATEGORIES.get(category, category)


def shown_text(text: str, most: int = 240) -> str:
    """A prompt for a tooltip: one line of at most `most` characters, no control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
