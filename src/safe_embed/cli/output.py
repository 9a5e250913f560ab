"""Where things are printed: results to stdout, progress and notes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "interruptible",
    "note",
    "print_markdown",
    "print_plain",
    "print_result",
    "progress_bar",
]


def note(message: str) -> None:
    """A line for people on stderr."""
    typer.echo(message, err=True)


def print_plain(text: str) -> None:
    """A text for programs on stdout, as it is: JSON, CSV, Markdown."""
    typer.echo(text)


def print_result(result: RenderableType) -> None:
    """A table or text on stdout; colours only on a terminal, and never with `NO_COLOR`."""
    from rich.console import Console  # not needed for --help

    Console(highlight=False, emoji=False).print(result)


def print_markdown(text: str) -> None:
    """A page of Markdown on stdout, laid out for reading."""
    from rich.console import Console
    from rich.markdown import Markdown

    Console(emoji=False).print(Markdown(text))


@contextmanager
def interruptible(how_to_go_on: str) -> Iterator[None]:
    """Turns Ctrl-C into a line that says how to go on, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        note(f"safe-embed: interrupted; {how_to_go_on}")
        raise typer.Exit(130) from None


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Gives a function to call with (done, total); draws a bar only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # not needed for --help
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
