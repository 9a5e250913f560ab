"""The paper's figures and ours, as Vega-Lite charts made with Altair (extra `report`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from safe_embed.benchmark import Evaluation, Item, TaskName, score_of
from safe_embed.errors import InputError
from safe_embed.reports.charts import (
    Figure,
    altair_module,
    inline_values,
    short_category,
    shown_text,
)
from safe_embed.taxonomy import HARM_CATEGORIES, PAIR_TYPES

__all__ = [
    "FIGURES",
    "MapPoint",
    "average_purity_bars",
    "boundary_distributions",
    "category_confusion",
    "challenging_heatmap",
    "purity_heatmap",
    "taxonomy_map",
]

# Six colours that colour-blind readers tell apart (Okabe and Ito 2008), each with two shapes.
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_SHAPES = ("circle", "triangle-up")
_CELL = 46  # pixels of one cell of a heat map
_WIDTH = 560


@dataclass(frozen=True, kw_only=True)
class MapPoint:
    """One prompt on the map of the taxonomy.

    Args:
        x: first coordinate.
        y: second coordinate.
        item: the prompt with its purity and neighbours.
        neighbor_texts: of its nearest neighbours, nearest first.
    """

    x: float
    y: float
    item: Item
    neighbor_texts: tuple[str, ...]


def challenging_heatmap(evaluations: Sequence[Evaluation]) -> Figure:
    """Mean normalised similarity by type of pair and encoder (the paper's figure 2)."""
    rows = [
        {
            "encoder": one.run.encoder.name,
            "group": PAIR_TYPES.get(name, name),
            "value": round(of, 4),
        }
        for one in evaluations
        for name, of in _by_type(one).items()
    ]
    order = [PAIR_TYPES.get(name, name) for name in _by_type(evaluations[0])]
    return _heatmap(rows, order, "type of pair", "normalised similarity", lower_is_better=True)


def purity_heatmap(evaluations: Sequence[Evaluation]) -> Figure:
    """Categorical Purity by category of harm and encoder (the paper's figure 4)."""
    rows = [
        {"encoder": one.run.encoder.name, "group": short_category(name), "value": round(of, 4)}
        for one in evaluations
        for name, of in _by_category(one).items()
    ]
    order = [short_category(name) for name in _by_category(evaluations[0])]
    return _heatmap(rows, order, "category of harm", "Categorical Purity", lower_is_better=False)


def average_purity_bars(evaluations: Sequence[Evaluation]) -> Figure:
    """Mean Categorical Purity of each encoder with its interval, and the chance level as a rule."""
    alt = altair_module()
    rows, chance = [], 0.0
    for one in evaluations:
        taxonomy = one.run.tasks.safety_taxonomy
        if taxonomy is None:
            raise _missing(one, "safety_taxonomy")
        chance = taxonomy.chance
        low, high = taxonomy.ci95
        rows.append(
            {
                "encoder": one.run.encoder.name,
                "value": round(taxonomy.categorical_purity, 4),
                "low": round(low, 4),
                "high": round(high, 4),
            }
        )
    names = [row["encoder"] for row in rows]
    base = alt.Chart(inline_values(rows)).encode(y=alt.Y("encoder:N", sort=names, title=None))
    bars = base.mark_bar(color=_COLORS[0]).encode(
        x=alt.X("value:Q", title="Categorical Purity", scale=alt.Scale(domain=[0, 1])),
        tooltip=["encoder:N", "value:Q", "low:Q", "high:Q"],
    )
    intervals = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    level = [{"chance": round(chance, 4), "label": f"chance {chance:.3f}"}]
    rule = alt.Chart(inline_values(level)).mark_rule(strokeDash=[4, 4], color=_COLORS[3])
    text = alt.Chart(inline_values(level)).mark_text(align="left", dx=4, dy=-6, color=_COLORS[3])
    return alt.layer(
        bars,
        intervals,
        rule.encode(x="chance:Q"),
        text.encode(x="chance:Q", text="label:N", y=alt.value(0)),
    ).properties(width=_WIDTH, height=alt.Step(28))


def boundary_distributions(evaluations: Sequence[Evaluation]) -> Figure:
    """Boundary similarity of every contrast set, as box plots by category and encoder."""
    alt = altair_module()
    rows = [
        {
            "encoder": one.run.encoder.name,
            "category": short_category(item.group),
            "value": round(item.score, 4),
        }
        for one in evaluations
        for item in _items(one, "safety_contrast")
    ]
    names = [one.run.encoder.name for one in evaluations]
    return (
        alt.Chart(inline_values(rows))
        .mark_boxplot(extent="min-max", size=10)
        .encode(
            x=alt.X("value:Q", title="boundary similarity (lower is better)"),
            y=alt.Y(
                "category:N", title=None, sort=[short_category(name) for name in HARM_CATEGORIES]
            ),
            yOffset=alt.YOffset("encoder:N", sort=names),
            color=_encoder_color(names),
        )
        .properties(width=_WIDTH, height=alt.Step(14))
    )


def category_confusion(evaluation: Evaluation) -> Figure:
    """Of each category's nearest neighbours, the share that lies in each category."""
    items = _items(evaluation, "safety_taxonomy")
    group_of = {item.id: item.group for item in items}
    counts: dict[str, Counter[str]] = {}
    for item in items:
        counts.setdefault(item.group, Counter()).update(group_of[one] for one in item.neighbors)
    rows = [
        {
            "encoder": short_category(among),
            "group": short_category(group),
            "value": round(found[among] / max(1, found.total()), 4),
        }
        for group, found in counts.items()
        for among in counts
    ]
    order = [short_category(group) for group in HARM_CATEGORIES if group in counts]
    order += [short_category(group) for group in counts if group not in HARM_CATEGORIES]
    return _heatmap(
        rows,
        order,
        "category of the prompt",
        "share",
        lower_is_better=False,
        columns=order,
    )


def taxonomy_map(points: Sequence[MapPoint]) -> Figure:
    """The prompts in two dimensions, coloured by category; hover tells, the legend filters."""
    alt = altair_module()
    rows = [
        {
            "x": round(point.x, 3),
            "y": round(point.y, 3),
            "category": short_category(point.item.group),
            "prompt": shown_text(point.item.text),
            "purity": round(point.item.score, 3),
            "nearest": shown_text(" / ".join(point.neighbor_texts)),
        }
        for point in points
    ]
    categories = [short_category(name) for name in HARM_CATEGORIES]
    present = [name for name in categories if any(row["category"] == name for row in rows)]
    present += sorted({str(row["category"]) for row in rows} - set(present))
    chosen = alt.selection_point(fields=["category"], bind="legend")
    return (
        alt.Chart(inline_values(rows))
        .mark_point(filled=True, size=42)
        .encode(
            x=alt.X("x:Q", axis=None),
            y=alt.Y("y:Q", axis=None),
            color=alt.Color(
                "category:N",
                sort=present,
                scale=alt.Scale(
                    domain=present, range=[_COLORS[i % 6] for i in range(len(present))]
                ),
                legend=alt.Legend(symbolLimit=0, labelLimit=0),
            ),
            shape=alt.Shape(
                "category:N",
                sort=present,
                scale=alt.Scale(
                    domain=present, range=[_SHAPES[i // 6 % 2] for i in range(len(present))]
                ),
            ),
            opacity=alt.condition(chosen, alt.value(0.85), alt.value(0.06)),
            tooltip=["prompt:N", "category:N", "purity:Q", "nearest:N"],
        )
        .add_params(chosen)
        .properties(width=_WIDTH, height=_WIDTH)
    )


FIGURES = {
    "heatmap": challenging_heatmap,
    "purity": purity_heatmap,
    "bars": average_purity_bars,
    "boundary": boundary_distributions,
}
"""Figures of several runs by their names on the command line."""


def _by_type(evaluation: Evaluation) -> dict[str, float]:
    found = evaluation.run.tasks.safety_challenging
    if found is None:
        raise _missing(evaluation, "safety_challenging")
    return {name: one.normalized_similarity for name, one in found.by_type.items()}


def _by_category(evaluation: Evaluation) -> dict[str, float]:
    found = evaluation.run.tasks.safety_taxonomy
    if found is None:
        raise _missing(evaluation, "safety_taxonomy")
    return {name: one.categorical_purity for name, one in found.by_category.items()}


def _items(evaluation: Evaluation, task: TaskName) -> list[Item]:
    if score_of(evaluation.run, task) is None:
        raise _missing(evaluation, task)
    return [item for item in evaluation.items if item.task == task]


def _missing(evaluation: Evaluation, task: TaskName) -> InputError:
    return InputError(
        f"the run of {evaluation.run.encoder.name} has no {task}; run it with all tasks"
    )


def _heatmap(
    rows: list[dict[str, Any]],
    order: list[str],
    title: str,
    value_title: str,
    *,
    lower_is_better: bool,
    columns: list[str] | None = None,
) -> Figure:
    """Cells with their numbers; the darker colour is always the better one."""
    alt = altair_module()
    values = [row["value"] for row in rows]
    middle = (min(values) + max(values)) / 2
    base = alt.Chart(inline_values(rows)).encode(
        x=alt.X(
            "encoder:N",
            sort=columns or list(dict.fromkeys(str(row["encoder"]) for row in rows)),
            title="category of its nearest" if columns else None,
            axis=alt.Axis(labelAngle=-40, labelLimit=0, orient="top"),
        ),
        y=alt.Y("group:N", sort=order, title=title, axis=alt.Axis(labelLimit=0)),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "value:Q",
            title=value_title,
            scale=alt.Scale(scheme="viridis", reverse=not lower_is_better),
        ),
        tooltip=["group:N", "encoder:N", "value:Q"],
    )
    dark = f"datum.value {'<' if lower_is_better else '>'} {middle}"
    numbers = base.mark_text(fontSize=11).encode(
        text=alt.Text("value:Q", format=".2f"),
        color=alt.condition(dark, alt.value("white"), alt.value("black")),
    )
    return alt.layer(cells, numbers).properties(width=alt.Step(_CELL), height=alt.Step(_CELL / 2))


def _encoder_color(names: Sequence[str]) -> Figure:
    alt = altair_module()
    colors = [_COLORS[i % len(_COLORS)] for i in range(len(names))]
    return alt.Color(
        "encoder:N", sort=list(names), scale=alt.Scale(domain=list(names), range=colors)
    )
