"""`safe-embed index reembed`: another encoder for an index that is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.detectors import (
    EncoderChoice,
    column_map,
    opened_store,
    remembered_as,
    remembered_encoder,
)
from safe_embed.cli.labelled_files import prompts_named
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
    from safe_embed.detection import DetectionReport, Detector
    from safe_embed.detection.documents import Calibration, IndexDocument
    from safe_embed.encoders import Encoder
    from safe_embed.records import Prompt
    from safe_embed.reports.reembed_tables import ReembedSide
    from safe_embed.stores.sqlite import SqliteStore

__all__ = ["reembed"]


def reembed(
    *,
    store: StoreOption,
    encoder: Annotated[
        str, typer.Option(help="Name in the catalogue, or a directory.", show_default=False)
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="File of prompts with labels to calibrate by, as `calibrate --data`.",
            metavar="FILE",
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

    Prints the detector before and after. Rates, scorer and method are those of the earlier
    calibration. Without --data it is dropped, unless it was made by safe-embed-core, which is at
    hand. All changes at once: an index that is read meanwhile, or a command that is killed, has
    the earlier detector or the new one.
    """
    from safe_embed.detection.reembedding import ReembedSettings, reembed_index
    from safe_embed.encoders.cache import CachedEncoder, uncached

    given = prompts_named(data, column_map(column, unsafe_label, safe_label)) if data else []
    choice = EncoderChoice(
        name=encoder,
        backend=backend,
        device=device,
        base_url=base_url,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        cache=not no_cache,
    )
    with interruptible(f"{store} is as it was; the same command starts anew"):  # noqa: SIM117
        with opened_store(store) as opened:
            index, calibration = _kept(opened)
            prompts = given or _same_core_prompts(calibration)
            loaded = choice.load()
            average = None
            if loaded.fingerprint == opened.fingerprint:
                if isinstance(loaded, CachedEncoder):  # the encoder may have drifted, it has not
                    file = loaded.cache.path(loaded.fingerprint)
                    note(f"the embedding cache is not asked; if the encoder drifted, delete {file}")
                loaded = uncached(loaded)
                if index is not None and index.average_similarity_source == "given":
                    average = index.average_similarity
            settings = ReembedSettings.like(calibration, average)
            settings.require_benign(prompts)
            before = _before(opened, index, calibration, choice, loaded, prompts)
            with progress_bar(f"embedding with {loaded.name}") as progress:
                detector = reembed_index(
                    opened,
                    loaded,
                    settings,
                    prompts,
                    documents=remembered_as(choice),
                    progress=progress,
                )
            version = opened.version
    if calibration is not None and not prompts:
        note(
            "the earlier thresholds are for the other embeddings and were dropped: "
            f"`safe-embed calibrate --store {store} --data FILE` chooses new ones"
        )
    _show(version, before, detector, prompts, json_output=json_output)


def _kept(store: SqliteStore) -> tuple[IndexDocument | None, Calibration | None]:
    """What the earlier detector kept; None where there is nothing, or what nobody can use."""
    from safe_embed.detection.documents import read_documents
    from safe_embed.errors import InputError

    try:
        index, _, calibration = read_documents(store)
    except InputError as error:
        note(f"the earlier detector is left out of account: {error}")
        return None, None
    return index, calibration


def _same_core_prompts(calibration: Calibration | None) -> list[Prompt]:
    """The prompts of the earlier calibration, where safe-embed-core has them."""
    if calibration is None:
        return []
    from safe_embed.datasets import load_core
    from safe_embed.detection.default import split_core
    from safe_embed.detection.documents import texts_digest

    prompts = split_core(load_core("train"), max_fpr=calibration.max_fpr).calibration
    digest = texts_digest((one.text, str(one.label)) for one in prompts)
    return list(prompts) if digest == calibration.data_digest else []


def _before(
    store: SqliteStore,
    index: IndexDocument | None,
    calibration: Calibration | None,
    choice: EncoderChoice,
    loaded: Encoder,
    prompts: Sequence[Prompt],
) -> ReembedSide:
    """The earlier detector, measured where its encoder is on this machine."""
    from safe_embed.reports.detection_tables import CalibrationSummary
    from safe_embed.reports.reembed_tables import ReembedSide

    remembered = remembered_encoder(store)
    name = remembered or store.fingerprint[:12]
    measured = None
    if prompts and index is not None:
        measured = _measured_before(store, choice, loaded, remembered, prompts)
    return ReembedSide(
        encoder=name,
        average_similarity=index.average_similarity if index else None,
        average_similarity_source=index.average_similarity_source if index else None,
        calibration=CalibrationSummary.of(calibration, name) if calibration else None,
        measured=measured,
    )


def _measured_before(
    store: SqliteStore,
    choice: EncoderChoice,
    loaded: Encoder,
    remembered: str,
    prompts: Sequence[Prompt],
) -> DetectionReport | None:
    from safe_embed.detection import Detector
    from safe_embed.errors import SafeEmbedError

    try:
        if loaded.fingerprint == store.fingerprint:
            earlier = loaded
        elif _is_here(remembered):
            earlier = EncoderChoice(
                name=remembered, device=choice.device, cache=choice.cache
            ).load()
        else:
            note("`before` is not measured: its encoder is not on this machine")
            return None
        return Detector.open(store, earlier).evaluate(prompts)
    except SafeEmbedError as error:  # a drift, say, which is why the index is embedded anew
        note(f"`before` is not measured: {error}")
        return None


def _is_here(name: str) -> bool:
    """Whether an encoder can be loaded without a network."""
    from safe_embed.encoders import catalogue, weights
    from safe_embed.encoders.load import FAKE_ENCODER

    if name == FAKE_ENCODER or Path(name).is_dir():
        return True
    row = catalogue.find(name)
    return row is not None and bool(row.repositories) and weights.find(row) is not None


def _show(
    version: int,
    before: ReembedSide,
    detector: Detector,
    prompts: Sequence[Prompt],
    *,
    json_output: bool,
) -> None:
    from safe_embed.detection.documents import INDEX_KEY, IndexDocument, read_document
    from safe_embed.reports.detection_tables import CalibrationSummary
    from safe_embed.reports.reembed_tables import ReembedSide, reembed_view

    name = detector.encoder.name
    index = read_document(detector.store, INDEX_KEY, IndexDocument)
    calibration = detector.calibration
    if calibration is not None:
        calibration = calibration.model_copy(update={"index_version": version})
    after = ReembedSide(
        encoder=name,
        average_similarity=detector.average_similarity,
        average_similarity_source=index.average_similarity_source if index else None,
        calibration=CalibrationSummary.of(calibration, name) if calibration else None,
        measured=detector.evaluate(prompts) if prompts else None,
    )
    if json_output:
        fields = {"version": version, "before": before.fields(), "after": after.fields()}
        print_plain(json.dumps(fields, indent=1))
        return
    print_result(f"index version {version}: encoder {name}, before it {before.encoder}")
    print_result(reembed_view(before, after))
