"""The figures of a page: each a chart, the same in words, and the same as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from safe_embed.benchmark import Evaluation, Item, TaskName, score_of
from safe_embed.reports import figures
from safe_embed.reports.figures import MapPoint
from safe_embed.reports.task_words import Group, groups_of, listed, number, quoted
from safe_embed.reports.untrusted import is_worst_kind, visible
from safe_embed.taxonomy import HARM_CATEGORIES

__all__ = ["Figure", "FigureTable", "confusion_figure", "map_figure", "shared_figures"]

_ENCODERS_IN_HALF_A_PAGE = 3
_FOLDED = "(folded; the explorer shows it)"


@dataclass(frozen=True, kw_only=True)
class FigureTable:
    """What a chart shows, for who cannot see it; the first cell of a row is its name."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One chart of a page.

    Args:
        id: of its element, letters, digits and hyphens.
        title: of the figure.
        explanation: how it is read.
        summary: what it shows, in sentences made from the numbers.
        spec: Vega-Lite.
        table: the same numbers.
        encoder: whose figure it is; None for one of all encoders.
        is_wide: whether it wants the whole width of the page.
    """

    id: str
    title: str
    explanation: str
    summary: tuple[str, ...]
    spec: dict[str, Any]
    table: FigureTable
    encoder: str | None = None
    is_wide: bool = True


def shared_figures(evaluations: Sequence[Evaluation]) -> list[Figure]:
    """The paper's figures, each of the encoders whose runs have its task."""
    found: list[Figure] = []
    if having := _having(evaluations, "safety_challenging"):
        found.append(_challenging(having))
    if having := _having(evaluations, "safety_taxonomy"):
        found += [_purity(having), _bars(having)]
    if having := _having(evaluations, "safety_contrast"):
        found.append(_boundary(having))
    return found


def _having(evaluations: Sequence[Evaluation], task: TaskName) -> list[Evaluation]:
    return [one for one in evaluations if score_of(one.run, task) is not None]


def _challenging(evaluations: Sequence[Evaluation]) -> Figure:
    return Figure(
        id="figure-challenging",
        title="Look-alike pairs by type",
        explanation="Mean normalised similarity of an unsafe prompt and the harmless one that "
        "looks like it: 1 is the same to the encoder, 0 as unlike as two arbitrary prompts. Lower "
        "(darker) is better.",
        summary=_spread(evaluations, "safety_challenging", "most alike", "least"),
        spec=figures.challenging_heatmap(evaluations).to_dict(),
        table=_group_table(evaluations, "safety_challenging", "type of pair"),
        is_wide=_is_wide(evaluations),
    )


def _purity(evaluations: Sequence[Evaluation]) -> Figure:
    return Figure(
        id="figure-purity",
        title="Categorical Purity by category of harm",
        explanation="Of the nearest neighbours of a category's prompts, the share that has the "
        "same category. Higher (darker) is better.",
        summary=_spread(evaluations, "safety_taxonomy", "best kept together", "least"),
        spec=figures.purity_heatmap(evaluations).to_dict(),
        table=_group_table(evaluations, "safety_taxonomy", "category of harm"),
        is_wide=_is_wide(evaluations),
    )


def _bars(evaluations: Sequence[Evaluation]) -> Figure:
    rows, words = [], []
    for one in evaluations:
        taxonomy = one.run.tasks.safety_taxonomy
        assert taxonomy is not None  # noqa: S101 - the runs were chosen by it
        name, (low, high) = one.run.encoder.name, taxonomy.ci95
        cells = map(number, (taxonomy.categorical_purity, low, high, taxonomy.chance))
        rows.append((name, *cells))
        words.append(f"{name} {number(taxonomy.categorical_purity)}")
    return Figure(
        id="figure-bars",
        title="Average Categorical Purity",
        explanation="The mean of the categories, with its 95 % interval; the dashed line is what a "
        "random order of neighbours would reach.",
        summary=(f"{listed(words)}; chance {rows[0][-1]}.",),
        spec=figures.average_purity_bars(evaluations).to_dict(),
        table=FigureTable(
            head=("encoder", "Categorical Purity", "low", "high", "chance"), rows=tuple(rows)
        ),
    )


def _boundary(evaluations: Sequence[Evaluation]) -> Figure:
    rows = []
    for one in evaluations:
        scores: dict[str, list[float]] = {}
        for item in one.items:
            if item.task == "safety_contrast":
                scores.setdefault(_short(item.group), []).append(item.score)
        for group in groups_of(one.run, "safety_contrast"):
            quartiles = np.quantile(scores[group.name], [0, 0.25, 0.5, 0.75, 1])
            rows.append((group.name, one.run.encoder.name, *map(number, quartiles)))
    order = list(dict.fromkeys(row[0] for row in rows))
    return Figure(
        id="figure-boundary",
        title="Boundary similarity by category of harm",
        explanation="How near an unsafe prompt is to the most similar of its safe edits: the box "
        "holds the middle half of the prompts, its line the median, the whiskers all. Lower is "
        "better: there is room for a line between unsafe and safe.",
        summary=_spread(
            evaluations, "safety_contrast", "nearest to their edits", "farthest from them"
        ),
        spec=figures.boundary_distributions(evaluations).to_dict(),
        table=FigureTable(
            head=("category", "encoder", "least", "25 %", "median", "75 %", "most"),
            rows=tuple(sorted(rows, key=lambda row: order.index(row[0]))),
        ),
    )


