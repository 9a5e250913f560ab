"""`safe-embed encoders`: which encoders there are, and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safe_embed.cli.options import JsonOption
from safe_embed.cli.output import note, print_json, print_result

__all__ = ["encoders_app"]

encoders_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List encoders and fetch their weights."
)

NameArgument = Annotated[str, typer.Argument(help="Name in the catalogue.", metavar="NAME")]


@encoders_app.command("list")
def list_encoders(*, json_output: JsonOption = False) -> None:
    """List the encoders of the catalogue."""
    from safe_embed.encoders import catalogue, weights

    rows = catalogue.rows()
    if json_output:
        import json

        objects = [
            {**row.model_dump(mode="json"), "on_this_machine": weights.find(row) is not None}
            for row in rows
        ]
        print_json(json.dumps(objects, indent=1))
        return
    from rich.table import Table

    table = Table("encoder", "model", "dimension", "tokens", "size", "licence", "here")
    for row in rows:
        here = "yes" if weights.find(row) is not None else "no"
        table.add_row(
            row.name,
            row.model_id,
            str(row.dimension),
            str(row.max_tokens),
            f"{row.size_mb} MB",
            row.license,
            here,
        )
    print_result(table)


@encoders_app.command("info")
def info(name: NameArgument, *, json_output: JsonOption = False) -> None:
    """Show all that is known of one encoder."""
    from safe_embed.encoders import catalogue, weights

    row = catalogue.row(name)
    path = weights.find(row)
    fields = {
        **row.model_dump(mode="json", exclude_none=True),
        "on_this_machine": str(path) if path else None,
    }
    if json_output:
        import json

        print_json(json.dumps(fields, indent=1))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for key, value in fields.items():
        text = (
            "\n".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
        )
        table.add_row(key.replace("_", " "), escape(str("no" if text is None else text)))
    print_result(table)


@encoders_app.command("fetch")
def fetch(
    name: NameArgument,
    *,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Directory that holds the model's files, for a machine without network.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Fetch an encoder's weights into the user's cache and check their digests."""
    from safe_embed.encoders import catalogue, weights

    path = weights.fetch(catalogue.row(name), source=source, report=note)
    print_result(str(path))
