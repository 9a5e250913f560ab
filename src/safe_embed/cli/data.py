"""`safe-embed data`: data sets, and a check of a user's own."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.options import DataDirOption, JsonOption, kind_of
from safe_embed.cli.output import note, print_markdown, print_plain, print_result, progress_bar

if TYPE_CHECKING:
    from rich.console import RenderableType

    from safe_embed.datasets import CheckReport, DataSet, Problem

__all__ = ["data_app"]

data_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List, fetch and check data sets."
)

_MAX_ROWS_SHOWN = 200
_NOT_SHOWN = {"allow", "ignore", "categories"}  # how a file is read, not what it is


class KindOption(StrEnum):
    """What the rows of a file are."""

    PAIRS = "pairs"
    CONTRAST_SETS = "contrast-sets"
    PROMPTS = "prompts"


@data_app.command("list")
def list_data(*, data_dir: DataDirOption = None, json_output: JsonOption = False) -> None:
    """List the data sets: what they are, their licence, and where they are."""
    from safe_embed.datasets import catalogue

    rows = catalogue.rows()
    if json_output:
        print_plain(json.dumps([_fields(row, data_dir) for row in rows], indent=1))
        return
    from rich.table import Table

    table = Table("data set", "holds", "rows", "licence", "where")
    for row in rows:
        path = catalogue.locate(row, data_dir)
        where = "bundled" if row.bundled else "here" if path else "not fetched"
        if not row.bundled and not row.fetchable and path is None:
            where = "get it yourself"
        table.add_row(row.name, row.kind, str(row.rows or ""), row.license, where)
    print_result(table)


@data_app.command("info")
def info(
    name: Annotated[str, typer.Argument(help="Name of the data set.", metavar="NAME")],
    *,
    data_dir: DataDirOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show all that is known of one data set, and count its rows where it is present."""
    from safe_embed.datasets import catalogue, check_file

    row = catalogue.row(name)
    fields = _fields(row, data_dir)
    path = catalogue.locate(row, data_dir)
    if path is not None and row.kind != "raw":
        report = check_file(path, row.kind, allow=row.allow, ignore=row.ignore)
        fields |= {
            "records": report.n_records,
            "median_words": report.median_words,
            "types": report.types,
            "categories": report.categories,
            "labels": report.labels,
        }
    if json_output:
        print_plain(json.dumps(fields, indent=1))
        return
    print_result(_field_table(fields))
    if row.datasheet is not None:
        print_markdown(catalogue.datasheet(row))


@data_app.command("fetch")
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names of data sets; all that can be fetched when left out.",
            metavar="[NAME]...",
            show_default=False,
        ),
    ] = None,
    *,
    data_dir: DataDirOption = None,
) -> None:
    """Download the paper's data from pinned addresses and check its digests.

    Other data sets have no pinned address: `data info NAME` says where to get them.
    """
    from safe_embed.datasets import catalogue

    rows = [catalogue.row(name) for name in names or []]
    for row in rows or [row for row in catalogue.rows() if row.fetchable]:
        if row.fetchable:
            note(f"{row.name}: licence {row.license}")
        with progress_bar(row.name) as progress:
            path = catalogue.fetch(row, data_dir, progress=progress)
        print_result(str(path))


@data_app.command("check")
def check(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSONL, JSON or Parquet file of your own, or safe-embed-core.", metavar="FILE"
        ),
    ],
    *,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="For safe-embed-core: also find near duplicates by this encoder's cosines.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        KindOption | None,
        typer.Option(help="What the rows are; by default told by the columns.", show_default=False),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Check a file of pairs, contrast sets or prompts; exits with 1 when it has problems."""
    from safe_embed.datasets import CORE, check_file

    if str(file) == CORE and not file.exists():
        _check_core(encoder, json_output=json_output)
        return
    report = check_file(file, kind_of(kind.value if kind else None))
    if json_output:
        print_plain(report.model_dump_json(indent=1))
    else:
        print_result(_report(report))
    if report.problems:
        raise typer.Exit(1)


def _check_core(encoder: str | None, *, json_output: bool) -> None:
    from safe_embed.curation import report_core
    from safe_embed.encoders import load_encoder
    from safe_embed.reports.curation_tables import core_report_tables

    loaded = load_encoder(encoder, cache=True, report=note) if encoder else None
    found = report_core(loaded, report=note)
    if json_output:
        print_plain(found.model_dump_json(indent=1))
    else:
        print_result(core_report_tables(found))
    if found.problems:
        raise typer.Exit(1)


def _fields(row: DataSet, data_dir: Path | None) -> dict[str, object]:
    from safe_embed.datasets import catalogue

    path = catalogue.locate(row, data_dir)
    fields = row.model_dump(mode="json", exclude_none=True, exclude=_NOT_SHOWN)
    return {**fields, "path": str(path) if path else None}


def _field_table(fields: dict[str, object]) -> RenderableType:
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for key, value in fields.items():
        if value in (None, {}):
            continue
        text = str(value)
        if isinstance(value, dict):
            text = "\n".join(f"{count:>5}  {name}" for name, count in value.items())
        table.add_row(key.replace("_", " "), escape(text))
    return table


def _report(report: CheckReport) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    counts = {"type": report.types, "category": report.categories, "label": report.labels}
    lines = [f"{report.path}: {report.n_records} {report.kind} can be used"]
    lines += [
        f"  {count:>5}  {group} {name}"
        for group, of in counts.items()
        for name, count in of.items()
    ]
    lines += _listed("problem", report.problems) + _listed("warning", report.warnings)
    return Group(*(Text(line) for line in lines))


def _listed(what: str, problems: tuple[Problem, ...]) -> list[str]:
    lines = [f"{what}: {problem}" for problem in problems[:_MAX_ROWS_SHOWN]]
    if len(problems) > _MAX_ROWS_SHOWN:
        lines.append(f"... and {len(problems) - _MAX_ROWS_SHOWN} more; --json lists all")
    elif problems:
        lines.append(f"{len(problems)} {what}{'s' if len(problems) > 1 else ''}")
    return lines
