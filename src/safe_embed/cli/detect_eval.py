"""`safe-embed detect-eval`: how good a detector is on labelled data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.detectors import EncoderChoice, column_map, opened_detector
from safe_embed.cli.labelled_files import evaluation_items
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
    SeedOption,
    TrustRemoteCodeOption,
    UnsafeLabelOption,
    kind_of,
)
from safe_embed.cli.output import interruptible, note, print_plain, print_result, progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safe_embed.datasets import Record
    from safe_embed.detection import DetectionReport, Detector

__all__ = ["detect_eval"]


def detect_eval(
    *,
    data: Annotated[
        list[str],
        typer.Option(
            help="File of prompts with labels, pairs or contrast sets; unsafe:FILE or safe:FILE of "
            "prompts of one label; a data set of `data list`, of which safe-embed-core is its test "
            "split; or hub:ORG/NAME:SPLIT. Repeat for several.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            help="What the rows are: pairs, contrast-sets or prompts; by default told by the "
            "columns.",
            show_default=False,
        ),
    ] = None,
    column: ColumnOption = None,
    unsafe_label: UnsafeLabelOption = None,
    safe_label: SafeLabelOption = None,
    perturb: Annotated[
        bool,
        typer.Option(
            "--perturb",
            help="Also measure after typos, misspellings, upper case, homoglyphs, zero-width "
            "characters, leetspeak, 500 words of padding, role-play, and rules that read like a "
            "translation.",
        ),
    ] = False,
    items: Annotated[
        Path | None,
        typer.Option(
            help="Parquet or JSONL file for the score of each text.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    encoder: DetectorEncoderOption = None,
    store: DetectorStoreOption = None,
    json_output: JsonOption = False,
    seed: SeedOption = 0,
    no_cache: NoCacheOption = False,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    base_url: BaseUrlOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    allow_pickle: AllowPickleOption = False,
) -> None:
    """Measure a detector on labelled data that it has not seen.

    Each number comes with its bootstrap interval: AUROC, AUPRC, TPR at 1 % and 5 % FPR, F1 and
    rates at the calibrated threshold, calibration error, pair accuracy; per category and type.
    """
    from safe_embed.cli.item_scores import require_item_file, write_items
    from safe_embed.detection import evaluate_detector
    from safe_embed.reports.detection_tables import evaluation_tables

    if items is not None:
        require_item_file(items)
    mapping = column_map(column, unsafe_label, safe_label)
    labelled = evaluation_items(data, kind_of(kind), mapping)
    choice = EncoderChoice(
        name=encoder,
        backend=backend,
        device=device,
        base_url=base_url,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        cache=not no_cache,
    )
    again = "the same command starts anew; embeddings are kept" if not no_cache else "start anew"
    with interruptible(again), opened_detector(choice, store) as detector:
        report = evaluate_detector(detector, labelled, seed=seed)
        perturbed = _perturbed(detector, labelled, seed) if perturb else {}
    if report.n_exemplars:
        note(
            f"{report.n_exemplars:,} of the texts are exemplars of the index: the result is too "
            "good; measure on texts that it has not seen"
        )
    if not report.calibrated:
        note("the detector is not calibrated: its score is no probability (`safe-embed calibrate`)")
    if items is not None:
        write_items(items, report.items)
        note(f"saved {items}")
    if json_output:
        fields = report.model_dump(mode="json", exclude={"items"})
        if perturb:
            fields["perturbed"] = {
                name: one.model_dump(mode="json", include={"n_unsafe", "n_safe", "measures"})
                for name, one in perturbed.items()
            }
        print_plain(json.dumps(fields, indent=1))
    else:
        print_result(evaluation_tables(report, perturbed))


def _perturbed(
    detector: Detector, items: Sequence[Record], seed: int
) -> dict[str, DetectionReport]:
    from safe_embed.detection import PERTURBATIONS, evaluate_detector, perturb_items

    found = {}
    with progress_bar("perturbations") as progress:
        for done, name in enumerate(PERTURBATIONS, 1):
            changed = perturb_items(items, name, seed=seed)
            found[name] = evaluate_detector(detector, changed, seed=seed)
            progress(done, len(PERTURBATIONS))
    return found
