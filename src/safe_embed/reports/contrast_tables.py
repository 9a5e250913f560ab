"""Tables and histograms of contrast sets: what was read from answers, and how valid it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from safe_embed.contrast.validity import DEFECTS

if TYPE_CHECKING:
    from safe_embed.contrast.difference import Comparison
    from safe_embed.contrast.distribution import Distribution
    from safe_embed.contrast.parsing import ParseSummary
    from safe_embed.contrast.validity import ValidityReport

__all__ = ["parse_tables", "validity_tables"]

_MAX_SHOWN = 20
_BAR = 40


def parse_tables(summary: ParseSummary, comparison: Comparison | None) -> RenderableType:
    """Sets, rejections by reason, and where another reading differs."""
    parts: list[RenderableType] = [
        Text(f"{summary.sets:,} contrast sets of {summary.n:,} answers"),
        *(Text(f"  {count:>5}  rejected: {why}") for why, count in summary.rejected.most_common()),
    ]
    if comparison is not None:
        equal = f"{comparison.equal:,} of {comparison.n:,} sets equal those of {comparison.path}"
        parts.append(Text(equal))
        if comparison.differences:
            parts.append(_differences(comparison))
            parts += _more(len(comparison.differences))
    return Group(*parts)


def _differences(comparison: Comparison) -> Table:
    table = Table("id", "field", "reason", "in the answer", "in the other file")
    for one in comparison.differences[:_MAX_SHOWN]:
        here, there = (_quoted(text) for text in (one.here, one.there))
        table.add_row(*map(Text, (one.id, one.field, one.reason, here, there)))
    return table


def validity_tables(report: ValidityReport) -> RenderableType:
    """Defects, distributions with their histograms, and which thresholds are kept."""
    counts = ", ".join(f"{sets:,} with {n}" for n, sets in report.edits_per_set.items())
    head = f"{report.path}: {report.n_sets:,} contrast sets, {report.n_edits:,} edits ({counts})"
    parts: list[RenderableType] = [Text(head), _defects(report)]
    if report.verdicts is not None:
        votes = ", ".join(f"{count:,} {name}" for name, count in report.verdicts.items())
        parts.append(Text(f"edits by most votes of the judge: {votes}"))
    spread = {"word edit distance / words of the original": report.edit_distance}
    spread[f"cosine of edit and original, encoder {report.encoder}"] = report.similarity
    for title, values in spread.items():
        if values is not None:
            parts += [Text(""), _histogram(title, values)]
    parts += [Text(f"problem: {problem}") for problem in report.problems[:_MAX_SHOWN]]
    parts += _more(len(report.problems))
    if report.findings:
        parts += [_findings(report), *_more(len(report.findings))]
    if report.thresholds:
        parts += [Text(""), _thresholds(report)]
    return Group(*parts)


def _defects(report: ValidityReport) -> Table:
    table = Table("defect", "what the edit is")
    table.add_column("edits", justify="right")
    table.add_column("share", justify="right")
    for name, count in report.defects.items():
        table.add_row(name, DEFECTS[name], f"{count:,}", f"{count / report.n_edits:.2%}")
    return table


def _histogram(title: str, values: Distribution) -> RenderableType:
    """One line a bin, its bar as long as its share of the fullest bin."""
    summary = (
        f"{title}\n  median {values.median:.3f}, mean {values.mean:.3f}, 10 to 90 % "
        f"{values.p10:.3f} to {values.p90:.3f}, all {values.minimum:.3f} to {values.maximum:.3f}"
    )
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right")
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for place, count in enumerate(values.histogram):
        low, high = place * values.bin_width, (place + 1) * values.bin_width
        last = place == len(values.histogram) - 1
        label = f"  {low:.1f} or more" if last else f"  {low:.1f} to {high:.1f}"
        length = round(_BAR * count / max(values.histogram)) or bool(count)
        table.add_row(label, Text("#" * length), f"{count:,}")
    return Group(Text(summary), table)


def _findings(report: ValidityReport) -> Table:
    table = Table("row", "id", "edit", "defect", "text")
    for one in report.findings[:_MAX_SHOWN]:
        cells = (str(one.row), one.id, str(one.edit), one.defect, _quoted(one.text))
        table.add_row(*map(Text, cells))
    return table


def _thresholds(report: ValidityReport) -> Table:
    table = Table("threshold")
    for name in ("limit", "value", "result"):
        table.add_column(name, justify="right")
    for one in report.thresholds:
        name = f"--{one.name.replace('_', '-')}"
        result = "pass" if one.passed else "fail"
        table.add_row(name, f"{one.limit:g}", f"{one.value:.4g}", result)
    return table


def _more(n: int) -> Sequence[Text]:
    return [Text(f"... and {n - _MAX_SHOWN:,} more; --json lists all")] if n > _MAX_SHOWN else []


def _quoted(text: str | None) -> str:
    """A text in which white space and control characters are seen."""
    return "" if text is None else repr(text)
