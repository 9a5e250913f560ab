"""`safe-embed plot`: one figure at print quality."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from safe_embed.cli.output import note

__all__ = ["Kind", "plot"]


class Kind(StrEnum):
    """Figures; the last two are of one run."""

    HEATMAP = "heatmap"
    PURITY = "purity"
    BARS = "bars"
    BOUNDARY = "boundary"
    CONFUSION = "confusion"
    MAP = "map"


def plot(
    runs: Annotated[list[Path], typer.Argument(help="Run files.", metavar="RUN...")],
    *,
    kind: Annotated[
        Kind, typer.Option(help="Which figure; confusion and map are of one run.")
    ] = Kind.HEATMAP,
    out: Annotated[
        Path, typer.Option(help="File to write: .png (300 dpi), .svg or .pdf.", show_default=False)
    ],
    encoder: Annotated[
        str | None,
        typer.Option(
            help="For map: where the run's encoder is, when its name does not tell.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw one figure of runs for a paper or a page."""
    from safe_embed.benchmark import load_evaluation
    from safe_embed.errors import InputError
    from safe_embed.reports.figures import FIGURES, category_confusion
    from safe_embed.reports.static_figure import SUFFIXES, save_figure

    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: must end in {', '.join(SUFFIXES)}, to tell the format")
    evaluations = [load_evaluation(path) for path in runs]
    if kind in (Kind.CONFUSION, Kind.MAP) and len(evaluations) != 1:
        raise InputError(f"--kind {kind.value} is of one run, got {len(evaluations)}")
    if kind is Kind.CONFUSION:
        chart = category_confusion(evaluations[0])
    elif kind is Kind.MAP:
        from safe_embed.cli.embed_again import embed_again
        from safe_embed.reports.figures import taxonomy_map
        from safe_embed.reports.projection import map_points, mapped_texts

        (one,) = evaluations
        embeddings = embed_again(one.run, mapped_texts(one), encoder)
        chart = taxonomy_map(map_points(one, embeddings))
    else:
        chart = FIGURES[kind.value](evaluations)
    save_figure(chart, out)
    note(f"saved {out}")
