"""What a name or a file with labels gives a verb: exemplars, prompts, or items to measure on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from safe_embed.datasets import Kind, Record
    from safe_embed.datasets.labelled import ColumnMap, LabelledRow
    from safe_embed.records import Label, Prompt
    from safe_embed.stores.base import Exemplar

__all__ = ["evaluation_items", "exemplars_of_file", "prompts_of_file"]

_TRUE = frozenset({"true", "1", "yes"})
_FALSE = frozenset({"false", "0", "no", ""})


def exemplars_of_file(path: Path, mapping: ColumnMap, source: str | None) -> list[Exemplar]:
    """The exemplars of a file: its prompts, both sides of pairs, contrast sets and their edits.

    Args:
        path: of the file; columns `source`, `tenant` and `muted` are read too.
        mapping: names of columns and labels.
        source: where they come from, for rows that do not say; the file's name when None.

    Raises:
        DataError: a row cannot be used, or a text is there under both labels.
    """
    from safe_embed.datasets.labelled import load_labelled
    from safe_embed.errors import DataError
    from safe_embed.stores.base import Exemplar
    from safe_embed.stores.ids import content_id

    found: dict[str, Exemplar] = {}
    seen: dict[str, tuple[str, int]] = {}
    for row in load_labelled(path, mapping=mapping):
        more = _more(path, row, path.name if source is None else source)
        for prompt in _prompts(row.record):
            label = _label(prompt)
            before, number = seen.setdefault(prompt.text, (label, row.number))
            if before != label:
                message = f"has the text of row {number}, which is {before}; keep one label"
                raise DataError(path, message, row=row.number)
            exemplar = Exemplar(
                id=prompt.id if row.has_id else content_id(prompt.text, label),
                text=prompt.text,
                label=label,
                category=prompt.category,
                source=str(more["source"]),
                tenant=str(more["tenant"]),
                muted=bool(more["muted"]),
            )
            found.setdefault(exemplar.id, exemplar)
    return list(found.values())


def prompts_of_file(path: Path, mapping: ColumnMap) -> list[Prompt]:
    """The prompts of a file, each with its label; sides of pairs and contrast sets are prompts."""
    from safe_embed.datasets.labelled import load_labelled

    return [
        prompt for row in load_labelled(path, mapping=mapping) for prompt in _prompts(row.record)
    ]


def evaluation_items(name: str, kind: Kind | None, mapping: ColumnMap) -> Sequence[Record]:
    """What to measure a detector on.

    Args:
        name: a file; or a data set of the catalogue, of which safe-embed-core is its test split.
        kind: what a file holds; found from its columns when None.
        mapping: names of columns and labels in a file.

    Raises:
        DataError: the file cannot be used, or the data set is not on this machine.
        InputError: the data set is one that cannot be measured on.
    """
    from safe_embed.datasets import CORE, catalogue, load
    from safe_embed.datasets.labelled import load_labelled
    from safe_embed.errors import InputError
    from safe_embed.records import Prompt

    path = Path(name)
    if path.exists() or name not in {one.name for one in catalogue.rows()}:
        return [row.record for row in load_labelled(path, kind, mapping=mapping)]
    if name == CORE:
        return _core_test()
    records = load(name).records
    if not all(not isinstance(one, Prompt) or one.label is not None for one in records):
        raise InputError(f"the prompts of {name!r} have no labels, so they measure no detector")
    return records


def _core_test() -> list[Record]:
    from safe_embed.datasets import contrast_sets_of, load_core, pairs_of, prompts_of

    records = load_core("test")
    alone = ("taxonomy", "benign")
    return [
        *pairs_of(records),
        *contrast_sets_of(records),
        *(prompt for part in alone for prompt in prompts_of(records, part)),  # type: ignore[arg-type]
    ]


def _prompts(record: Record) -> Iterator[Prompt]:
    """A prompt as it is; the sides of a pair and the texts of a contrast set, named by it."""
    from safe_embed.records import ContrastSet, Prompt, PromptPair

    if isinstance(record, Prompt):
        yield record
    elif isinstance(record, PromptPair):
        yield Prompt(id=f"{record.id}/unsafe", text=record.unsafe, label="unsafe")
        yield Prompt(id=f"{record.id}/safe", text=record.safe, label="safe")
    elif isinstance(record, ContrastSet):
        name, category = f"{record.id}/original", record.category
        yield Prompt(id=name, text=record.original, label="unsafe", category=category)
        for number, edit in enumerate(record.edits, 1):
            yield Prompt(id=f"{record.id}/edit {number}", text=edit, label="safe")


def _label(prompt: Prompt) -> Label:
    assert prompt.label is not None  # noqa: S101 - `load_labelled` refuses it
    return prompt.label


def _more(path: Path, row: LabelledRow, source: str) -> dict[str, object]:
    """Source, tenant and whether it is muted, of columns that no record has."""
    from safe_embed.errors import DataError

    muted = str(row.values.get("muted") or "").strip().casefold()
    if muted not in _TRUE | _FALSE:
        raise DataError(path, f"muted: must be true or false, is {muted[:40]!r}", row=row.number)
    return {
        "source": row.values.get("source") or source,
        "tenant": row.values.get("tenant") or "",
        "muted": muted in _TRUE,
    }
