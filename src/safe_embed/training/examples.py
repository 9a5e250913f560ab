"""What an encoder is trained on: texts with labels, and which of them are twins."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safe_embed.curation import normalized_words
from safe_embed.errors import InputError
from safe_embed.records import ContrastSet, Label, Prompt, PromptPair

__all__ = ["Examples", "gather_examples", "require_enough"]

Record = Prompt | PromptPair | ContrastSet


@dataclass(frozen=True)
class Examples:
    """Labelled texts, each once.

    Args:
        texts: n texts.
        unsafe: bool of shape (n,).
        categories: category of harm of an unsafe text; None where it is unknown, and of safe ones.
        twins: int64 of shape (p, 2): rows of an unsafe text and of its safe twin.
        groups: n names; texts of one name are trained on together or held out together.
    """

    texts: tuple[str, ...]
    unsafe: NDArray[np.bool_]
    categories: tuple[str | None, ...]
    twins: NDArray[np.int64]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def only(self, rows: Sequence[int] | NDArray[np.int64]) -> Examples:
        """The examples of some rows; twins stay where both sides do."""
        new = {int(row): number for number, row in enumerate(rows)}
        kept = [(new[u], new[s]) for u, s in self.twins.tolist() if u in new and s in new]
        return Examples(
            texts=tuple(self.texts[row] for row in rows),
            unsafe=self.unsafe[np.asarray(rows, dtype=np.int64)],
            categories=tuple(self.categories[row] for row in rows),
            twins=np.array(kept, dtype=np.int64).reshape(-1, 2),
            groups=tuple(self.groups[row] for row in rows),
        )

    def prompts(self) -> list[Prompt]:
        """The texts as prompts with labels."""
        labels: dict[bool, Label] = {True: "unsafe", False: "safe"}
        return [
            Prompt(
                id=f"example {row + 1}", text=text, label=labels[bool(unsafe)], category=category
            )
            for row, (text, unsafe, category) in enumerate(
                zip(self.texts, self.unsafe, self.categories, strict=True)
            )
        ]

    def pairs(self) -> list[PromptPair]:
        """The twins as pairs."""
        return [
            PromptPair(id=f"pair {n}", type="pair", unsafe=self.texts[u], safe=self.texts[s])
            for n, (u, s) in enumerate(self.twins.tolist(), 1)
        ]

    def digest(self) -> str:
        """SHA-256 of texts, labels, categories and twins, in this order."""
        digest = hashlib.sha256()
        for text, unsafe, category in zip(self.texts, self.unsafe, self.categories, strict=True):
            digest.update(repr((text, bool(unsafe), category)).encode("utf-8", "surrogatepass"))
        digest.update(self.twins.astype("<i8").tobytes())
        return digest.hexdigest()


def gather_examples(records: Iterable[tuple[Record, str]]) -> Examples:
    """Puts the records of all sources together; a text that is there twice counts once.

    Args:
        records: prompts with a label, pairs and contrast sets, each with the name of its place,
            such as `row 3 of pairs.csv`. An original with its edits is a twin of each of them.

    Raises:
        InputError: texts that say the same carry two labels; names both places.
    """
    row_of: dict[str, int] = {}
    place_of: dict[str, tuple[Label, str]] = {}
    texts: list[str] = []
    unsafe: list[bool] = []
    categories: list[str | None] = []
    groups: list[str] = []
    twins: dict[tuple[int, int], None] = {}

    def add(text: str, label: Label, category: str | None, group: str, place: str) -> int:
        words = normalized_words(text) or text
        before, where = place_of.setdefault(words, (label, place))
        if before != label:
            raise InputError(
                f"{place}: {text[:60]!r} is labelled {label}, and {before} in {where}; correct one "
                "of the two labels or remove one"
            )
        row = row_of.setdefault(text, len(texts))
        if row == len(texts):
            texts.append(text)
            unsafe.append(label == "unsafe")
            categories.append(category if label == "unsafe" else None)
            groups.append(group)
        return row

    for record, place in records:
        if isinstance(record, Prompt):
            if record.label is None:
                raise InputError(f"{place}: has no label; name its column, or use unsafe:FILE")
            add(record.text, record.label, record.category, record.id, place)
            continue
        if isinstance(record, PromptPair):
            original, category = record.unsafe, record.category
            edits: tuple[str, ...] = (record.safe,)
        else:
            original, edits, category = record.original, record.edits, record.category
        first = add(original, "unsafe", category, record.id, place)
        for edit in edits:
            twins[first, add(edit, "safe", None, record.id, place)] = None
    return Examples(
        texts=tuple(texts),
        unsafe=np.array(unsafe, dtype=bool),
        categories=tuple(categories),
        twins=np.array(list(twins), dtype=np.int64).reshape(-1, 2),
        groups=tuple(groups),
    )


def require_enough(examples: Examples, min_pairs: int) -> None:
    """Refuses examples of which nothing can be learnt.

    Raises:
        InputError: says what is missing.
    """
    n_unsafe = int(examples.unsafe.sum())
    if n_unsafe == 0 or n_unsafe == len(examples):
        missing = "unsafe" if n_unsafe == 0 else "safe"
        raise InputError(
            f"the {len(examples):,} training prompts have no {missing} one among them; add some, "
            "for instance with --data safe-embed-core"
        )
    if len(examples.twins) < min_pairs:
        raise InputError(
            f"training needs {min_pairs} pairs of an unsafe prompt with a safe twin, got "
            f"{len(examples.twins)}; add pairs, for instance with --data safe-embed-core"
        )
