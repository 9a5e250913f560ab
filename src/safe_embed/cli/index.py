"""`safe-embed index`: the exemplars that a detector compares with."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from safe_embed.cli.detectors import full_category, opened_store, remembered_encoder
from safe_embed.cli.index_build import ExemplarLabel, add, build, show_change
from safe_embed.cli.index_reembed import reembed
from safe_embed.cli.options import JsonOption, NoteOption, StoreOption
from safe_embed.cli.output import note, print_plain, print_result

if TYPE_CHECKING:
    from safe_embed.stores.base import ExemplarStore, Filter

__all__ = ["index_app"]

index_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Build and change the exemplars that a detector compares with.",
)
index_app.command("build")(build)
index_app.command("add")(add)

_ROWS_SHOWN = 50

IdsArgument: TypeAlias = Annotated[
    list[str], typer.Argument(help="Ids, as `index list` shows them.", metavar="ID...")
]


@index_app.command("mute")
def mute(
    ids: IdsArgument,
    *,
    store: StoreOption,
    unmute: Annotated[
        bool, typer.Option("--unmute", help="Let muted exemplars count again.")
    ] = False,
    reason: NoteOption = "",
    json_output: JsonOption = False,
) -> None:
    """Let exemplars no longer count, without forgetting them."""
    with opened_store(store) as opened:
        before = opened.version
        opened.mute(ids, muted=not unmute, note=reason)
        show_change(opened, before, json_output=json_output)


@index_app.command("remove")
def remove(
    ids: IdsArgument,
    *,
    store: StoreOption,
    reason: NoteOption = "",
    json_output: JsonOption = False,
) -> None:
    """Remove exemplars; an earlier version still has them."""
    with opened_store(store) as opened:
        before = opened.version
        opened.remove(ids, note=reason)
        show_change(opened, before, json_output=json_output)


@index_app.command("list")
def list_exemplars(
    *,
    store: StoreOption,
    label: Annotated[
        ExemplarLabel | None, typer.Option(help="Only of this label.", show_default=False)
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option(help="Only of this category of harm. Repeat for several.", show_default=False),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Only from this source. Repeat for several.", show_default=False),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Only of this tenant. Repeat for several.", show_default=False),
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="As of this version.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"Show at most this many; {_ROWS_SHOWN} by default, all with --json.",
            min=1,
            show_default=False,
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="One object a line, as `index build` reads them.")
    ] = False,
) -> None:
    """List the exemplars, in the order of their ids."""
    from safe_embed.reports.index_tables import exemplar_table

    with opened_store(store) as opened:
        found = opened.exemplars(
            version=version,
            label=label.value if label else None,
            only=_filter(category, source, tenant),
        )
    told = found[: limit if json_output else limit or _ROWS_SHOWN]
    if json_output:
        if told:
            print_plain("\n".join(json.dumps(asdict(one)) for one in told))
    else:
        print_result(exemplar_table(told))
    if len(told) < len(found):
        note(f"{len(told):,} of {len(found):,} exemplars; --limit shows more")


@index_app.command("stats")
def stats(*, store: StoreOption, json_output: JsonOption = False) -> None:
    """Count the exemplars, and say what the index was built and calibrated with."""
    from safe_embed.reports.index_tables import stats_table

    with opened_store(store) as opened:
        counts = opened.stats()
        encoder = remembered_encoder(opened)
        facts = _facts(opened, encoder)
    if json_output:
        fields = {**asdict(counts), "encoder": encoder or None, **facts}
        print_plain(json.dumps(fields, indent=1))
        return
    lines = {"encoder": f"{encoder or 'not known by name'}, {counts.fingerprint[:12]}"}
    lines |= {title.replace("_", " "): _told(value) for title, value in facts.items()}
    print_result(stats_table(counts, lines))


@index_app.command("history")
def history(*, store: StoreOption, json_output: JsonOption = False) -> None:
    """List all versions: when, what, how many exemplars, why."""
    from safe_embed.reports.index_tables import history_table

    with opened_store(store) as opened:
        changes = opened.history()
    if json_output:
        fields = [{**asdict(one), "time": one.time.isoformat()} for one in changes]
        print_plain(json.dumps(fields, indent=1))
    else:
        print_result(history_table(changes))


@index_app.command("diff")
def diff(
    old: Annotated[int, typer.Argument(help="Earlier version.", metavar="OLD")],
    new: Annotated[
        int | None,
        typer.Argument(help="Later version; the present one by default.", show_default=False),
    ] = None,
    *,
    store: StoreOption,
    json_output: JsonOption = False,
) -> None:
    """Show what changed between two versions."""
    from safe_embed.reports.index_tables import diff_tables

    with opened_store(store) as opened:
        found = opened.diff(old, opened.version if new is None else new)
    if json_output:
        print_plain(json.dumps(asdict(found), indent=1))
    else:
        print_result(diff_tables(found))


@index_app.command("revert")
def revert(
    version: Annotated[int, typer.Argument(help="Version to go back to.", metavar="VERSION")],
    *,
    store: StoreOption,
    reason: NoteOption = "",
    json_output: JsonOption = False,
) -> None:
    """Make the exemplars those of an earlier version, as a new version."""
    with opened_store(store) as opened:
        before = opened.version
        opened.revert(version, note=reason)
        show_change(opened, before, json_output=json_output)


index_app.command("reembed")(reembed)


def _filter(
    category: list[str] | None, source: list[str] | None, tenant: list[str] | None
) -> Filter:
    from safe_embed.stores.base import Filter

    return Filter(
        categories=frozenset(full_category(one) or "" for one in category) if category else None,
        sources=frozenset(source) if source else None,
        tenants=frozenset(tenant) if tenant else None,
    )


def _facts(store: ExemplarStore, encoder: str) -> dict[str, object]:
    """What a detector keeps beside the exemplars; nothing where none was built."""
    from safe_embed.detection.documents import (
        CALIBRATION_KEY,
        INDEX_KEY,
        Calibration,
        IndexDocument,
        read_document,
    )
    from safe_embed.reports.detection_tables import CalibrationSummary

    index = read_document(store, INDEX_KEY, IndexDocument)
    calibration = read_document(store, CALIBRATION_KEY, Calibration)
    if index is None:
        return {"average_similarity": None, "calibration": None}
    return {
        "average_similarity": index.average_similarity,
        "average_similarity_source": index.average_similarity_source,
        "calibration": asdict(CalibrationSummary.of(calibration, encoder)) if calibration else None,
    }


def _told(value: object) -> str:
    if isinstance(value, dict):  # a calibration
        from safe_embed.reports.verdict_text import percent

        return (
            f"scorer {value['scorer']['name']}, at index version {value['index_version']}: block "
            f"above {value['threshold']:.3f}, at most {percent(value['max_fpr'])} of benign prompts"
        )
    return f"{value:.4f}" if isinstance(value, float) else str(value or "none")
