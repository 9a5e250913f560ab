"""`safe-embed leaderboard`: a static site from a folder of runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.output import note
from safe_embed.cli.report import map_of

if TYPE_CHECKING:
    from safe_embed.reports.leaderboard import Entry

__all__ = ["leaderboard"]

_INDEX = "index.html"


def leaderboard(
    directory: Annotated[
        Path, typer.Argument(help="Folder of run files; those in its folders too.", metavar="DIR")
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder to write the site to.")] = Path("site"),
    no_map: Annotated[
        bool,
        typer.Option("--no-map", help="Leave the maps out, which need the encoders themselves."),
    ] = False,
) -> None:
    """Write a static site of many runs: a table, a plot and a report page for each encoder."""
    from safe_embed.files import atomic_file, sha256_of
    from safe_embed.reports.leaderboard import leaderboard_page
    from safe_embed.reports.page import Source, report_page

    command = ["safe-embed", "leaderboard", str(directory), "--out", str(out)]
    entries = _entries(directory)
    for path, entry in entries:
        run = entry.evaluation.run
        points = None if no_map or run.tasks.safety_taxonomy is None else map_of(entry.evaluation)
        page = report_page(
            [entry.evaluation],
            sources=[Source(name=path.name, sha256=sha256_of(path))],
            maps={} if points is None else {0: points},
            command=shlex.join([*command, *(["--no-map"] if no_map else [])]),
            home=_INDEX,
        )
        with atomic_file(out / entry.page) as temporary:
            temporary.write_text(page, encoding="utf-8")
    index = leaderboard_page([entry for _, entry in entries])
    with atomic_file(out / _INDEX) as temporary:
        temporary.write_text(index, encoding="utf-8")
    note(f"saved {out / _INDEX} and {len(entries)} reports beside it")


def _entries(directory: Path) -> list[tuple[Path, Entry]]:
    """Runs of a folder, the newest of each encoder on each data; notes what is left out.

    Raises:
        InputError: no such folder, or no run file in it.
        DataError: the items of a run cannot be read.
    """
    from safe_embed.benchmark import items_path, load_evaluation
    from safe_embed.errors import InputError
    from safe_embed.reports.leaderboard import Entry, page_name

    if not directory.is_dir():
        raise InputError(f"{directory} is no folder; give the one that holds the run files")
    found: dict[str, tuple[Path, Entry]] = {}
    paths = [path for path in directory.rglob("*.json") if items_path(path).is_file()]
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime, path)):
        evaluation = load_evaluation(path)
        name = page_name(evaluation.run)
        if name in found:
            note(f"left out {found[name][0]}: {path} is the same encoder on the same data, newer")
        found[name] = (path, Entry(evaluation=evaluation, page=name))
    if not found:
        raise InputError(
            f"{directory} holds no run file with its items beside it (NAME.json and "
            "NAME.items.parquet); make one with `safe-embed run --output`"
        )
    return sorted(found.values(), key=lambda one: one[1].evaluation.run.encoder.name)
