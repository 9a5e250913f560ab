"""The prompts that are to be edited, read one by one and never held together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from safe_embed.contrast.template import Direction
from safe_embed.datasets.columns import FORMATS, record_of
from safe_embed.datasets.formats import normalised_text
from safe_embed.datasets.tables import Problem, Row, read_table
from safe_embed.errors import DataError
from safe_embed.records import Prompt

__all__ = ["NO_CATEGORY", "Item", "PromptSource"]

NO_CATEGORY = "uncategorised"
"""Category of a contrast set whose prompt has none."""


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt to edit."""

    prompt: Prompt
    task_id: str
    """Short name of the task in requests and answers, from the prompt's id and text."""


class PromptSource:
    """A file of prompts, checked as a whole before anything is asked.

    Prompts that already are what the edits shall be (safe ones, for the direction `to-safe`), and
    texts that came before, are skipped and counted. In memory are two digests of each prompt.

    Args:
        path: a file of prompts that `safe_embed.datasets` reads.
        direction: which prompts are edited.

    Raises:
        DataError: the file cannot be read, or a row of it; or nothing is left to edit.
    """

    def __init__(self, path: Path, direction: Direction) -> None:
        self.path = path
        self._skipped_label = "safe" if direction == "to-safe" else "unsafe"
        self.skipped: Counter[str] = Counter()
        """How many prompts are skipped, by the reason."""
        self.n = sum(1 for _ in self._read(self.skipped))
        """How many prompts are to be edited."""
        if not self.n:
            raise DataError(
                path, f"holds no prompts to edit {direction}: all are {self._skipped_label}"
            )

    def __iter__(self) -> Iterator[Item]:
        """Reads the file again; each prompt in its order."""
        return self._read(Counter())

    def _read(self, skipped: Counter[str]) -> Iterator[Item]:
        ids: set[bytes] = set()
        texts: set[bytes] = set()
        for number, prompt in self._prompts():
            if not _add(ids, prompt.id):
                problem = Problem(None, "id", f"{prompt.id!r} stands twice; make it unique")
                raise DataError(self.path, str(problem), row=number)
            if prompt.label == self._skipped_label:
                skipped[f"already {self._skipped_label}"] += 1
            elif not _add(texts, normalised_text(prompt.text)):
                skipped["the same text as one before"] += 1
            else:
                yield Item(prompt, _digest(f"{prompt.id}\0{prompt.text}").hex()[:12])

    def _prompts(self) -> Iterator[tuple[int, Prompt]]:
        form = FORMATS["prompts"]
        first = True
        for row in read_table(self.path):
            if isinstance(row, Row) and first:
                form.require_columns(self.path, list(row.values))
                first = False
            record = record_of(row, form) if isinstance(row, Row) else [row]
            if isinstance(record, list):
                problem = record[0]
                message = str(Problem(None, problem.field, problem.message))
                raise DataError(
                    self.path,
                    f"{message} (`safe-embed data check {self.path}` lists all)",
                    row=problem.row,
                )
            yield cast("Row", row).number, cast("Prompt", record)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:8]


def _add(known: set[bytes], text: str) -> bool:
    """Adds a text's digest, and says whether it is new."""
    before = len(known)
    known.add(_digest(text))
    return len(known) > before
