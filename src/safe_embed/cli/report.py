"""`safe-embed report`: one HTML file that shows why one encoder is better than another."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.options import SeedOption
from safe_embed.cli.output import note

if TYPE_CHECKING:
    from safe_embed.benchmark import Evaluation
    from safe_embed.reports.figures import MapPoint

__all__ = ["map_of", "report"]


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run files.", metavar="RUN...")],
    *,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    no_map: Annotated[
        bool,
        typer.Option("--no-map", help="Leave the map out, which needs the encoders themselves."),
    ] = False,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="For the map, NAME=PLACE: where the encoder NAME of a run is, when its name does "
            "not tell. Repeat for several.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Write a report of runs as one HTML file that needs no network."""
    from safe_embed.benchmark import load_evaluation
    from safe_embed.files import atomic_file, sha256_of
    from safe_embed.reports.page import Source, report_page

    places = _places(encoder or [])
    evaluations = [load_evaluation(path) for path in runs]
    words = [
        *map(str, runs),
        *("--out", str(out)),
        *(["--no-map"] if no_map else []),
        *(word for one in encoder or [] for word in ("--encoder", one)),
        *(["--seed", str(seed)] if seed else []),
    ]
    page = report_page(
        evaluations,
        sources=[Source(name=path.name, sha256=sha256_of(path)) for path in runs],
        maps={} if no_map else _maps(evaluations, places),
        command=f"safe-embed report {shlex.join(words)}",
        seed=seed,
    )
    with atomic_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    note(f"saved {out} ({len(page.encode()) / 1e6:.1f} MB)")


def map_of(evaluation: Evaluation, place: str | None = None) -> list[MapPoint] | None:
    """Points of the map; None, with a note, where the encoder of the run is not at hand."""
    from safe_embed.cli.embed_again import embed_again
    from safe_embed.errors import SafeEmbedError
    from safe_embed.reports.projection import map_points, mapped_texts

    run = evaluation.run
    try:
        return map_points(evaluation, embed_again(run, mapped_texts(evaluation), place))
    except SafeEmbedError as error:
        note(f"no map of {run.encoder.name}: {error}")
        return None


def _places(options: Sequence[str]) -> dict[str, str]:
    from safe_embed.errors import InputError

    places = {}
    for option in options:
        name, sign, place = option.partition("=")
        if not (name and sign and place):
            raise InputError(f"--encoder {option!r} must be NAME=PLACE, such as mine=./my-encoder")
        places[name] = place
    return places


def _maps(
    evaluations: Sequence[Evaluation], places: Mapping[str, str]
) -> dict[int, list[MapPoint]]:
    mapped = {
        number: map_of(one, places.get(one.run.encoder.name))
        for number, one in enumerate(evaluations)
        if one.run.tasks.safety_taxonomy is not None
    }
    return {number: points for number, points in mapped.items() if points is not None}
