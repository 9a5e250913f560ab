"""`safe-embed encoders`: which encoders there are, and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.options import AllowPickleOption, JsonOption
from safe_embed.cli.output import note, print_plain, print_result

if TYPE_CHECKING:
    from safe_embed.encoders.catalogue import EncoderRow

__all__ = ["encoders_app"]

encoders_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List encoders and fetch their weights."
)

NameArgument = Annotated[str, typer.Argument(help="Name in the catalogue.", metavar="NAME")]


@encoders_app.command("list")
def list_encoders(*, json_output: JsonOption = False) -> None:
    """List the encoders of the catalogue; `encoders info NAME` tells more of one."""
    from safe_embed.encoders import catalogue

    rows = catalogue.rows()
    if json_output:
        import json

        print_plain(json.dumps([_fields(row) for row in rows], indent=1))
        return
    from rich.table import Table

    table = Table(
        "encoder", "model", "backend", "size", "dim.", "tokens", "licence", "paper", "here"
    )
    for row in rows:
        table.add_row(
            row.name,
            f"{row.base} + adapter" if row.base else row.model_id,
            row.backend,
            _size(row),
            str(row.dimension),
            str(row.max_tokens),
            row.license,
            "" if row.published_average_similarity is None else "yes",
            _place(row),
        )
    print_result(table)


@encoders_app.command("info")
def info(name: NameArgument, *, json_output: JsonOption = False) -> None:
    """Show all that is known of one encoder."""
    from safe_embed.encoders import catalogue

    row = catalogue.row(name)
    fields = _fields(row)
    if json_output:
        import json

        print_plain(json.dumps(fields, indent=1))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for key, value in fields.items():
        if value in (None, "", {}, []):
            continue
        table.add_row(key.replace("_", " "), escape(_text(value)))
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
    allow_pickle: AllowPickleOption = False,
) -> None:
    """Fetch an encoder's weights into the user's cache and check their digests."""
    from safe_embed.encoders import catalogue, weights

    row = catalogue.row(name)
    path = weights.fetch(row, source=source, report=note, allow_pickle=allow_pickle)
    print_result(str(path))


def _fields(row: EncoderRow) -> dict[str, object]:
    from safe_embed.encoders import weights

    path = weights.find(row) if row.repositories else None
    fields = row.model_dump(mode="json")
    return {
        **fields,
        "pinned_by": _pinned_by(row),
        "in_paper": row.published_average_similarity is not None,
        "on_this_machine": path is not None,
        "path": str(path) if path else None,
    }


def _place(row: EncoderRow) -> str:
    """Whether its weights are on this machine."""
    from safe_embed.encoders import weights

    if not row.repositories:
        return "API"
    return "yes" if weights.find(row) is not None else "no"


def _size(row: EncoderRow) -> str:
    if not row.size_mb:
        return "-"
    return f"{row.size_mb} MB" if row.size_mb < 1000 else f"{row.size_mb / 1000:.1f} GB"


def _pinned_by(row: EncoderRow) -> str:
    """What its weights rest on, in words."""
    if not row.repositories:
        return "nothing: the API may change the model"
    if row.files:
        return "the SHA-256 of every file" + (", the adapter's too" if row.base else "")
    if row.pickle_sha256:
        return "the commit, and the SHA-256 of the pickle, which is read in weights_only mode"
    if row.pinned:
        return "the commit, and the SHA-256 of the files below"
    return "the commit, and the SHA-256 that the hub states for it; no digest in the catalogue"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "\n".join(f"{key}: {each}" for key, each in value.items())
    if isinstance(value, list):
        return "\n".join(_text(each) for each in value)
    return repr(value) if isinstance(value, str) and value != value.strip() else str(value)
