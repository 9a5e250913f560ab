"""safe-embed-core: our own data set, bundled, CC-BY-4.0.

One record is one text. Pairs and contrast sets are records that share a `group`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from typing import Literal, cast, get_args

from pydantic import BaseModel, ConfigDict

from safe_embed.errors import UnknownNameError
from safe_embed.records import ContrastSet, Label, Prompt, PromptPair

__all__ = [
    "CORE",
    "CORE_PARTS",
    "CoreRecord",
    "Part",
    "Split",
    "contrast_sets_of",
    "core_digest",
    "core_records",
    "core_texts",
    "is_held_out",
    "load_core",
    "pairs_of",
    "prompts_of",
]

CORE = "safe-embed-core"
_HELD_OUT = 5  # one group of the train split in five calibrates

Split = Literal["train", "test"]
Part = Literal["pair", "contrast", "taxonomy", "benign", "long", "baseline"]
CORE_PARTS: tuple[Part, ...] = get_args(Part)


class CoreRecord(BaseModel):
    """One text of safe-embed-core."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Stable; split, part and number, and for a pair or a contrast set the side."""
    text: str
    label: Label
    category: str | None = None
    """Category of harm: of an unsafe text, and of the unsafe side for the other side of a pair."""
    type: str | None = None
    """Type of a pair; topic of a benign text."""
    group: str | None = None
    """Id of the pair or contrast set."""
    split: Split
    part: Part
    batch: str
    """The sitting in which it was written; validation can hold out whole batches."""
    source: str
    """Where it comes from; `written` for all that was written for this data set."""
    note: str = ""


@cache
def load_core(split: Split) -> tuple[CoreRecord, ...]:
    """All records of one split, in the order of their ids."""
    lines = _file(split).decode("utf-8").splitlines()
    return tuple(CoreRecord.model_validate_json(line) for line in lines)


def core_digest(split: Split) -> str:
    """SHA-256 of a split's file."""
    return hashlib.sha256(_file(split)).hexdigest()


def is_held_out(name: str) -> bool:
    """Whether a group of safe-embed-core calibrates, and is neither exemplar nor trained on."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _HELD_OUT == 0


def core_texts(split: Split) -> Iterator[tuple[str, str]]:
    """Group, or else id, and text of each record: fast, as nothing else of it is checked."""
    for line in _file(split).splitlines():
        record = json.loads(line)
        yield record["group"] or record["id"], record["text"]


def prompts_of(records: Iterable[CoreRecord], part: Part) -> tuple[Prompt, ...]:
    """The texts of one part as prompts."""
    return tuple(
        Prompt(id=one.id, text=one.text, label=one.label, category=one.category)
        for one in records
        if one.part == part
    )


def pairs_of(records: Iterable[CoreRecord]) -> tuple[PromptPair, ...]:
    """The pairs: two records, unsafe and safe, that share a group."""
    pairs = []
    for group, (unsafe, safe) in _grouped(records, "pair"):
        assert unsafe.type is not None, group  # noqa: S101 - checked by the data's own test
        pairs.append(
            PromptPair(
                id=group,
                type=unsafe.type,
                unsafe=unsafe.text,
                safe=safe.text,
                category=unsafe.category,
            )
        )
    return tuple(pairs)


def contrast_sets_of(records: Iterable[CoreRecord]) -> tuple[ContrastSet, ...]:
    """The contrast sets: an unsafe record and its safe edits, which share a group."""
    sets = []
    for group, (original, *edits) in _grouped(records, "contrast"):
        assert original.category is not None, group  # noqa: S101 - as above
        texts = tuple(edit.text for edit in edits)
        sets.append(
            ContrastSet(id=group, category=original.category, original=original.text, edits=texts)
        )
    return tuple(sets)


def core_records(name: str) -> list[PromptPair | ContrastSet | Prompt]:
    """The labelled records of a split, or of one part of it.

    Args:
        name: `train` or `test`, without the prompts for the average similarity; or with a part, as
            `test/pairs`: pairs, contrast-sets, taxonomy, benign, long or baseline.

    Raises:
        UnknownNameError: there is no such split, or it has no such part.
    """
    split, _, part = name.partition("/")
    if split not in get_args(Split):
        raise UnknownNameError("split of safe-embed-core", split, get_args(Split))
    records = load_core(cast("Split", split))
    known = [one for one in CORE_PARTS if any(record.part == one for record in records)]
    names = {_PART_NAMES.get(one, one): one for one in known}
    if part and part not in names:
        raise UnknownNameError(f"part of safe-embed-core:{split}", part, names)
    wanted = [names[part]] if part else [one for one in known if one != "baseline"]
    found: list[PromptPair | ContrastSet | Prompt] = []
    for one in wanted:
        if one == "pair":
            found += pairs_of(records)
        elif one == "contrast":
            found += contrast_sets_of(records)
        else:
            found += prompts_of(records, one)
    return found


_PART_NAMES: dict[Part, str] = {"pair": "pairs", "contrast": "contrast-sets"}


def _grouped(records: Iterable[CoreRecord], part: Part) -> Iterator[tuple[str, list[CoreRecord]]]:
    """Records of one part by group, the unsafe one first, then in the order of their ids."""
    groups: dict[str, list[CoreRecord]] = {}
    for one in records:
        if one.part == part and one.group is not None:
            groups.setdefault(one.group, []).append(one)
    for group, members in groups.items():
        yield group, sorted(members, key=lambda one: (one.label == "safe", one.id))


def _file(split: Split) -> bytes:
    return (resources.files("safe_embed.datasets") / "core" / f"{split}.jsonl").read_bytes()
