"""How one prompt ended, and the records that are written of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safe_embed.contrast.answers import Reason
from safe_embed.contrast.budget import Spent
from safe_embed.contrast.journal import Journal
from safe_embed.contrast.source import NO_CATEGORY, Item, PromptSource
from safe_embed.contrast.template import Direction
from safe_embed.files import atomic_file

__all__ = ["Summary", "journal_path", "rejected_path", "write_outputs"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of the prompts of a file."""

    n: int
    """Prompts that were to be edited."""
    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """How many were rejected, by the reason."""
    left: int = 0
    """Prompts that were not asked for, or whose answer is not there yet."""
    spent: Spent = field(default_factory=Spent)
    exhausted: str | None = None
    """The limit of the budget that ended the run."""


def journal_path(out: Path) -> Path:
    """The journal beside an output file: `sets.jsonl` has `sets.journal.jsonl`."""
    return out.with_name(f"{out.stem}.journal.jsonl")


def rejected_path(out: Path) -> Path:
    """The rejected prompts beside an output file: `sets.jsonl` has `sets.rejected.jsonl`."""
    return out.with_name(f"{out.stem}.rejected.jsonl")


def write_outputs(
    source: PromptSource,
    journal: Journal,
    out: Path,
    *,
    direction: Direction,
    reason_left: Reason | None = None,
) -> Summary:
    """Writes the accepted and the rejected of a journal, in the order of the prompts.

    Args:
        source: the prompts.
        journal: how they ended.
        out: what `safe-embed run --suite` loads: contrast sets, or pairs for `to-unsafe`. The
            rejected go to a file beside it. Both are whole or absent.
        direction: which of the two it is.
        reason_left: prompts that have not ended are rejected for this reason; left out where None.

    Raises:
        StorageError: a file cannot be written.
    """
    accepted, left, reasons = 0, 0, Counter[str]()
    with ExitStack() as files:
        temporary = [files.enter_context(atomic_file(path)) for path in (out, rejected_path(out))]
        sets, rejected = [
            files.enter_context(path.open("w", encoding="utf-8", newline="\n"))
            for path in temporary
        ]
        for item in source:
            end = journal.end_of(item.task_id)
            if end is None:
                left += 1
                if reason_left is None:
                    continue
                end = {"reason": reason_left, "detail": "was not asked", "attempts": 0}
            elif end["step"] == "accepted":
                accepted += 1
                # What is in a set was checked to be Unicode; a raw answer may be anything.
                sets.write(json.dumps(_accepted(item, end, direction), ensure_ascii=False) + "\n")
                continue
            else:
                reasons[end["reason"]] += 1
            rejected.write(json.dumps(_rejected(item, end)) + "\n")
    return Summary(n=source.n, accepted=accepted, rejected=dict(reasons), left=left)


def _accepted(item: Item, end: Mapping[str, Any], direction: Direction) -> dict[str, Any]:
    prompt, edits = item.prompt, end["edits"]
    record: dict[str, Any] = {"id": prompt.id}
    if direction == "to-safe":
        record |= {"category": prompt.category or NO_CATEGORY, "original": prompt.text}
        record["edits"] = edits
    else:
        record |= {"type": prompt.category or NO_CATEGORY, "unsafe": edits[0]}
        record["safe"] = prompt.text
    if end.get("judge") is not None:
        record["judge"] = end["judge"]
    return {**record, "provenance": end["provenance"]}


def _rejected(item: Item, end: Mapping[str, Any]) -> dict[str, Any]:
    prompt = item.prompt
    names = ("reason", "detail", "raw", "attempts", "edits", "judge", "provenance")
    told = {name: end[name] for name in names if end.get(name) is not None}
    return {"id": prompt.id, "category": prompt.category, "original": prompt.text, **told}
