"""Texts of what a person names, one by one: labels are neither needed nor read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from safe_embed.datasets import catalogue
from safe_embed.datasets.columns import Record
from safe_embed.datasets.core_set import core_records
from safe_embed.datasets.download import Progress
from safe_embed.datasets.hub import fetch_split
from safe_embed.datasets.names import resolve
from safe_embed.datasets.texts import TextRow, iterate_texts
from safe_embed.errors import InputError
from safe_embed.records import prompts_in

__all__ = ["iterate_named_texts"]


def iterate_named_texts(
    name: str,
    columns: Mapping[str, str] | None = None,
    *,
    report: Callable[[str], None] = lambda _message: None,
    progress: Progress | None = None,
) -> Iterator[TextRow]:
    """Texts of a file, of a data set, or of a split of the hub, in their order.

    Args:
        name: as `names.resolve` understands it; safe-embed-core alone is its test split.
        columns: as `iterate_texts` has them, for files and the hub.
        report: is told what the user should know.
        progress: is told the bytes of a file of the hub, and their total.

    Raises:
        DataError: the file or, when its turn comes, a row cannot be read, or has no text; or the
            data set is not on this machine.
        DownloadError: a split of the hub cannot be fetched.
        InputError: columns are named of a data set that has its own.
        UnknownNameError: no file, data set or part has that name.
    """
    named = resolve(name)
    if named.path is not None:
        return iterate_texts(named.path, columns)
    if named.hub is not None:
        split = fetch_split(named.hub, progress=progress, report=report)
        return _chained(split.paths, columns)
    if columns:
        raise InputError(f"--column goes with a file of columns; the data set {name} has its own")
    if named.core is not None:
        return _texts(core_records(named.core or "test"))
    assert named.data_set is not None  # noqa: S101 - one of the four is not None
    return _texts(catalogue.load(named.data_set).records)


def _chained(paths: Iterable[Path], columns: Mapping[str, str] | None) -> Iterator[TextRow]:
    for path in paths:
        yield from iterate_texts(path, columns)


def _texts(records: Iterable[Record]) -> Iterator[TextRow]:
    for number, record in enumerate(records, 1):
        for prompt in prompts_in(record):
            yield TextRow(number, prompt.text, prompt.id)
