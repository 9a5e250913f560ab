"""`safe-embed contrast batch`: contrast sets through a Batch API, at half the price."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from safe_embed.cli.contrast_options import (
    ChatUrlOption,
    Direction,
    DirectionOption,
    MaxEditOption,
    ModelOption,
    NOption,
    OutOption,
    PromptsArgument,
    TemperatureOption,
    TemplateOption,
    TimeoutOption,
    edit_settings,
    prompts_of,
    show,
)
from safe_embed.cli.options import JsonOption
from safe_embed.cli.output import interruptible, note, print_plain, print_result

if TYPE_CHECKING:
    from safe_embed.contrast.api import Api

__all__ = ["batch_app"]

batch_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Generate through a Batch API: hours later, at half the price.",
)

SubmittedArgument: TypeAlias = Annotated[
    Path, typer.Argument(help="The --out with which the prompts were submitted.", metavar="OUT")
]


@batch_app.command("submit")
def submit(
    prompts: PromptsArgument,
    *,
    out: OutOption,
    model: ModelOption,
    base_url: ChatUrlOption = None,
    n: NOption = None,
    direction: DirectionOption = Direction.TO_SAFE,
    max_edit: MaxEditOption = None,
    template: TemplateOption = None,
    temperature: TemperatureOption = 0.0,
    timeout: TimeoutOption = 120.0,
) -> None:
    """Hand all prompts to the API; NAME.batch.json remembers the jobs."""
    from safe_embed.contrast import batch_api

    settings = edit_settings(direction, n, max_edit, template, temperature)
    source = prompts_of(prompts, settings)
    api = _api(base_url, timeout)
    with interruptible("the same command goes on where it stopped"):
        batch_api.submit(source, settings, model, api, out, report=note)
    note(f"`safe-embed contrast batch collect {out}` fetches the answers")


@batch_app.command("status")
def status(
    out: SubmittedArgument,
    *,
    base_url: ChatUrlOption = None,
    timeout: TimeoutOption = 120.0,
    json_output: JsonOption = False,
) -> None:
    """Show how far the jobs are."""
    from safe_embed.contrast import batch_api
    from safe_embed.contrast.batch_state import load_state

    state = load_state(out)
    jobs = batch_api.status(state, _api(base_url or state.base_url, timeout))
    if json_output:
        print_plain(json.dumps([asdict(job) for job in jobs], indent=1))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("job", "status", "prompts", "done", "failed", "message")
    for job in jobs:
        counts = (f"{count:,}" for count in (job.total, job.completed, job.failed))
        table.add_row(escape(job.batch_id), escape(job.status), *counts, escape(job.message))
    print_result(table)


@batch_app.command("collect")
def collect(
    out: SubmittedArgument,
    *,
    base_url: ChatUrlOption = None,
    timeout: TimeoutOption = 120.0,
    json_output: JsonOption = False,
) -> None:
    """Fetch the answers that are there, and keep what is valid; exits with 1 when some are not."""
    from safe_embed.contrast import batch_api
    from safe_embed.contrast.batch_state import load_state

    api = _api(base_url or load_state(out).base_url, timeout)
    with interruptible("the same command goes on where it stopped"):
        summary = batch_api.collect(api, out, report=note)
    show(summary, out, json_output)
    if summary.left:
        note(
            f"{summary.left:,} prompts have no answer yet; the same command fetches more, and "
            "`safe-embed contrast generate` with the same options and --resume asks for them"
        )
        raise typer.Exit(1)


def _api(base_url: str | None, timeout_s: float) -> Api:
    from safe_embed.contrast.models import load_api

    return load_api(base_url, connections=4, timeout_s=timeout_s, report=note)
