"""`safe-embed contrast`: contrast sets that a language model writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from safe_embed.cli.contrast_batch import batch_app
from safe_embed.cli.contrast_check import check, parse
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
from safe_embed.cli.output import interruptible, note, progress_bar

if TYPE_CHECKING:
    from safe_embed.contrast.budget import Budget
    from safe_embed.contrast.chat import Chat

__all__ = ["contrast_app"]

contrast_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write, read and check contrast sets: a prompt and small edits of it.",
)
contrast_app.command("parse")(parse)
contrast_app.command("check")(check)
contrast_app.add_typer(batch_app, name="batch")

PriceOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="US dollars per million tokens as IN/OUT, such as 0.15/0.60.",
        metavar="IN/OUT",
        show_default=False,
    ),
]


@contrast_app.command("generate")
def generate(
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
    concurrency: Annotated[
        int, typer.Option(help="Prompts that are worked on side by side.", min=1)
    ] = 8,
    timeout: TimeoutOption = 120.0,
    max_requests: Annotated[
        int | None,
        typer.Option(help="Send no more requests than this.", min=1, show_default=False),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Use no more tokens than this.", min=1, show_default=False)
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            help="Spend no more US dollars than this, by --price and --judge-price.",
            min=0.0,
            show_default=False,
        ),
    ] = None,
    price: PriceOption = None,
    judge_model: Annotated[
        str | None,
        typer.Option(
            help="Model that says of each edit whether it is safe; an edit that most votes call "
            "unsafe rejects its set.",
            show_default=False,
        ),
    ] = None,
    judge_base_url: Annotated[
        str | None,
        typer.Option(
            help="Address of the judge's API; that of --base-url by default.", show_default=False
        ),
    ] = None,
    judge_price: PriceOption = None,
    votes: Annotated[
        int, typer.Option(help="Most votes of the judge on one edit; odd.", min=1)
    ] = 3,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the journal of an earlier run.")
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            help="With --resume: ask again where the server failed or was too slow.",
        ),
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Ask a chat model for small edits that make each unsafe prompt safe; keep what is valid.

    The key is read from OPENAI_API_KEY. --model fake needs no server. Rejected prompts go to
    NAME.rejected.jsonl, every answer to NAME.journal.jsonl. Exits with 1 when a limit left prompts
    that were not asked.
    """
    from safe_embed.contrast.budget import Price
    from safe_embed.contrast.generate import Generation
    from safe_embed.contrast.generate import generate as run
    from safe_embed.contrast.judge import Judge
    from safe_embed.contrast.models import load_chat
    from safe_embed.contrast.outcome import journal_path
    from safe_embed.errors import InputError

    budget = _budget(max_requests, max_tokens, max_cost, [price, judge_model and judge_price])
    settings = edit_settings(direction, n, max_edit, template, temperature)
    if model == "fake" and direction is Direction.TO_UNSAFE:
        raise InputError("the fake model makes safe edits only; name another --model")
    if retry_failed and not resume:
        raise InputError("--retry-failed goes with --resume")

    def chat(name: str, url: str | None, text: str | None) -> Chat:
        return load_chat(
            name,
            url,
            budget=budget,
            price=Price.parse(text) if text else None,
            connections=concurrency,
            timeout_s=timeout,
            report=note,
        )

    generation = Generation(
        source=prompts_of(prompts, settings),
        settings=settings,
        chat=chat(model, base_url, price),
        judge=Judge(chat=chat(judge_model, judge_base_url or base_url, judge_price), votes=votes)
        if judge_model
        else None,
        budget=budget,
        concurrency=concurrency,
    )
    again = f"the same command with --resume goes on from {journal_path(out)}"
    with interruptible(again), progress_bar("prompts") as progress:
        summary = run(
            generation,
            out,
            resume=resume,
            retry_failed=retry_failed,
            progress=progress,
            report=note,
        )
    show(summary, out, json_output)
    if summary.left:
        limit = f"--{(summary.exhausted or '').replace('_', '-')}"
        note(f"{summary.left:,} prompts were not asked because of {limit}; {again}")
        raise typer.Exit(1)


def _budget(
    max_requests: int | None,
    max_tokens: int | None,
    max_cost: float | None,
    prices: list[str | None],
) -> Budget:
    from safe_embed.contrast.budget import Budget
    from safe_embed.errors import InputError

    if max_cost is not None and None in prices:
        raise InputError(
            "--max-cost needs --price IN/OUT, and with a judge --judge-price IN/OUT: US dollars "
            "per million tokens"
        )
    return Budget(max_requests=max_requests, max_tokens=max_tokens, max_cost=max_cost)
