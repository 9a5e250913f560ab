"""Tables of what a data set holds and keeps, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from safe_embed.taxonomy import HARM_CATEGORIES

if TYPE_CHECKING:
    from safe_embed.curation import CoreReport

__all__ = ["core_report_tables"]


def core_report_tables(report: CoreReport) -> RenderableType:
    """Parts, categories, types, edit distances, give-aways and problems of safe-embed-core."""
    return Group(
        _parts(report),
        _crossed(
            "unsafe texts by category",
            {
                part: {HARM_CATEGORIES[name]: count for name, count in of.items()}
                for part, of in report.categories.items()
            },
        ),
        _crossed("pairs by type", report.types),
        _distances(report),
        _give_aways(report),
        *(Text(f"problem: {problem}") for problem in report.problems),
        Text("every promise is kept" if not report.problems else ""),
    )


def _parts(report: CoreReport) -> Table:
    table = Table("split", "part", "label", title="texts", title_justify="left")
    for name in ("n", "words 10 %", "50 %", "90 %", "questions", "first person"):
        table.add_column(name, justify="right")
    for one in report.parts:
        table.add_row(
            one.split,
            one.part,
            one.label,
            str(one.n),
            *(f"{value:.0f}" for value in one.words),
            f"{one.questions:.0%}",
            f"{one.first_person:.0%}",
        )
    return table


def _crossed(title: str, counts: dict[str, dict[str, int]]) -> Table:
    """One row a name, one column for each of the outer keys."""
    table = Table("", title=title, title_justify="left")
    for column in counts:
        table.add_column(column, justify="right")
    for name in sorted({name for of in counts.values() for name in of}):
        table.add_row(name, *(str(of.get(name, 0)) for of in counts.values()))
    return table


def _distances(report: CoreReport) -> Table:
    table = Table("words changed", title="edits of the test split", title_justify="left")
    names = list(report.edit_distances)
    for name in names:
        median = report.median_edit_distance[name]
        table.add_column(f"{name} (median {median:g})", justify="right")
    for distance in sorted({one for of in report.edit_distances.values() for one in of}):
        table.add_row(
            str(distance), *(str(report.edit_distances[name].get(distance, 0)) for name in names)
        )
    return table


def _give_aways(report: CoreReport) -> Table:
    table = Table(
        "number", title="test pairs whose unsafe side is ranked first", title_justify="left"
    )
    table.add_column("share", justify="right")
    for name, rate in report.give_aways.items():
        table.add_row(name, f"{rate:.1%}")
    if report.bag_of_words is not None:
        table.add_row("bag of words of the train split", f"{report.bag_of_words:.1%}")
    return table
