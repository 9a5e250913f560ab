"""What a training changed: the table before and after, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table

from safe_embed.training.card import comparison_rows

if TYPE_CHECKING:
    from safe_embed.training import Training

__all__ = ["training_view"]


def training_view(training: Training) -> RenderableType:
    """The table before and after, and a line on what similarity was kept."""
    table = Table("measure", "before", "after", "p")
    for row in comparison_rows(training):
        table.add_row(*row)
    kept = training.results.similarity
    return Group(
        table,
        f"general similarity kept: cosines of {kept.n_pairs:,} pairs of ordinary prompts correlate "
        f"with the base's at {kept.correlation:.3f}",
    )
