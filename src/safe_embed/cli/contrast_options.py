"""What the verbs of `safe-embed contrast` have in common."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from safe_embed.cli.output import note, print_plain, print_result

if TYPE_CHECKING:
    from safe_embed.contrast.editing import EditSettings
    from safe_embed.contrast.outcome import Summary
    from safe_embed.contrast.source import PromptSource

__all__ = [
    "ChatUrlOption",
    "Direction",
    "DirectionOption",
    "MaxEditOption",
    "ModelOption",
    "NOption",
    "OutOption",
    "PromptsArgument",
    "TemperatureOption",
    "TemplateOption",
    "TimeoutOption",
    "edit_settings",
    "prompts_of",
    "show",
]


class Direction(StrEnum):
    """What becomes of a prompt."""

    TO_SAFE = "to-safe"
    TO_UNSAFE = "to-unsafe"


PromptsArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="CSV, JSONL or Parquet file of prompts.", metavar="PROMPTS")
]
OutOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        help="JSONL file of contrast sets to write; of pairs with to-unsafe.", show_default=False
    ),
]
ModelOption: TypeAlias = Annotated[
    str, typer.Option(help="What the API calls the model; or fake.", show_default=False)
]
ChatUrlOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Address of an OpenAI-compatible API, without /chat/completions; OpenAI's by default.",
        show_default=False,
    ),
]
NOption: TypeAlias = Annotated[
    int | None,
    typer.Option("--n", help="Edits of each prompt; 5, or 1 with to-unsafe.", min=1),
]
DirectionOption: TypeAlias = Annotated[
    Direction,
    typer.Option(help="Safe edits of unsafe prompts, or an unsafe twin of each safe one."),
]
MaxEditOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Largest share of a prompt's words that an edit may change; no limit by default.",
        show_default=False,
    ),
]
TemplateOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Text file with an instruction of your own.", show_default=False),
]
TemperatureOption: TypeAlias = Annotated[
    float, typer.Option(help="Temperature of the model.", min=0.0)
]
TimeoutOption: TypeAlias = Annotated[
    float, typer.Option(help="Seconds that one answer may take.", min=0.001)
]


def edit_settings(
    direction: Direction,
    n: int | None,
    max_edit: float | None,
    template: Path | None,
    temperature: float,
) -> EditSettings:
    """The settings that the options make."""
    from safe_embed.contrast.editing import EditSettings
    from safe_embed.contrast.template import edit_template

    return EditSettings(
        template=edit_template(direction.value, template),
        direction=direction.value,
        n=n or (5 if direction is Direction.TO_SAFE else 1),
        max_edit=max_edit,
        temperature=temperature,
    )


def prompts_of(path: Path, settings: EditSettings) -> PromptSource:
    """The prompts of a file; a note on stderr tells which are skipped."""
    from safe_embed.contrast.source import PromptSource

    source = PromptSource(path, settings.direction)
    for reason, count in source.skipped.items():
        note(f"{path}: skipped {count:,} prompt{'s' * (count > 1)} ({reason})")
    return source


def show(summary: Summary, out: Path, json_output: bool) -> None:
    """Prints what became of the prompts."""
    from safe_embed.contrast.outcome import rejected_path

    note(f"saved {out} and {rejected_path(out)}")
    if json_output:
        told = {
            "prompts": summary.n,
            "accepted": summary.accepted,
            "rejected": summary.rejected,
            "left": summary.left,
            "requests": summary.spent.requests,
            "tokens": summary.spent.tokens,
            "cost": round(summary.spent.cost, 6),
        }
        print_plain(json.dumps(told, indent=1))
        return
    from rich.table import Table

    table = Table(show_header=False, box=None)
    rows = {"prompts": summary.n, "accepted": summary.accepted}
    rows |= {f"rejected: {reason}": count for reason, count in summary.rejected.items()}
    if summary.left:
        rows["left"] = summary.left
    rows |= {"requests": summary.spent.requests, "tokens": summary.spent.tokens}
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    if summary.spent.cost:
        table.add_row("US dollars", f"{summary.spent.cost:.4f}")
    print_result(table)
