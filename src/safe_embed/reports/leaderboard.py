"""A site of many runs: a table of encoders for each suite, and a plot of score against speed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from safe_embed.benchmark import TASKS, Evaluation, Run, TaskName, score_of
from safe_embed.encoders import catalogue
from safe_embed.reports.cards import encoded_per_second
from safe_embed.reports.html import packed_spec, render
from safe_embed.reports.page_figures import Figure, FigureTable
from safe_embed.reports.pareto import ParetoPoint, best_of, pareto_chart
from safe_embed.reports.task_words import TASK_TEXTS, TaskText, listed, number

__all__ = ["Entry", "leaderboard_page", "page_name", "suites_of"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run of the site and the address of its page."""

    evaluation: Evaluation
    page: str


@dataclass(frozen=True, kw_only=True)
class _Row:
    name: str
    page: str
    scores: tuple[tuple[str, str, float] | None, ...]
    speed: float | None
    dimension: int
    size: str
    size_mb: int | None
    license: str


@dataclass(frozen=True, kw_only=True)
class _Table:
    id: str
    title: str
    description: str
    tasks: tuple[TaskText, ...]
    rows: tuple[_Row, ...]
    figures: tuple[Figure, ...]


def page_name(run: Run) -> str:
    """A file name for the page of a run: safe on every disk, the same for the same run."""
    words = re.sub(r"[^a-z0-9]+", "-", run.encoder.name.lower()).strip("-")[:60] or "encoder"
    identity = f"{run.encoder.fingerprint} {_data_of(run)} {run.threads}"
    return f"{words}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}.html"


def suites_of(entries: Sequence[Entry]) -> list[list[Entry]]:
    """The runs that may stand in one table: those on the same data with the same k."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(_data_of(entry.evaluation.run), []).append(entry)
    return list(found.values())


def leaderboard_page(entries: Sequence[Entry]) -> str:
    """Makes the first page of the site.

    Raises:
        MissingExtraError: the extra `report` is not installed.
    """
    tables = [_table(of_suite, number) for number, of_suite in enumerate(suites_of(entries))]
    return render(
        "leaderboard.html.j2",
        {"tables": tables},
        data={
            "charts": {
                figure.id: packed_spec(figure.spec) for table in tables for figure in table.figures
            }
        },
        scripts=("page.js", "charts.js", "leaderboard.js"),
        with_charts=True,
    )


def _data_of(run: Run) -> str:
    digests = sorted(run.suite.digests.items())
    return f"{run.suite.name} k={run.settings.k} {digests}"


def _table(entries: Sequence[Entry], place: int) -> _Table:
    run = entries[0].evaluation.run
    tasks = [
        task
        for task in TASKS
        if any(score_of(entry.evaluation.run, task) is not None for entry in entries)
    ]
    digests = ", ".join(f"{part} {digest[:12]}" for part, digest in run.suite.digests.items())
    return _Table(
        id=f"suite-{place}",
        title=f"Suite {run.suite.name}",
        description=f"k = {run.settings.k}; SHA-256 of the data begins {digests}",
        tasks=tuple(TASK_TEXTS[task] for task in tasks),
        rows=tuple(_row(entry, tasks) for entry in entries),
        figures=tuple(
            figure for task in tasks if (figure := _pareto_figure(entries, task, place)) is not None
        ),
    )


def _row(entry: Entry, tasks: Sequence[TaskName]) -> _Row:
    run = entry.evaluation.run
    row = catalogue.find(run.encoder.name)
    scores: list[tuple[str, str, float] | None] = []
    for task in tasks:
        score = score_of(run, task)
        interval = f"{number(score[1][0])} to {number(score[1][1])}" if score else ""
        scores.append((number(score[0]), interval, score[0]) if score else None)
    return _Row(
        name=run.encoder.name,
        page=entry.page,
        scores=tuple(scores),
        speed=encoded_per_second(entry.evaluation),
        dimension=run.encoder.dimension,
        size="" if row is None else f"{row.size_mb:,} MB" if row.size_mb else "API",
        size_mb=None if row is None else row.size_mb,
        license="" if row is None else row.license,
    )


def _pareto_figure(entries: Sequence[Entry], task: TaskName, place: int) -> Figure | None:
    """Score against speed; None where no run says its time."""
    text = TASK_TEXTS[task]
    points = [
        ParetoPoint(name=entry.evaluation.run.encoder.name, score=score[0], per_second=speed)
        for entry in entries
        if (score := score_of(entry.evaluation.run, task)) is not None
        and (speed := encoded_per_second(entry.evaluation)) is not None
    ]
    if not points:
        return None
    best = best_of(points, higher_is_better=text.higher_is_better)
    return Figure(
        id=f"figure-pareto-{place}-{task.replace('_', '-')}",
        title=f"{text.title} against speed",
        explanation=f"To the right is faster, {'higher' if text.higher_is_better else 'lower'} is "
        "better. The line joins the encoders than which no other is both faster and better.",
        summary=(f"Worth a choice: {listed([point.name for point in best])}.",),
        spec=pareto_chart(points, text).to_dict(),
        table=FigureTable(
            head=("encoder", text.score, "texts a second", "on the line"),
            rows=tuple(
                (
                    point.name,
                    number(point.score),
                    f"{point.per_second:,.0f}",
                    "yes" if point in best else "no",
                )
                for point in points
            ),
        ),
        is_wide=False,
    )
