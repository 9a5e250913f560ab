"""Tables of runs for people: the three tasks, encoders side by side, and a summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from safe_embed.benchmark import Run, SafetyChallenging, SafetyContrast, SafetyTaxonomy
from safe_embed.taxonomy import HARM_CATEGORIES, PAIR_TYPES

__all__ = ["run_tables"]

_MAX_WITH_INTERVALS = 3  # encoders side by side that fit a terminal with their intervals


@dataclass(frozen=True)
class _Score:
    n: int
    value: float
    ci95: tuple[float, float]
    chance: float | None = None

    def text(self, *, interval: bool) -> str:
        low, high = self.ci95
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}]" if interval else f"{self.value:.3f}"


@dataclass(frozen=True)
class _TaskScores:
    """One task of one run, whatever the task: a score in all and by group."""

    total: _Score
    by_group: dict[str, _Score]


def run_tables(runs: Sequence[Run]) -> RenderableType:
    """A table for each task that ran, one column an encoder, and the summary.

    Args:
        runs: runs on the same suite with the same tasks, at least one.
    """
    names = [run.encoder.name for run in runs]
    tasks = [run.tasks for run in runs]
    parts: list[RenderableType] = []
    if challenging := [_challenging(pairs) for one in tasks if (pairs := one.safety_challenging)]:
        title = "Safety-Challenging: normalised similarity of look-alike pairs, lower is better"
        parts += [title, _task_table("type", "all pairs", PAIR_TYPES, names, challenging), ""]
    if contrast := [_contrast(edits) for one in tasks if (edits := one.safety_contrast)]:
        title = "Safety-Contrast: boundary similarity to safe edits, lower is better"
        table = _task_table("category", "all prompts", HARM_CATEGORIES, names, contrast)
        parts += [title, table, ""]
    if taxonomy := [_taxonomy(purity) for one in tasks if (purity := one.safety_taxonomy)]:
        k = runs[0].settings.k
        title = f"Safety-Taxonomy: Categorical Purity of the {k} nearest, higher is better"
        table = _task_table("category", "mean of categories", HARM_CATEGORIES, names, taxonomy)
        parts += [title, table, ""]
    parts += [f"Summary, suite {escape(runs[0].suite.name)}", _summary(runs)]
    parts += ["in brackets: 95 % bootstrap interval over items; avg: average similarity"]
    return Group(*parts)


def _challenging(result: SafetyChallenging) -> _TaskScores:
    return _TaskScores(
        _Score(result.n, result.normalized_similarity, result.ci95),
        {
            name: _Score(one.n, one.normalized_similarity, one.ci95)
            for name, one in result.by_type.items()
        },
    )


def _contrast(result: SafetyContrast) -> _TaskScores:
    return _TaskScores(
        _Score(result.n, result.boundary_similarity, result.ci95),
        {
            name: _Score(one.n, one.boundary_similarity, one.ci95)
            for name, one in result.by_category.items()
        },
    )


def _taxonomy(result: SafetyTaxonomy) -> _TaskScores:
    return _TaskScores(
        _Score(result.n, result.categorical_purity, result.ci95, result.chance),
        {
            name: _Score(one.n, one.categorical_purity, one.ci95, one.chance)
            for name, one in result.by_category.items()
        },
    )


def _task_table(
    group_title: str,
    total_title: str,
    short_names: Mapping[str, str],
    encoders: Sequence[str],
    scores: Sequence[_TaskScores],
) -> Table:
    first = scores[0]
    interval = len(scores) <= _MAX_WITH_INTERVALS
    has_chance = first.total.chance is not None
    table = Table()
    table.add_column(group_title, overflow="fold")
    table.add_column("n", justify="right")
    if has_chance:
        table.add_column("chance", justify="right")
    for encoder in encoders:
        table.add_column(escape(encoder), justify="right", overflow="fold")

    def add_row(name: str, row: Sequence[_Score], *, bold: bool = False) -> None:
        chance = [f"{row[0].chance:.3f}"] if row[0].chance is not None else []
        cells = [score.text(interval=interval) for score in row]
        table.add_row(escape(name), str(row[0].n), *chance, *cells, style="bold" if bold else "")

    for name in first.by_group:
        add_row(short_names.get(name, name), [one.by_group[name] for one in scores])
    table.add_section()
    add_row(total_title, [one.total for one in scores], bold=True)
    return table


def _summary(runs: Sequence[Run]) -> Table:
    table = Table()
    table.add_column("encoder", overflow="fold")
    for title in ("avg", "avg from", "Challenging", "Contrast", "Taxonomy"):
        table.add_column(title, justify="right", overflow="fold")
    for run in runs:
        tasks = run.tasks
        challenging = tasks.safety_challenging and tasks.safety_challenging.normalized_similarity
        contrast = tasks.safety_contrast and tasks.safety_contrast.boundary_similarity
        taxonomy = tasks.safety_taxonomy and tasks.safety_taxonomy.categorical_purity
        table.add_row(
            escape(run.encoder.name),
            f"{run.encoder.average_similarity:.3f}",
            run.encoder.average_similarity_source.partition(":")[0],
            *(
                "-" if score is None else f"{score:.3f}"
                for score in (challenging, contrast, taxonomy)
            ),
        )
    return table
