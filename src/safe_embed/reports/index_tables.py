"""Tables of an index for people: its exemplars, its counts, its versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from safe_embed.reports.verdict_text import short_category, shown

if TYPE_CHECKING:
    from safe_embed.stores.base import Change, Diff, Exemplar, StoreStats

__all__ = ["diff_tables", "exemplar_table", "history_table", "stats_table"]

_SHOWN_OF_A_DIFF = 50


def exemplar_table(exemplars: Sequence[Exemplar]) -> Table:
    """One line an exemplar; an id is never cut, because commands take it."""
    table = Table()
    table.add_column("id", no_wrap=True)
    for title in ("label", "category", "source", "text"):
        table.add_column(title, overflow="fold")
    for one in exemplars:
        label = f"{one.label}, muted" if one.muted else one.label
        category = short_category(one.category) if one.category else ""
        cells = (shown(one.id), label, category, shown(one.source), shown(one.text))
        table.add_row(*map(Text, cells), style="dim" if one.muted else "")
    return table


def stats_table(stats: StoreStats, facts: Mapping[str, str]) -> RenderableType:
    """Counts of an index, and what else is known of it.

    Args:
        stats: of its store.
        facts: further lines, by title.
    """
    table = Table.grid(padding=(0, 2))
    rows = {
        "version": f"{stats.version}",
        "unsafe exemplars": f"{stats.n_unsafe:,}",
        "safe exemplars": f"{stats.n_safe:,}",
        "of them muted": f"{stats.n_muted:,}",
        **facts,
    }
    for title, value in rows.items():
        table.add_row(title, Text(shown(value)))
    parts: list[RenderableType] = [table]
    for title, counts in (("category", stats.by_category), ("source", stats.by_source)):
        if counts:
            parts.append(_counts(title, counts))
    return Group(*parts)


def history_table(changes: Sequence[Change]) -> Table:
    """One line a version, newest last."""
    table = Table()
    for title in ("version", "time (UTC)", "change", "exemplars"):
        table.add_column(title, justify="right" if title in {"version", "exemplars"} else "left")
    table.add_column("note", overflow="fold")
    for one in changes:
        time = f"{one.time:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(one.version), time, one.kind, f"{one.n:,}", Text(shown(one.note)))
    return table


def diff_tables(diff: Diff) -> RenderableType:
    """What was added, removed and changed, the first of each."""
    parts: list[RenderableType] = []
    for title, exemplars in (("added", diff.added), ("removed", diff.removed)):
        if exemplars:
            parts += [Text(f"{title}: {len(exemplars):,}"), _first(exemplars)]
    if diff.changed:
        parts.append(Text(f"changed: {len(diff.changed):,} (as they became)"))
        parts.append(_first([after for _, after in diff.changed]))
    return Group(*parts) if parts else Text("no difference")


def _first(exemplars: Sequence[Exemplar]) -> RenderableType:
    table = exemplar_table(exemplars[:_SHOWN_OF_A_DIFF])
    left = len(exemplars) - _SHOWN_OF_A_DIFF
    return Group(table, Text(f"... and {left:,} more; --json lists all")) if left > 0 else table


def _counts(title: str, counts: Mapping[str, int]) -> Table:
    table = Table(title)
    table.add_column("exemplars", justify="right")
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(Text(short_category(name)), f"{count:,}")
    return table
