"""Checks one file of records, and counts what is in it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, computed_field

from safe_embed.datasets.columns import Kind, Record
from safe_embed.datasets.formats import Defect, read_records
from safe_embed.datasets.tables import Problem
from safe_embed.records import ContrastSet, Prompt, PromptPair, texts_of
from safe_embed.taxonomy import HARM_CATEGORIES

__all__ = ["MAX_LABEL_RATIO", "CheckReport", "check_file"]

MAX_LABEL_RATIO = 3.0
"""Labels are unbalanced where one is over this many times as frequent as the other."""


class CheckReport(BaseModel):
    """What `check_file` found."""

    model_config = ConfigDict(frozen=True)

    path: Path
    kind: Kind
    n_records: int
    """Rows that can be used."""
    problems: tuple[Problem, ...]
    """What must be mended, row by row, before the file can be loaded."""
    warnings: tuple[Problem, ...]
    """What may be meant, and is worth a look."""
    categories: dict[str, int]
    types: dict[str, int]
    labels: dict[str, int]
    median_words: float
    """Median number of words, split at white space, of all texts; NaN where there are none."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """Whether the file can be loaded as it is."""
        return not self.problems


def check_file(
    path: Path | str,
    kind: Kind | None = None,
    *,
    allow: Collection[Defect] = (),
    ignore: Collection[str] = (),
) -> CheckReport:
    """Reads a file to its end and reports every problem.

    Args:
        path: a file that `read_table` reads.
        kind: what the file holds; found from its columns where None.
        allow: defects that are warnings instead of problems.
        ignore: columns to leave out, where one has a known name and another meaning.

    Raises:
        DataError: the file as a whole cannot be read, or its columns make no records.
        UnknownNameError: no such kind.
    """
    file = read_records(path, kind, allow=allow, ignore=ignore)
    categories = Counter(
        record.category
        for record in file.records
        if isinstance(record, Prompt | ContrastSet) and record.category is not None
    )
    labels: Counter[str] = Counter(
        record.label
        for record in file.records
        if isinstance(record, Prompt) and record.label is not None
    )
    types = Counter(record.type for record in file.records if isinstance(record, PromptPair))
    words = [len(text.split()) for record in file.records for text in texts_of(record)]
    warnings = [*_category_warnings(categories), *_label_warnings(labels)]
    warnings += _edit_warnings(file.records)
    return CheckReport(
        path=file.path,
        kind=file.kind,
        n_records=len(file.records),
        problems=file.problems,
        warnings=(*file.warnings, *warnings),
        categories=dict(categories),
        types=dict(types),
        labels=dict(labels),
        median_words=statistics.median(words) if words else float("nan"),
    )


def _category_warnings(counts: Counter[str]) -> Iterator[Problem]:
    for category, count in counts.items():
        if count < 2:
            message = f"{category!r} has one prompt only; its purity needs at least 2"
            yield Problem(None, "category", message)
        if category not in HARM_CATEGORIES:
            message = f"{category!r} is not one of the paper's 12; fine if it is one of your own"
            yield Problem(None, "category", message)


def _label_warnings(counts: Counter[str]) -> Iterator[Problem]:
    if not counts:
        return
    unsafe, safe = counts["unsafe"], counts["safe"]
    if max(unsafe, safe) > MAX_LABEL_RATIO * min(unsafe, safe):
        message = f"{unsafe:,} unsafe and {safe:,} safe prompts are unbalanced; add to the fewer"
        yield Problem(None, "label", message)


def _edit_warnings(records: tuple[Record, ...]) -> Iterator[Problem]:
    counts = Counter(len(one.edits) for one in records if isinstance(one, ContrastSet))
    if len(counts) > 1:
        parts = ", ".join(f"{n:,} sets of {edits}" for edits, n in sorted(counts.items()))
        message = f"sets differ in size ({parts}); their boundary similarities compare poorly"
        yield Problem(None, "edits", message)
