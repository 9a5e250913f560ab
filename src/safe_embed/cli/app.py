"""The command `safe-embed`: gathers the verbs and turns errors into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from safe_embed.cli.baseline import baseline
from safe_embed.cli.calibrate import calibrate
from safe_embed.cli.check import check
from safe_embed.cli.compare import compare
from safe_embed.cli.contrast import contrast_app
from safe_embed.cli.data import data_app
from safe_embed.cli.detect_eval import detect_eval
from safe_embed.cli.encoders import encoders_app
from safe_embed.cli.export import export
from safe_embed.cli.index import index_app
from safe_embed.cli.leaderboard import leaderboard
from safe_embed.cli.plot import plot
from safe_embed.cli.report import report
from safe_embed.cli.run import run
from safe_embed.cli.train import train
from safe_embed.errors import SafeEmbedError

__all__ = ["app", "main"]

_DEBUG = "--debug"

app = typer.Typer(
    name="safe-embed",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(check)
app.command()(run)
app.command()(compare)
app.command()(report)
app.command()(plot)
app.command()(leaderboard)
app.command()(baseline)
app.command()(export)
app.command()(train)
app.command()(calibrate)
app.command("detect-eval")(detect_eval)
app.add_typer(index_app, name="index")
app.add_typer(contrast_app, name="contrast")
app.add_typer(data_app, name="data")
app.add_typer(encoders_app, name="encoders")


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # only for this option

        typer.echo(f"safe-embed {version('safe-embed')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error.")] = False,
) -> None:
    """Choose, improve and deploy a sentence encoder as a prompt-safety detector."""


def main() -> None:
    """Runs the command line; exits with 2 on what a user can mend, 130 when interrupted."""
    try:
        app(prog_name="safe-embed")
    except SafeEmbedError as error:
        if _DEBUG in sys.argv:
            raise
        message = " ".join(str(error).split())  # one line, whatever a file name holds
        typer.echo(f"safe-embed: {message}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output, `head` say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
