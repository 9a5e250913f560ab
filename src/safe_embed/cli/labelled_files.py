"""What a verb reads where labelled prompts are named: exemplars, prompts, items to measure on."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from safe_embed.cli.output import note, progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safe_embed.datasets import Kind, Record
    from safe_embed.datasets.labelled import ColumnMap
    from safe_embed.datasets.sources import SourceReader
    from safe_embed.records import Prompt
    from safe_embed.stores.base import Exemplar
    from safe_embed.training.prepare import NamedRecord

__all__ = ["evaluation_items", "exemplars_named", "prompts_named", "training_records"]


def exemplars_named(
    names: Sequence[str],
    mapping: ColumnMap,
    source: str | None,
    leave_out: Sequence[str] = (),
) -> tuple[list[Exemplar], Sequence[Prompt]]:
    """The exemplars that are named, and prompts to calibrate by where safe-embed-core is.

    Args:
        names: files and data sets; safe-embed-core is the part of its train split that the default
            index holds, and comes with the part that was held out for calibration.
        mapping: names of columns and labels in files.
        source: where they come from, for rows that do not say; each file's name when None.
        leave_out: files and data sets whose texts must not become exemplars.

    Raises:
        DataError: a row cannot be used, or a text is there under both labels.
        InputError: a data set that is not for this.
    """
    from safe_embed.datasets import CORE
    from safe_embed.datasets.sources import labelled_prompts, without_texts
    from safe_embed.stores.base import Exemplar
    from safe_embed.stores.ids import content_id

    with _reader("train/exemplars", mapping, learns=True) as reader:
        sources = reader.read(names)
    prompts = labelled_prompts(sources, source)
    for name in leave_out:
        kept = without_texts(prompts, _texts(name))
        n = len(prompts) - len(kept)
        note(f"left out, as {name} has the same text: {n:,} prompt{'' if n == 1 else 's'}")
        prompts = kept
    found: dict[str, Exemplar] = {}
    for one in prompts:
        exemplar = Exemplar(
            id=one.id if one.id is not None else content_id(one.text, one.label),
            text=one.text,
            label=one.label,
            category=one.category,
            source=one.source,
            tenant=one.tenant,
            muted=one.muted,
        )
        found.setdefault(exemplar.id, exemplar)
    core_alone = CORE in names and not Path(CORE).exists()
    return list(found.values()), _core_part("calibration") if core_alone else ()


def prompts_named(names: Sequence[str], mapping: ColumnMap) -> list[Prompt]:
    """Prompts to calibrate by, each with its label; sides of pairs and contrast sets are prompts.

    Args:
        names: files and data sets; safe-embed-core is the part of its train split that was held
            out for this.
        mapping: names of columns and labels in files.
    """
    from safe_embed.datasets.sources import labelled_prompts
    from safe_embed.records import Prompt

    with _reader("train/calibration", mapping, learns=True) as reader:
        sources = reader.read(names)
    return [
        Prompt(
            id=one.id or f"prompt {number}", text=one.text, label=one.label, category=one.category
        )
        for number, one in enumerate(labelled_prompts(sources), 1)
    ]


def evaluation_items(
    names: Sequence[str], kind: Kind | None, mapping: ColumnMap
) -> Sequence[Record]:
    """What to measure a detector on.

    Args:
        names: files and data sets; safe-embed-core is its test split.
        kind: what a file holds; found from its columns when None.
        mapping: names of columns and labels in files.
    """
    from safe_embed.datasets.sources import records_of

    with _reader("test", mapping, kind=kind) as reader:
        return records_of(reader.read(names))


def training_records(names: Sequence[str], mapping: ColumnMap) -> list[NamedRecord]:
    """Records to train on, pairs and contrast sets as such.

    Args:
        names: files and data sets; safe-embed-core is its train split.
        mapping: names of columns and labels in files.
    """
    from safe_embed.training.prepare import NamedRecord

    with _reader("train", mapping, learns=True) as reader:
        sources = reader.read(names)
    return [
        NamedRecord(row.record, source.place, f"row {row.number} of {source.place}")
        for source in sources
        for row in source.rows
    ]


def _texts(name: str) -> list[str]:
    from safe_embed.datasets.named_texts import iterate_named_texts

    with progress_bar("fetching") as progress:
        return [row.text for row in iterate_named_texts(name, report=note, progress=progress)]


@contextmanager
def _reader(
    core: str, mapping: ColumnMap, *, kind: Kind | None = None, learns: bool = False
) -> Iterator[SourceReader]:
    """A reader of sources that knows the parts of safe-embed-core which the default index uses."""
    from safe_embed.datasets.sources import SourceReader

    parts = {f"train/{name}": partial(_core_part, name) for name in _CORE_PARTS}
    with progress_bar("fetching") as progress:
        yield SourceReader(
            mapping=mapping,
            kind=kind,
            core=core,
            core_parts=parts,
            learns=learns,
            report=note,
            progress=progress,
        )


_CORE_PARTS = ("exemplars", "calibration")


def _core_part(name: str) -> Sequence[Prompt]:
    from safe_embed.datasets import load_core
    from safe_embed.detection.default import split_core

    split = split_core(load_core("train"))
    return split.exemplars if name == "exemplars" else split.calibration