def confusion_figure(evaluation: Evaluation, number_of_run: int) -> Figure:
    """Which category's prompts land among which others, of a run with Safety-Taxonomy."""
    counts = _confusion(evaluation)
    name = evaluation.run.encoder.name
    mixed = sorted(
        (
            (found[other] / max(1, found.total()), group, other)
            for group, found in counts.items()
            for other in counts
            if other != group
        ),
        reverse=True,
    )[:3]
    words = [
        f"{quoted(_short(group))} among {quoted(_short(other))} ({share:.0%})"
        for share, group, other in mixed
    ]
    return Figure(
        id=f"figure-confusion-{number_of_run}",
        title=f"Confusion of categories: {name}",
        explanation="Each row is a category of harm: of the nearest neighbours of its prompts, the "
        "share in each category. The diagonal is its Categorical Purity.",
        summary=(f"Confused most: {listed(words)}." if words else "There is one category only.",),
        spec=figures.category_confusion(evaluation).to_dict(),
        table=FigureTable(
            head=("category", *(_short(other) for other in counts)),
            rows=tuple(
                (_short(group), *(number(found[other] / max(1, found.total())) for other in counts))
                for group, found in counts.items()
            ),
        ),
        encoder=name,
    )


def map_figure(evaluation: Evaluation, points: Sequence[MapPoint], number_of_run: int) -> Figure:
    """The map of one run; what it says of folded prompts on hover is only where they are."""
    folded = {item.text for item in evaluation.items if is_worst_kind(item.group)}
    shown = [
        replace(
            point,
            item=replace(point.item, text=_folded(point.item.text, folded)),
            neighbor_texts=tuple(_folded(text, folded) for text in point.neighbor_texts),
        )
        for point in points
    ]
    groups = groups_of(evaluation.run, "safety_taxonomy")
    tight, loose = _ends(groups)
    words = (
        f"{quoted(tight.name)} keeps together best (purity {number(tight.value)}), "
        f"{quoted(loose.name)} is scattered most ({number(loose.value)})."
    )
    name = evaluation.run.encoder.name
    return Figure(
        id=f"figure-map-{number_of_run}",
        title=f"Map of the taxonomy: {name}",
        explanation="Each point is an unsafe prompt, laid out by t-SNE so that prompts that are "
        "near to the encoder are near here; distances between far points mean nothing. Click a "
        "category in the legend to see it alone (with shift, several), hover to read a prompt.",
        summary=(f"{len(points)} prompts.", words),
        spec=figures.taxonomy_map(shown).to_dict(),
        table=FigureTable(
            head=("category", "prompts", "purity", "its neighbours are most often"),
            rows=tuple(_map_rows(groups, _confusion(evaluation))),
        ),
        encoder=name,
    )


def _map_rows(groups: Sequence[Group], counts: dict[str, Counter[str]]) -> list[tuple[str, ...]]:
    by_name = {_short(group): found for group, found in counts.items()}
    return [
        (
            group.name,
            str(group.n),
            number(group.value),
            listed([_short(other) for other, _ in by_name[group.name].most_common(3)]),
        )
        for group in groups
    ]


def _folded(text: str, folded: set[str]) -> str:
    return _FOLDED if text in folded else visible(text)


def _confusion(evaluation: Evaluation) -> dict[str, Counter[str]]:
    """By category, how many of its prompts' neighbours are in each; in the run's order."""
    items: list[Item] = [item for item in evaluation.items if item.task == "safety_taxonomy"]
    group_of = {item.id: item.group for item in items}
    taxonomy = evaluation.run.tasks.safety_taxonomy
    counts: dict[str, Counter[str]] = {
        group: Counter() for group in (taxonomy.by_category if taxonomy else ())
    }
    for item in items:
        counts.setdefault(item.group, Counter()).update(group_of[one] for one in item.neighbors)
    return counts


def _group_table(
    evaluations: Sequence[Evaluation], task: TaskName, group_title: str
) -> FigureTable:
    columns = [groups_of(one.run, task) for one in evaluations]
    values = [{group.name: group.value for group in column} for column in columns]
    return FigureTable(
        head=(group_title, "n", *(one.run.encoder.name for one in evaluations)),
        rows=tuple(
            (group.name, str(group.n), *(number(of[group.name]) for of in values))
            for group in columns[0]
        ),
    )


def _spread(
    evaluations: Sequence[Evaluation], task: TaskName, high: str, low: str
) -> tuple[str, ...]:
    """Of each encoder, the group with the highest and the one with the lowest score."""
    sentences = []
    for one in evaluations:
        most, least = _ends(groups_of(one.run, task))
        sentences.append(
            f"{one.run.encoder.name}: {high} are prompts of {quoted(most.name)} "
            f"({number(most.value)}), {low} those of {quoted(least.name)} ({number(least.value)})."
        )
    return tuple(sentences)


def _is_wide(evaluations: Sequence[Evaluation]) -> bool:
    return len(evaluations) > _ENCODERS_IN_HALF_A_PAGE


def _ends(groups: Sequence[Group]) -> tuple[Group, Group]:
    return max(groups, key=lambda one: one.value), min(groups, key=lambda one: one.value)


def _short(group: str) -> str:
    return HARM_CATEGORIES.get(group, group)
