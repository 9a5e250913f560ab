"""`safe-embed index reembed`: another encoder for an index that is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.detectors import (
    EncoderChoice,
    column_map,
    opened_store,
    remember_encoder,
    remembered_encoder,
)
from safe_embed.cli.labelled_files import prompts_of_file
from safe_embed.cli.options import (
    AllowPickleOption,
    BackendOption,
    BaseUrlOption,
    ColumnOption,
    DeviceOption,
    JsonOption,
    NoCacheOption,
    SafeLabelOption,
    StoreOption,
    TrustRemoteCodeOption,
    UnsafeLabelOption,
)
from safe_embed.cli.output import interruptible, note, print_plain, print_result, progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from safe_embed.detection import Detector
    from safe_embed.detection.documents import Calibration
    from safe_embed.encoders import Encoder
    from safe_embed.records import Prompt
    from safe_embed.stores.sqlite import SqliteStore

__all__ = ["reembed"]

_DEFAULT_MAX_FPR = 0.01


def reembed(
    *,
    store: StoreOption,
    encoder: Annotated[
        str, typer.Option(help="Name in the catalogue, or a directory.", show_default=False)
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="File of prompts with labels to calibrate by, as `calibrate --data`.",
            show_default=False,
        ),
    ] = None,
    column: ColumnOption = None,
    unsafe_label: UnsafeLabelOption = None,
    safe_label: SafeLabelOption = None,
    json_output: JsonOption = False,
    no_cache: NoCacheOption = False,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    base_url: BaseUrlOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    allow_pickle: AllowPickleOption = False,
) -> None:
    """Embed an index with another encoder, all its versions, and choose thresholds again.

    Rates, scorer and method are those of the earlier calibration. Without --data it is dropped.
    """
    prompts = prompts_of_file(data, column_map(column, unsafe_label, safe_label)) if data else []
    choice = EncoderChoice(
        name=encoder,
        backend=backend,
        device=device,
        base_url=base_url,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        cache=not no_cache,
    )
    again = f"run it again: {store} is whole, but may have no detector for the new encoder yet"
    with opened_store(store) as opened:
        before = _calibration(opened)
        name = remembered_encoder(opened) or opened.fingerprint[:12]
        _require_benign(prompts, before)
        loaded = choice.load()
        with interruptible(again):
            detector = _reembedded(opened, loaded, before)
            remember_encoder(opened, choice)
            if prompts:
                _calibrate_like(detector, prompts, before)
            elif before is not None:
                note(
                    "the earlier thresholds are for the other encoder and were dropped: "
                    f"`safe-embed calibrate --store {store} --data FILE` chooses new ones"
                )
        after = detector.calibration
        _show_reembedded(
            (name, before), (loaded.name, after), opened.version, json_output=json_output
        )


def _calibration(store: SqliteStore) -> Calibration | None:
    """The calibration of a store; None where there is none, or one that nobody can use."""
    from safe_embed.detection.documents import CALIBRATION_KEY, Calibration, read_document
    from safe_embed.errors import InputError

    try:
        return read_document(store, CALIBRATION_KEY, Calibration)
    except InputError:  # an earlier reembed was cut off, say
        return None


def _require_benign(prompts: Sequence[Prompt], before: Calibration | None) -> None:
    """Refuses data that cannot keep the promise, before anything is changed."""
    from safe_embed.errors import InputError
    from safe_embed.metrics.detection import min_benign

    needed = min_benign(before.max_fpr if before else _DEFAULT_MAX_FPR)
    n = sum(one.label == "safe" for one in prompts)
    if prompts and n < needed:
        raise InputError(
            f"the promised false-positive rate needs {needed:,} benign prompts, --data has {n:,}; "
            "add benign prompts, or leave --data out and calibrate later"
        )


def _reembedded(store: SqliteStore, encoder: Encoder, before: Calibration | None) -> Detector:
    from safe_embed.detection import Detector, make_scorer
    from safe_embed.detection.index import embed
    from safe_embed.detection.scorers import DEFAULT_SCORER

    done = 0
    stats = store.stats()
    with progress_bar(f"embedding with {encoder.name}") as progress:

        def embedded(texts: Sequence[str]) -> NDArray[np.float32]:
            nonlocal done
            vectors = embed(encoder, texts)
            done += len(texts)
            progress(done, max(done, stats.n_unsafe + stats.n_safe))
            return vectors

        store.reembed(
            encoder.fingerprint,
            embedded,
            dimension=encoder.dimension,
            note=f"encoder {encoder.name}",
        )
    scorer = make_scorer(**before.scorer) if before else DEFAULT_SCORER
    return Detector.build([], encoder, store=store, scorer=scorer)


def _calibrate_like(
    detector: Detector, prompts: Sequence[Prompt], before: Calibration | None
) -> None:
    if before is None:
        detector.calibrate(prompts, max_fpr=_DEFAULT_MAX_FPR)
        return
    detector.calibrate(
        prompts,
        max_fpr=before.max_fpr,
        review_fpr=before.review_fpr,
        method=before.probability.kind,
        per_category=bool(before.block_by_category),
    )


def _show_reembedded(
    before: tuple[str, Calibration | None],
    after: tuple[str, Calibration | None],
    version: int,
    *,
    json_output: bool,
) -> None:
    from safe_embed.reports.detection_tables import CalibrationSummary, calibration_view

    summaries = {
        title: CalibrationSummary.of(calibration, name) if calibration else None
        for title, (name, calibration) in (("before", before), ("after", after))
    }
    if json_output:
        fields = {title: asdict(one) if one else None for title, one in summaries.items()}
        print_plain(json.dumps({"version": version, **fields}, indent=1))
        return
    print_result(f"index version {version}: encoder {after[0]}, before it {before[0]}")
    if any(summaries.values()):
        print_result(calibration_view(summaries))
