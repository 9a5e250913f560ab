"""`safe-embed index build` and `index add`: labelled prompts become exemplars."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safe_embed.cli.detectors import (
    EncoderChoice,
    column_map,
    full_category,
    opened_detector,
    remembered_as,
)
from safe_embed.cli.labelled_files import exemplars_named
from safe_embed.cli.options import (
    AllowPickleOption,
    BackendOption,
    BaseUrlOption,
    ColumnOption,
    DetectorEncoderOption,
    DeviceOption,
    JsonOption,
    NoCacheOption,
    NoteOption,
    SafeLabelOption,
    StoreOption,
    TrustRemoteCodeOption,
    UnsafeLabelOption,
)
from safe_embed.cli.output import interruptible, note, print_plain, print_result, progress_bar

if TYPE_CHECKING:
    from safe_embed.encoders import Encoder
    from safe_embed.stores.base import Exemplar, ExemplarStore
    from safe_embed.stores.sqlite import SqliteStore

__all__ = ["ExemplarLabel", "add", "build", "show_change"]

_COLUMNS = "with columns text, label (unsafe or safe), and as you like id, category, source, tenant"
_NAMES = (
    "unsafe:FILE or safe:FILE of prompts of one label; a data set of `data list`, such as "
    "safe-embed-core; or hub:ORG/NAME:SPLIT"
)
SourceOption = Annotated[
    str | None,
    typer.Option(
        help="Where they come from, shown in the evidence; the file's name by default.",
        show_default=False,
    ),
]
LeaveOutOption = Annotated[
    list[str] | None,
    typer.Option(
        help="File or data set whose texts must not become exemplars, such as test data. Repeat "
        "for several.",
        metavar="FILE",
        show_default=False,
    ),
]


class ExemplarLabel(StrEnum):
    """The label of an exemplar."""

    UNSAFE = "unsafe"
    SAFE = "safe"


def build(
    exemplars: Annotated[
        list[str],
        typer.Argument(
            help=f"Files {_COLUMNS}; of pairs or contrast sets; {_NAMES}.",
            metavar="EXEMPLARS...",
        ),
    ],
    *,
    store: StoreOption,
    encoder: Annotated[
        str, typer.Option(help="Name in the catalogue, or a directory.")
    ] = "minilm-safety",
    source: SourceOption = None,
    leave_out: LeaveOutOption = None,
    reason: NoteOption = "",
    column: ColumnOption = None,
    unsafe_label: UnsafeLabelOption = None,
    safe_label: SafeLabelOption = None,
    average_similarity: Annotated[
        float | None,
        typer.Option(
            help="Average similarity to normalise by, in place of the published or measured one.",
            show_default=False,
        ),
    ] = None,
    json_output: JsonOption = False,
    no_cache: NoCacheOption = False,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    base_url: BaseUrlOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    allow_pickle: AllowPickleOption = False,
) -> None:
    """Build an index of labelled exemplars.

    safe-embed-core comes with its calibration; calibrate another with `safe-embed calibrate`.
    """
    from safe_embed.detection import Detector, make_scorer
    from safe_embed.detection.default import REVIEW_FPR
    from safe_embed.detection.index import fill_index
    from safe_embed.detection.scorers import DEFAULT_SCORER

    mapping = column_map(column, unsafe_label, safe_label)
    found, calibration = exemplars_named(exemplars, mapping, source, leave_out or ())
    _require_both_labels(exemplars, found)
    choice = EncoderChoice(
        name=encoder,
        backend=backend,
        device=device,
        base_url=base_url,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        cache=not no_cache,
    )
    again = f"the same command goes on; {store} is not whole yet"
    with interruptible(again), _new_store(store, choice) as (opened, loaded):
        opened.set_documents(remembered_as(choice))
        with progress_bar(f"embedding with {loaded.name}") as progress:
            index = fill_index(
                opened,
                loaded,
                found,
                average=average_similarity,
                note=reason,
                progress=progress,
            )
        detector = Detector(opened, loaded, make_scorer(DEFAULT_SCORER), index)
        if calibration:
            detector.calibrate(calibration, review_fpr=REVIEW_FPR, refit=True)
        else:
            detector.refit()
            note(f"not calibrated: `safe-embed calibrate --store {store} --data FILE` does that")
        show_change(opened, 0, json_output=json_output)


def add(
    exemplars: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Files {_COLUMNS}; {_NAMES}.",
            metavar="EXEMPLARS...",
            show_default=False,
        ),
    ] = None,
    *,
    store: StoreOption,
    text: Annotated[
        str | None, typer.Option(help="Add this prompt, in place of a file.", show_default=False)
    ] = None,
    label: Annotated[
        ExemplarLabel | None, typer.Option(help="Its label.", show_default=False)
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="Its category of harm.", show_default=False)
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", help="Its id; by default made of its text.", show_default=False),
    ] = None,
    source: SourceOption = None,
    leave_out: LeaveOutOption = None,
    tenant: Annotated[str, typer.Option(help="Whose it is, where an index serves many.")] = "",
    reason: NoteOption = "",
    column: ColumnOption = None,
    unsafe_label: UnsafeLabelOption = None,
    safe_label: SafeLabelOption = None,
    encoder: DetectorEncoderOption = None,
    json_output: JsonOption = False,
    no_cache: NoCacheOption = False,
    device: DeviceOption = "cpu",
    backend: BackendOption = None,
    base_url: BaseUrlOption = None,
    trust_remote_code: TrustRemoteCodeOption = False,
    allow_pickle: AllowPickleOption = False,
) -> None:
    """Add exemplars, which count from the next check on; one that is there stays as it is."""
    from safe_embed.errors import InputError

    if (not exemplars) == (text is None):
        raise InputError("give a file of exemplars, or --text and --label, not both")
    if exemplars:
        if any((label, category, id_, tenant)):
            raise InputError(
                "--label, --category, --id and --tenant go with --text; a file has columns for "
                "them, or is of one label as unsafe:FILE or safe:FILE"
            )
        mapping = column_map(column, unsafe_label, safe_label)
        found, _ = exemplars_named(exemplars, mapping, source, leave_out or ())
    else:
        if label is None:
            raise InputError("--text needs --label unsafe or --label safe")
        one = _exemplar(text or "", label, id_)
        category = full_category(category)
        found = [replace(one, category=category, source=source or "", tenant=tenant)]
    choice = EncoderChoice(
        name=encoder,
        backend=backend,
        device=device,
        base_url=base_url,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        cache=not no_cache,
    )
    again = "nothing was added; the same command starts anew"
    with opened_detector(choice, store) as detector:
        with interruptible(again):
            before = detector.store.version
            detector.add(found, note=reason)
        show_change(detector.store, before, json_output=json_output)


def show_change(store: ExemplarStore, before: int, *, json_output: bool) -> None:
    """Tells the version that a change made, and how many exemplars it changed.

    Args:
        store: after the change.
        before: its version before.
        json_output: as JSON.
    """
    stats = store.stats()
    n = sum(one.n for one in store.history() if one.version > before)
    if json_output:
        fields = {
            "version": stats.version,
            "changed": n,
            "n_unsafe": stats.n_unsafe,
            "n_safe": stats.n_safe,
            "n_muted": stats.n_muted,
        }
        print_plain(json.dumps(fields, indent=1))
        return
    what = f"{n:,} exemplar{'' if n == 1 else 's'} changed" if n else "nothing to change"
    print_result(
        f"index version {stats.version}: {what}; it has {stats.n_unsafe:,} unsafe and "
        f"{stats.n_safe:,} safe"
    )


def _exemplar(text: str, label: ExemplarLabel, id_: str | None) -> Exemplar:
    from safe_embed.stores.base import Exemplar
    from safe_embed.stores.ids import content_id

    return Exemplar(
        id=content_id(text, label.value) if id_ is None else id_, text=text, label=label.value
    )


def _require_both_labels(names: Sequence[str], exemplars: Sequence[Exemplar]) -> None:
    from safe_embed.errors import DataError

    labels = {one.label for one in exemplars if not one.muted}
    for label, other in (("unsafe", "safe"), ("safe", "unsafe")):
        if label not in labels:
            message = f"holds no {label} exemplar; add some, best ones that look like the {other}"
            raise DataError(", ".join(names), f"{message} ones")


@contextmanager
def _new_store(path: Path, choice: EncoderChoice) -> Iterator[tuple[SqliteStore, Encoder]]:
    """A new store, or one that a build left before it was whole; and its encoder."""
    from safe_embed.detection.documents import INDEX_KEY
    from safe_embed.errors import InputError
    from safe_embed.stores.sqlite import SqliteStore

    if path.exists():
        opened = SqliteStore.open(path, report=note)
        whole = bool(opened.get_documents([INDEX_KEY]))
        opened.close()
        if whole:
            raise InputError(
                f"the index {path} exists already: `safe-embed index add` adds to it, or choose "
                "another path"
            )
    encoder = choice.load()
    store = SqliteStore.open_or_create(path, encoder.fingerprint, encoder.dimension, report=note)
    try:
        yield store, encoder
    finally:
        store.close()
