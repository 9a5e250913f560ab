"""Labelled prompts of what a person names: files, data sets, splits of the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from safe_embed.datasets import catalogue
from safe_embed.datasets.catalogue import DataSet
from safe_embed.datasets.columns import Kind, Record
from safe_embed.datasets.core_set import CORE, core_records
from safe_embed.datasets.download import Progress
from safe_embed.datasets.formats import normalised_text
from safe_embed.datasets.hub import fetch_split
from safe_embed.datasets.hub_splits import HubName
from safe_embed.datasets.labelled import ColumnMap, LabelledRow, load_labelled, with_label
from safe_embed.datasets.names import resolve
from safe_embed.errors import DataError, InputError
from safe_embed.records import Label, Prompt, prompts_in

__all__ = [
    "LabelledPrompt",
    "Source",
    "SourceReader",
    "labelled_prompts",
    "records_of",
    "without_texts",
]

_TRUE: Final = frozenset({"true", "1", "yes"})
_FALSE: Final = frozenset({"false", "0", "no", ""})


@dataclass(frozen=True, slots=True)
class Source:
    """The rows that one name gave."""

    place: str
    """For messages: the path, or the name."""
    title: str
    """Where the prompts come from, in the evidence of a verdict."""
    rows: tuple[LabelledRow, ...]
    keeps_ids: bool
    """Whether its ids are the user's, by which a row is known again; else they mean nothing."""


@dataclass(frozen=True, kw_only=True)
class SourceReader:
    """Reads what is named, for one use.

    Args:
        mapping: names of columns and labels, of files and of the hub.
        kind: what files and splits of the hub hold; found from their columns when None.
        core: what `safe-embed-core` alone means, such as `test`.
        core_parts: further parts of safe-embed-core, by their names.
        learns: the prompts become exemplars or thresholds, so a test set is refused.
        report: is told what the user should know.
        progress: is told the bytes of a file of the hub, and their total.
    """

    mapping: ColumnMap = field(default_factory=ColumnMap)
    kind: Kind | None = None
    core: str = "test"
    core_parts: Mapping[str, Callable[[], Sequence[Prompt]]] = field(default_factory=dict)
    learns: bool = False
    report: Callable[[str], None] = lambda _message: None
    progress: Progress | None = None

    def read(self, names: Sequence[str]) -> list[Source]:
        """Reads each name; one of the hub gives a source for each of its files.

        Raises:
            DataError: a file cannot be used, or a data set is not on this machine.
            DownloadError: a split of the hub cannot be fetched.
            InputError: a data set that is not for this use, or is named twice.
            UnknownNameError: no file, data set or part has that name.
        """
        if twice := next((one for one in names if names.count(one) > 1), None):
            raise InputError(f"{twice!r} is named twice; name it once")
        return [source for name in names for source in self._sources(name)]

    def _sources(self, name: str) -> list[Source]:
        named = resolve(name)
        if named.path is not None:
            return [self._file(named.path, named.label)]
        if named.hub is not None:
            return self._hub(named.hub, named.label)
        if named.core is not None:
            return [self._core(named.core or self.core, named.label)]
        assert named.data_set is not None  # noqa: S101 - one of the four is not None
        return [self._data_set(named.data_set, named.label)]

    def _file(self, path: Path, label: Label | None) -> Source:
        rows = load_labelled(path, self.kind, mapping=self.mapping, label=label)
        return Source(str(path), path.name, rows, keeps_ids=True)

    def _hub(self, name: HubName, label: Label | None) -> list[Source]:
        split = fetch_split(name, progress=self.progress, report=self.report)
        titles = [split.name]
        if len(split.paths) > 1:
            titles = [f"{split.name}, file {number}" for number in range(1, len(split.paths) + 1)]
        return [
            Source(
                title,
                title,
                load_labelled(path, self.kind, mapping=self.mapping, label=label),
                keeps_ids=False,
            )
            for title, path in zip(titles, split.paths, strict=True)
        ]

    def _core(self, part: str, label: Label | None) -> Source:
        own = self.core_parts.get(part)
        records: Sequence[Record]
        records = core_records(part) if own is None else own()
        if self.learns and part.partition("/")[0] == "test":
            self.report(
                f"{CORE}:test is a test split: what learns from it cannot be measured on it"
            )
        return _of_records(f"{CORE}:{part}", CORE, records, label)

    def _data_set(self, data_set: DataSet, label: Label | None) -> Source:
        name = data_set.name
        if self.learns and data_set.test_set:
            raise InputError(
                f"{name!r} is a test set, and nothing learns from it; measure on it with "
                f"`safe-embed detect-eval --data {name}`"
            )
        return _of_records(name, name, catalogue.load(data_set).records, label)


