"""A comparison of runs: a table for people, Markdown, and CSV."""

from __future__ import annotations

import csv
import io

from rich.markup import escape
from rich.table import Table

from safe_embed.benchmark import TASKS, Comparison, ComparisonRow, PublishedScores, TaskName

__all__ = ["comparison_csv", "comparison_markdown", "comparison_table"]

_TITLES: dict[TaskName, str] = {
    "safety_challenging": "Safety-Challenging (lower is better)",
    "safety_contrast": "Safety-Contrast (lower is better)",
    "safety_taxonomy": "Safety-Taxonomy (higher is better)",
}
_COLUMNS = (
    "encoder",
    "published",
    "task",
    "score",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
)


def comparison_table(comparison: Comparison) -> Table:
    """One row an encoder, one column a task; differences are from the first row."""
    tasks = _tasks(comparison)
    table = Table(
        "encoder",
        "average similarity",
        *(f"{_TITLES[task]}, n = {comparison.n[task]}" for task in tasks),
        title=f"suite {comparison.suite}; difference from {comparison.rows[0].encoder} "
        "[95 % interval], p after Holm",
        title_justify="left",
    )
    for row in comparison.rows:
        table.add_row(
            escape(row.encoder),
            f"{row.average_similarity:.3f}",
            *(_cell(row, task).replace("; ", "\n").replace("[", r"\[") for task in tasks),
        )
    for published in comparison.published:
        table.add_row(
            f"{escape(published.encoder)} (published)",
            f"{published.average_similarity:.3f}",
            *(_published_cell(published, task) for task in tasks),
        )
    return table


def comparison_markdown(comparison: Comparison) -> str:
    """The same as a Markdown table."""
    tasks = _tasks(comparison)
    lines = [
        "| encoder | average similarity | " + " | ".join(_TITLES[task] for task in tasks) + " |",
        "|---" * (2 + len(tasks)) + "|",
    ]
    for row in comparison.rows:
        cells = [_plain(row.encoder), f"{row.average_similarity:.3f}"]
        lines.append(f"| {' | '.join([*cells, *(_cell(row, task) for task in tasks)])} |")
    for one in comparison.published:
        cells = [f"{one.encoder} (published)", f"{one.average_similarity:.3f}"]
        lines.append(f"| {' | '.join([*cells, *(_published_cell(one, task) for task in tasks)])} |")
    return "\n".join(lines)


def comparison_csv(comparison: Comparison) -> str:
    """One line an encoder and task."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in comparison.rows:
        for task, one in row.tasks.items():
            interval = one.difference_ci95 or ("", "")
            difference = "" if one.difference is None else one.difference
            p_value = "" if one.p_value is None else one.p_value
            writer.writerow(
                [row.encoder, "no", task, one.score, *one.ci95, difference, *interval, p_value]
            )
    for published in comparison.published:
        for task in _tasks(comparison):
            if (score := getattr(published, task)) is not None:
                writer.writerow([published.encoder, "yes", task, score, *[""] * 6])
    return text.getvalue().rstrip("\n")


def _tasks(comparison: Comparison) -> list[TaskName]:
    return [task for task in TASKS if task in comparison.n]


def _cell(row: ComparisonRow, task: TaskName) -> str:
    one = row.tasks[task]
    text = f"{one.score:.3f} [{one.ci95[0]:.3f}, {one.ci95[1]:.3f}]"
    if one.difference is None or one.difference_ci95 is None or one.p_value is None:
        return text
    low, high = one.difference_ci95
    return f"{text}; {one.difference:+.3f} [{low:+.3f}, {high:+.3f}], p {_p(one.p_value)}"


def _published_cell(published: PublishedScores, task: TaskName) -> str:
    score: float | None = getattr(published, task)
    return "" if score is None else f"{score:.3f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _plain(text: str) -> str:
    """A name that cannot break out of its cell."""
    return " ".join(text.replace("|", r"\|").split())
