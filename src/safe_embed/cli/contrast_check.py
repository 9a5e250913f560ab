"""`safe-embed contrast parse` and `contrast check`: sets read from answers, and their validity."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safe_embed.cli.options import BackendOption, DeviceOption, JsonOption, NoCacheOption
from safe_embed.cli.output import interruptible, note, print_plain, print_result, progress_bar

if TYPE_CHECKING:
    from safe_embed.contrast.difference import Comparison
    from safe_embed.contrast.parsing import ParseSummary

__all__ = ["check", "parse"]


def _limit(help_: str, low: float = 0.0, high: float | None = 1.0) -> Any:  # noqa: ANN401 - typer's
    return typer.Option(help=help_, min=low, max=high, show_default=False)


def parse(
    raw: Annotated[
        Path,
        typer.Argument(
            help="JSONL, CSV or Parquet file of answers: category, original (question, prompt) "
            "and answer (contrasts, raw).",
            metavar="RAW",
        ),
    ],
    *,
    out: Annotated[
        Path, typer.Option(help="JSONL file of contrast sets to write.", show_default=False)
    ],
    n: Annotated[int, typer.Option("--n", help="Edits that each answer must have.", min=1)] = 5,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Also reject sets that run --suite refuses: an edit that is the original or a "
            "sibling, a prompt that was there before.",
        ),
    ] = False,
    compare: Annotated[
        Path | None,
        typer.Option(
            help="File of the same sets, read by another parser; lists the differences.",
            show_default=False,
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Read raw answers that were collected elsewhere into contrast sets.

    Answers that give none go to NAME.rejected.jsonl with the reason. Exits with 1 when no answer
    gave a set.
    """
    from safe_embed.contrast.difference import Comparison
    from safe_embed.contrast.outcome import rejected_path
    from safe_embed.contrast.parsing import ParseSummary, parse_raw, write_parsed
    from safe_embed.errors import InputError
    from safe_embed.reports.contrast_tables import parse_tables

    for other in (raw, compare):
        if other is not None and other.resolve() == out.resolve():
            raise InputError(f"--out {out} would replace a file that is read; name another")
    comparison = None if compare is None else Comparison.with_file(compare)
    summary = ParseSummary()
    again = "nothing was written; the same command starts anew"
    with interruptible(again), progress_bar("answers") as progress:
        for item, summary in write_parsed(parse_raw(raw, n, strict=strict), out):
            progress(summary.n, None)
            if comparison is not None:
                comparison.add(item)
    if comparison is not None:
        comparison.finish()
    note(f"saved {out} and {rejected_path(out)}")
    if defects := sum(summary.defects.values()):
        note(
            f"run --suite would refuse {defects:,} of the sets ({summary.first_defect}); "
            "--strict leaves them out"
        )
    if json_output:
        print_plain(json.dumps(_fields(summary, comparison), indent=1))
    else:
        print_result(parse_tables(summary, comparison))
    if not summary.sets:
        raise typer.Exit(1)


def check(
    sets: Annotated[
        Path,
        typer.Argument(help="CSV, JSONL or Parquet file of contrast sets.", metavar="SETS"),
    ],
    *,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Also measure the cosine of each edit with its original by this encoder.",
            show_default=False,
        ),
    ] = None,
    max_unchanged: Annotated[
        float | None, _limit("Largest share of edits that are the original again.")
    ] = None,
    max_identical: Annotated[
        float | None, _limit("Largest share of edits that repeat an earlier one of their set.")
    ] = None,
    max_empty: Annotated[float | None, _limit("Largest share of blank edits.")] = None,
    max_refusal: Annotated[
        float | None, _limit("Largest share of edits that are refusals.")
    ] = None,
    max_unsafe: Annotated[
        float | None, _limit("Largest share of edits that most votes of the judge call unsafe.")
    ] = None,
    max_edit_distance: Annotated[
        float | None,
        _limit("Largest median of the words changed, per word of the original.", high=None),
    ] = None,
    min_similarity: Annotated[
        float | None, _limit("Smallest median cosine; needs --encoder.", low=-1.0)
    ] = None,
    json_output: JsonOption = False,
    no_cache: NoCacheOption = False,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
) -> None:
    """Report how valid contrast sets are; exits with 1 below a threshold or for an unusable row."""
    from safe_embed.contrast.validity import Thresholds, check_sets
    from safe_embed.encoders import load_encoder
    from safe_embed.reports.contrast_tables import validity_tables

    thresholds = Thresholds(
        max_unchanged=max_unchanged,
        max_identical=max_identical,
        max_empty=max_empty,
        max_refusal=max_refusal,
        max_unsafe=max_unsafe,
        max_edit_distance=max_edit_distance,
        min_similarity=min_similarity,
    )
    loaded = None
    if encoder is not None:
        loaded = load_encoder(
            encoder, backend=backend, device=device, cache=not no_cache, report=note
        )
    with interruptible("the same command starts anew"), progress_bar("sets") as progress:
        report = check_sets(sets, thresholds=thresholds, encoder=loaded, progress=progress)
    if json_output:
        print_plain(report.model_dump_json(indent=1))
    else:
        print_result(validity_tables(report))
    if not report.ok:
        raise typer.Exit(1)


def _fields(summary: ParseSummary, comparison: Comparison | None) -> dict[str, object]:
    fields: dict[str, object] = {
        "n": summary.n,
        "sets": summary.sets,
        "rejected": dict(summary.rejected),
        "defects": dict(summary.defects),
    }
    if comparison is not None:
        fields["comparison"] = {
            "path": str(comparison.path),
            "n": comparison.n,
            "equal": comparison.equal,
            "differences": [asdict(one) for one in comparison.differences],
        }
    return fields