@dataclass(frozen=True, slots=True)
class LabelledPrompt:
    """A prompt that may become an exemplar."""

    text: str
    label: Label
    category: str | None
    id: str | None
    """The user's; None where there is none."""
    source: str
    tenant: str
    muted: bool


def labelled_prompts(sources: Sequence[Source], source: str | None = None) -> list[LabelledPrompt]:
    """The prompts of all sources: also both sides of pairs, and contrast sets with their edits.

    Args:
        sources: columns `source`, `tenant` and `muted` of files are read too.
        source: where the prompts come from, for rows that do not say; the source's title when None.

    Raises:
        DataError: a text stands under both labels, an id is there twice with different texts, or
            `muted` is neither true nor false.
    """
    found: list[LabelledPrompt] = []
    labels: dict[str, tuple[Label, str]] = {}
    texts: dict[str, tuple[str, str]] = {}
    for one in sources:
        for row in one.rows:
            keeps_id = one.keeps_ids and row.has_id
            where = f"row {row.number} of {one.place}"
            for prompt in prompts_in(row.record):
                label = cast("Label", prompt.label)  # `SourceReader` refuses what has none
                before, place = labels.setdefault(prompt.text, (label, where))
                if before != label:
                    message = f"has the text of {place}, which is {before}; keep one label"
                    raise DataError(one.place, message, row=row.number)
                if keeps_id:
                    text, place = texts.setdefault(prompt.id, (prompt.text, where))
                    if text != prompt.text:
                        message = f"the id {prompt.id!r} is that of {place} too; make it unique"
                        raise DataError(one.place, message, row=row.number)
                found.append(
                    LabelledPrompt(
                        text=prompt.text,
                        label=label,
                        category=prompt.category,
                        id=prompt.id if keeps_id else None,
                        source=str(row.values.get("source") or source or one.title),
                        tenant=str(row.values.get("tenant") or ""),
                        muted=_muted(one.place, row),
                    )
                )
    return found


def without_texts(prompts: Sequence[LabelledPrompt], texts: Iterable[str]) -> list[LabelledPrompt]:
    """The prompts whose text is none of these; neither case nor white space tells texts apart."""
    left_out = {normalised_text(text) for text in texts}
    return [one for one in prompts if normalised_text(one.text) not in left_out]


def records_of(sources: Sequence[Source]) -> list[Record]:
    """All records, with ids that tell them apart where there is more than one source."""
    if len(sources) == 1:
        return [row.record for row in sources[0].rows]
    return [
        row.record.model_copy(update={"id": f"{source.place}: {row.record.id}"})
        for source in sources
        for row in source.rows
    ]


def _of_records(place: str, title: str, records: Sequence[Record], label: Label | None) -> Source:
    rows = []
    for number, record in enumerate(records, 1):
        try:
            rows.append(LabelledRow(number, with_label(record, label), {}))
        except ValueError as error:
            raise InputError(f"{place}, {record.id}: {error}") from None
    return Source(place, title, tuple(rows), keeps_ids=False)


def _muted(place: str, row: LabelledRow) -> bool:
    word = str(row.values.get("muted") or "").strip().casefold()
    if word not in _TRUE | _FALSE:
        raise DataError(place, f"muted: must be true or false, is {word[:40]!r}", row=row.number)
    return word in _TRUE
