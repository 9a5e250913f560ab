"""`safe-embed compare`: is one encoder better than another, or is it chance?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safe_embed.cli.options import JsonOption, SeedOption
from safe_embed.cli.output import print_plain, print_result

__all__ = ["compare"]


def compare(
    runs: Annotated[
        list[Path], typer.Argument(help="Run files, two or more.", metavar="RUN RUN...")
    ],
    *,
    with_paper: Annotated[
        bool, typer.Option("--with-paper", help="Add the published rows of the paper.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="One line an encoder and task.")] = False,
    json_output: JsonOption = False,
    seed: SeedOption = 0,
) -> None:
    """Compare runs on the same data with the first of them, item by item."""
    from safe_embed.benchmark import compare as compare_runs
    from safe_embed.benchmark import load_evaluation
    from safe_embed.errors import InputError
    from safe_embed.reports import comparison_csv, comparison_markdown, comparison_table

    if markdown + csv + json_output > 1:
        raise InputError("--markdown, --csv and --json exclude each other; give one")
    evaluations = [load_evaluation(path) for path in runs]
    comparison = compare_runs(evaluations, with_published=with_paper, seed=seed)
    if json_output:
        print_plain(comparison.model_dump_json(indent=1))
    elif csv:
        print_plain(comparison_csv(comparison))
    elif markdown:
        print_plain(comparison_markdown(comparison))
    else:
        print_result(comparison_table(comparison))
