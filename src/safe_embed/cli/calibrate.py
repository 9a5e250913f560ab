"""`safe-embed calibrate`: what a score means, and thresholds that keep a promised rate."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.detectors import EncoderChoice, column_map, opened_detector
from safe_embed.cli.labelled_files import prompts_named
from safe_embed.cli.options import (
    AllowPickleOption,
    BackendOption,
    BaseUrlOption,
    ColumnOption,
    DetectorEncoderOption,
    DetectorStoreOption,
    DeviceOption,
    JsonOption,
    NoCacheOption,
    SafeLabelOption,
    TrustRemoteCodeOption,
    UnsafeLabelOption,
)
from safe_embed.cli.output import interruptible, note, print_plain, print_result

if TYPE_CHECKING:
    from safe_embed.detection import Detector
    from safe_embed.records import Prompt

__all__ = ["calibrate"]


class Method(StrEnum):
    """How probabilities are fitted."""

    PLATT = "platt"
    ISOTONIC = "isotonic"


def calibrate(
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="File of prompts with labels, benign ones as in your traffic; unsafe:FILE or "
            "safe:FILE of prompts of one label; or hub:ORG/NAME:SPLIT. Repeat for several. Without "
            "it and without --store: the part of safe-embed-core that was held out for this, "
            "safe-embed-core:train/calibration.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    max_fpr: Annotated[
        float, typer.Option(help="Largest share of benign prompts to be blocked.")
    ] = 0.01,
    review_fpr: Annotated[
        float | None,
        typer.Option(
            help="Largest share of benign prompts to be blocked or reviewed; by default 5 times "
            "--max-fpr, at most 0.5, and 0.1 without --data. The same as --max-fpr for no review.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        Method, typer.Option(help="platt, or with a thousand prompts or more isotonic.")
    ] = Method.PLATT,
    per_category: Annotated[
        bool,
        typer.Option(
            "--per-category",
            help="A threshold of its own for each category of harm near which there are enough "
            "benign prompts.",
        ),
    ] = False,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="Scorer to use from now on: unsafe-similarity, margin, neighbor-vote, head or "
            "combined; by default the one in use.",
            show_default=False,
        ),
    ] = None,
    column: ColumnOption = None,
    unsafe_label: UnsafeLabelOption = None,
    safe_label: SafeLabelOption = None,
    encoder: DetectorEncoderOption = None,
    store: DetectorStoreOption = None,
    json_output: JsonOption = False,
    no_cache: NoCacheOption = False,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    base_url: BaseUrlOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    allow_pickle: AllowPickleOption = False,
) -> None:
    """Choose thresholds so that at most --max-fpr of benign prompts are blocked.

    The head is fitted anew on the present exemplars. A rate that the data cannot support is
    refused: it needs 1 / rate - 1 benign prompts. An index keeps its calibration; the default one
    keeps it in the cache. When an error ends this, the earlier calibration stays.
    """
    from safe_embed.detection.default import REVIEW_FPR
    from safe_embed.errors import InputError
    from safe_embed.reports.detection_tables import CalibrationSummary, calibration_view

    if not data and store is not None:
        raise InputError("--store needs --data: prompts with labels that are no exemplars of it")
    mapping = column_map(column, unsafe_label, safe_label)
    if not data:
        prompts = _core_prompts(max_fpr)
        review_fpr = max(max_fpr, REVIEW_FPR) if review_fpr is None else review_fpr
    else:
        prompts = prompts_named(data, mapping)
    choice = EncoderChoice(
        name=encoder,
        backend=backend,
        device=device,
        base_url=base_url,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        cache=not no_cache,
    )
    again = "the earlier calibration stays; the same command starts anew"
    with interruptible(again), opened_detector(choice, store) as detector:
        before = detector.calibration
        changed = _under(detector, scorer).calibrate(
            prompts,
            max_fpr=max_fpr,
            review_fpr=review_fpr,
            method=method.value,
            per_category=per_category,
            refit=True,
        )
        after = changed.calibration
        assert after is not None  # noqa: S101 - `calibrate` made it
        name = detector.encoder.name
        summary = CalibrationSummary.of(after, name)
        if after.n_exemplars:
            note(
                f"{after.n_exemplars:,} of the prompts are exemplars of the index and were scored "
                "without themselves: the false-positive rate is an estimate, not a promise"
            )
        if json_output:
            print_plain(json.dumps(asdict(summary), indent=1))
            return
        columns = {"before": None if before is None else CalibrationSummary.of(before, name)}
        print_result(calibration_view({**columns, "now": summary}))


def _under(detector: Detector, scorer: str | None) -> Detector:
    """The detector, or one on the same index under another scorer that has yet to be fitted."""
    if scorer is None:
        return detector
    from safe_embed.detection import Detector, make_scorer
    from safe_embed.detection.documents import INDEX_KEY, IndexDocument, read_document

    index = read_document(detector.store, INDEX_KEY, IndexDocument)
    assert index is not None  # noqa: S101 - a detector was opened on it
    return Detector(detector.store, detector.encoder, make_scorer(scorer), index)


def _core_prompts(max_fpr: float) -> list[Prompt]:
    from safe_embed.datasets import load_core
    from safe_embed.detection.default import split_core
    from safe_embed.errors import InputError

    if not 0 < max_fpr < 1:
        raise InputError(f"a false-positive rate must be above 0 and below 1, got {max_fpr}")
    return list(split_core(load_core("train"), max_fpr=max_fpr).calibration)
