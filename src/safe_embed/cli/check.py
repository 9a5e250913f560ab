"""`safe-embed check`: is a prompt unsafe, and why?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from safe_embed.cli.detectors import EncoderChoice, columns_of, opened_detector
from safe_embed.cli.options import (
    AllowPickleOption,
    BackendOption,
    BaseUrlOption,
    ColumnOption,
    DetectorEncoderOption,
    DetectorStoreOption,
    DeviceOption,
    TrustRemoteCodeOption,
)
from safe_embed.cli.output import interruptible, note, print_plain, print_result, progress_bar

if TYPE_CHECKING:
    from safe_embed.datasets.texts import TextRow
    from safe_embed.detection import Detector, Verdict

__all__ = ["check"]

_STDIN: Final = "-"
_STDIN_NAME: Final = "standard input"
_EXIT_CODES: Final = {"allow": 0, "review": 10, "block": 11}
_PROMPTS_AT_ONCE: Final = 1024  # full batches of the encoder
_CHARACTERS_AT_ONCE: Final = 1_000_000


def check(
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="Prompt to judge; - for one prompt on standard input.",
            metavar="PROMPT",
            show_default=False,
        ),
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(
            help="Judge every prompt of a file: JSONL, CSV or Parquet with a column text, or a "
            ".txt with one a line; - for lines on standard input. Or of a data set of `data list`, "
            "or hub:ORG/NAME:SPLIT.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    column: ColumnOption = None,
    encoder: DetectorEncoderOption = None,
    store: DetectorStoreOption = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --file one object a line.")
    ] = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code",
            help="Exit with 10 for review and 11 for block, the most severe of several.",
        ),
    ] = False,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    base_url: BaseUrlOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    allow_pickle: AllowPickleOption = False,
) -> None:
    """Judge whether prompts are unsafe, by the exemplars that they are near to.

    Says allow, review or block, the calibrated score, and which exemplars speak for and against.
    What cannot be judged is an error with exit code 2, never an allow.
    """
    from safe_embed.errors import InputError

    if (prompt is None) == (file is None):
        raise InputError(
            'give a prompt, as in `safe-embed check "How do I kill a Python process?"`, or --file'
            + ("" if prompt is None else ", not both")
        )
    columns = columns_of(column)
    if unknown := columns.keys() - {"text", "id"}:
        raise InputError(f"check reads the fields text and id, not {min(unknown)!r}")
    choice = EncoderChoice(
        name=encoder,
        backend=backend,
        device=device,
        base_url=base_url,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    again = "verdicts that were printed stand; the same command starts anew"
    with interruptible(again), opened_detector(choice, store) as detector:
        if file is not None:
            worst = _check_file(detector, file, columns, json_output=json_output)
        else:
            worst = _check_one(detector, _prompt_text(prompt or ""), json_output=json_output)
    if exit_code:
        raise typer.Exit(worst)


def _check_one(detector: Detector, text: str, *, json_output: bool) -> int:
    from safe_embed.reports.verdict_text import verdict_view

    verdict = detector.check(text)
    if json_output:
        print_plain(json.dumps(verdict.model_dump(mode="json"), indent=1))
    else:
        print_result(verdict_view(verdict, detector.calibration))
    return _EXIT_CODES[verdict.decision]


def _check_file(
    detector: Detector, file: str, columns: dict[str, str], *, json_output: bool
) -> int:
    from safe_embed.datasets.named_texts import iterate_named_texts
    from safe_embed.datasets.texts import iterate_lines
    from safe_embed.errors import InputError

    if file == _STDIN:
        if columns:
            raise InputError("--column goes with a file of columns; standard input has lines")
        name, rows = _STDIN_NAME, iterate_lines(sys.stdin.buffer, _STDIN_NAME)
    else:
        with progress_bar("fetching") as progress:
            rows = iterate_named_texts(file, columns, report=note, progress=progress)
        name = file
    counts = dict.fromkeys(_EXIT_CODES, 0)
    for judged in _judged(detector, name, rows):
        for _, verdict in judged:
            counts[verdict.decision] += 1
        _print(judged, json_output=json_output)
    note(", ".join(f"{decision} {n:,}" for decision, n in counts.items()))
    return max(_EXIT_CODES[decision] for decision, n in counts.items() if n)


def _judged(
    detector: Detector, name: str, rows: Iterator[TextRow]
) -> Iterator[list[tuple[TextRow, Verdict]]]:
    """Verdicts by the batch; those before a row that cannot be used come first, then its error."""
    from safe_embed.errors import InputError

    for batch, error in _batches(rows):
        usable, refused = batch, error
        try:
            verdicts = detector.check_many([row.text for row in batch])
        except InputError:
            usable, unusable = _usable(batch, name)
            if unusable is None:
                raise
            refused = unusable
            verdicts = detector.check_many([row.text for row in usable])
        yield list(zip(usable, verdicts, strict=True))
        if refused is not None:
            raise refused


def _batches(rows: Iterator[TextRow]) -> Iterator[tuple[list[TextRow], Exception | None]]:
    """Rows some at a time, the last with the error that ended the reading, if one did."""
    from safe_embed.errors import SafeEmbedError

    batch: list[TextRow] = []
    size = 0
    try:
        for row in rows:
            batch.append(row)
            size += len(row.text)
            if len(batch) == _PROMPTS_AT_ONCE or size >= _CHARACTERS_AT_ONCE:
                yield batch, None
                batch, size = [], 0
    except SafeEmbedError as error:
        yield batch, error
        return
    if batch:
        yield batch, None


def _usable(batch: Sequence[TextRow], name: str) -> tuple[list[TextRow], Exception | None]:
    """The rows before the first that is no prompt, and what is wrong with it."""
    from safe_embed.detection.prepare import prepare
    from safe_embed.errors import DataError, InputError

    for place, row in enumerate(batch):
        try:
            prepare([row.text])
        except InputError as error:
            return list(batch[:place]), DataError(name, str(error), row=row.number)
    return list(batch), None


def _print(judged: Sequence[tuple[TextRow, Verdict]], *, json_output: bool) -> None:
    if not judged:
        return
    if json_output:
        lines = []
        for row, verdict in judged:
            id_ = {} if row.id is None else {"id": row.id}
            lines.append(json.dumps({**id_, **verdict.model_dump(mode="json")}))
        print_plain("\n".join(lines))
        return
    from safe_embed.reports.verdict_text import verdict_lines

    print_result(
        verdict_lines(
            [
                (str(row.number if row.id is None else row.id), row.text, verdict)
                for row, verdict in judged
            ]
        )
    )


def _prompt_text(prompt: str) -> str:
    if prompt != _STDIN:
        return prompt
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").removesuffix("\r")
