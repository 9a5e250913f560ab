"""The report of some runs: one HTML file that opens from disk and needs no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from safe_embed.benchmark import TASKS, Evaluation, score_of
from safe_embed.errors import InputError
from safe_embed.reports.cards import make_card
from safe_embed.reports.explorer_data import explorer_data
from safe_embed.reports.figures import MapPoint
from safe_embed.reports.html import packed_spec, render
from safe_embed.reports.page_figures import Figure, confusion_figure, map_figure, shared_figures
from safe_embed.reports.recommendation import recommend
from safe_embed.reports.task_words import TASK_TEXTS, listed

__all__ = ["Source", "report_page"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a run came from: the name of its file, and the SHA-256 of that."""

    name: str
    sha256: str


def report_page(
    evaluations: Sequence[Evaluation],
    *,
    sources: Sequence[Source],
    maps: Mapping[int, Sequence[MapPoint]] | None = None,
    command: str = "",
    home: str | None = None,
    seed: int = 0,
) -> str:
    """Makes the page.

    Args:
        evaluations: runs on the same data, at least one.
        sources: of each run.
        maps: points of the map, by position of the run.
        command: that made the page, as someone would type it.
        home: address of the page that lists this one among others; None where there is none.
        seed: of the comparison's resamples and permutations.

    Returns:
        HTML. The same arguments give the same text.

    Raises:
        InputError: no run, or runs on other data or settings.
        MissingExtraError: the extra `report` is not installed.
    """
    if not evaluations:
        raise InputError("a report needs a run or more")
    evaluations = _with_names_of_their_own(evaluations)
    recommendation = recommend(evaluations, seed=seed) if len(evaluations) > 1 else None
    names = [one.run.encoder.name for one in evaluations]
    first = recommendation.pick if recommendation else names[0]
    shared = shared_figures(evaluations)
    having = [
        (number, one) for number, one in enumerate(evaluations) if one.run.tasks.safety_taxonomy
    ]
    confusions = [confusion_figure(one, number) for number, one in having]
    mapped = [
        map_figure(one, maps[number], number) for number, one in having if maps and number in maps
    ]
    return render(
        "report.html.j2",
        {
            "title": names[0] if len(names) == 1 else f"{len(names)} encoders compared",
            "names": listed(names),
            "first": first,
            "runs": [one.run for one in evaluations],
            "home": home,
            "cards": [make_card(one) for one in evaluations],
            "recommendation": recommendation,
            "task_texts": {
                task: TASK_TEXTS[task]
                for task in TASKS
                if any(score_of(one.run, task) for one in evaluations)
            },
            "figures": shared,
            "confusions": confusions,
            "maps": mapped,
            "sources": sources,
            "command": command,
        },
        data={
            "charts": _specs([*shared, *confusions, *mapped]),
            "explorer": explorer_data(evaluations) | {"first": names.index(first)},
        },
        scripts=("page.js", "charts.js", "explorer.js"),
        with_charts=True,
    )


def _specs(figures: Sequence[Figure]) -> dict[str, Any]:
    return {figure.id: packed_spec(figure.spec) for figure in figures}


def _with_names_of_their_own(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Charts and tables tell encoders apart by name: the second `minilm` becomes `minilm (2)`."""
    seen: Counter[str] = Counter()
    renamed = []
    for one in evaluations:
        name = one.run.encoder.name
        seen[name] += 1
        if seen[name] > 1:
            encoder = one.run.encoder.model_copy(update={"name": f"{name} ({seen[name]})"})
            one = replace(one, run=one.run.model_copy(update={"encoder": encoder}))  # noqa: PLW2901
        renamed.append(one)
    return renamed
