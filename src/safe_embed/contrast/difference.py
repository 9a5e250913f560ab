"""Where two readings of the same answers differ, and why."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safe_embed.contrast.answers import edit_distance, words
from safe_embed.contrast.parsing import Parsed, ParsedSet
from safe_embed.datasets.formats import read_records
from safe_embed.records import ContrastSet

__all__ = ["Comparison", "Difference", "why_different"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one set that is not the same in both readings."""

    id: str
    """Of the set; `row N` of the other file where that row cannot be used."""
    field: str
    """"set", "category", "original", "edits", or "edit 1" and so on."""
    reason: str
    here: str | None
    """The text in the answers; None where there is none."""
    there: str | None
    """The text in the other file."""


@dataclass(kw_only=True)
class Comparison:
    """Sets compared with those of another file, one by one."""

    path: Path
    """The other file."""
    others: dict[str, ContrastSet]
    """Its sets that were not met yet, by id."""
    n: int = 0
    """Sets that both have."""
    equal: int = 0
    """Those that are equal to the letter."""
    differences: list[Difference] = field(default_factory=list)

    @classmethod
    def with_file(cls, path: Path) -> Comparison:
        """Reads the other file; a row of it that is no contrast set is a difference.

        Raises:
            DataError: the file as a whole cannot be read as contrast sets.
        """
        sets = read_records(path, "contrast sets", allow=("duplicate text", "equal edits"))
        unusable = [
            Difference(f"row {one.row}", "set", f"unusable in the other file: {one}", None, None)
            for one in sets.problems
        ]
        others = {one.id: one for one in sets.contrast_sets}
        return cls(path=path, others=others, differences=unusable)

    def add(self, item: Parsed) -> None:
        """Compares one row of the answers with the set of the same id."""
        id_ = item.record.id if isinstance(item, ParsedSet) else item.id
        other = None if id_ is None else self.others.pop(id_, None)
        if isinstance(item, ParsedSet):
            if other is None:
                missing = Difference(item.record.id, "set", "only in the answers", "", None)
                self.differences.append(missing)
                return
            found = list(_differences(item.record, other))
            self.n += 1
            self.equal += not found
            self.differences += found
        elif other is not None:
            reason = f"rejected here, row {item.row}: {item.reason} ({item.detail})"
            self.differences.append(Difference(other.id, "set", reason, None, ""))

    def finish(self) -> None:
        """Adds the sets of the other file that no row of the answers has."""
        for id_ in self.others:
            self.differences.append(Difference(id_, "set", "only in the other file", None, ""))
        self.others.clear()


def why_different(here: str, there: str) -> str:
    """What was done to the text of an answer to get the other text.

    Args:
        here: the text in the answer, decoded.
        there: another text, not equal to it.

    Example:
        >>> why_different("How are you? ", "How are you?")
        'white space'
        >>> why_different("It's safe.", "It&#x27;s safe.")
        'HTML escapes not decoded'
    """
    for reason, same in _REASONS:
        if same(here, there):
            return reason
    if there and here.startswith(there.rstrip("\u2026.")):
        return "cut off"
    return f"another text ({edit_distance(here, there):.2f} of the words changed)"


def _differences(here: ContrastSet, there: ContrastSet) -> Iterator[Difference]:
    for name in ("category", "original"):
        left, right = getattr(here, name), getattr(there, name)
        if left != right:
            yield Difference(here.id, name, why_different(left, right), left, right)
    if len(here.edits) != len(there.edits):
        reason = f"{len(here.edits)} edits in the answer, {len(there.edits)} in the other file"
        yield Difference(here.id, "edits", reason, _listed(here.edits), _listed(there.edits))
    elif here.edits != there.edits and sorted(here.edits) == sorted(there.edits):
        reason = "another order"
        yield Difference(here.id, "edits", reason, _listed(here.edits), _listed(there.edits))
    else:
        for number, (left, right) in enumerate(zip(here.edits, there.edits, strict=True), 1):
            if left != right:
                yield Difference(here.id, f"edit {number}", why_different(left, right), left, right)


def _listed(edits: Sequence[str]) -> str:
    return json.dumps(edits, ensure_ascii=False)


def _same_after(change: Callable[[str], str]) -> Callable[[str, str], bool]:
    def same(here: str, there: str) -> bool:
        try:
            return change(there) == here
        except (ValueError, RecursionError):
            return False

    return same


def _json_decoded(text: str) -> str:
    return str(json.loads(f'"{text}"'))


def _repaired(text: str) -> str:
    """Text that was read as Latin-1 or Windows-1252, read as UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text.encode("cp1252").decode("utf-8")


def _same_letters(left: str, right: str) -> bool:
    return "".join(left.split()) == "".join(right.split())


_REASONS: tuple[tuple[str, Callable[[str, str], bool]], ...] = (
    ("white space", _same_letters),
    ("case", lambda here, there: here.casefold() == there.casefold()),
    ("JSON escapes not decoded", _same_after(_json_decoded)),
    ("HTML escapes not decoded", _same_after(html.unescape)),
    ("wrong encoding", _same_after(_repaired)),
    ("case, punctuation or white space", lambda here, there: words(here) == words(there)),
)
