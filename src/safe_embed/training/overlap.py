"""Test prompts among the training prompts: found before anything is learnt from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safe_embed.curation import near_by_cosine, normalized_words
from safe_embed.datasets import CORE, catalogue, load_core
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import EmbeddedTexts, Progress
from safe_embed.errors import InputError
from safe_embed.records import texts_of
from safe_embed.training.examples import Examples

__all__ = [
    "MAX_SIMILARITY",
    "Overlap",
    "find_overlaps",
    "known_test_sets",
    "refuse_overlaps",
    "without_overlaps",
]

MAX_SIMILARITY = 0.95
"""From this normalised similarity of the base encoder on two prompts say the same."""


@dataclass(frozen=True)
class Overlap:
    """A training prompt that says what a test prompt says."""

    row: int
    """Of the examples."""
    text: str
    test_set: str
    test_text: str
    cosine: float
    """1 where the words are the same."""


def find_overlaps(
    examples: Examples,
    tests: Mapping[str, Sequence[str]],
    encoder: Encoder,
    *,
    progress: Progress | None = None,
) -> list[Overlap]:
    """Compares training prompts with test sets, by their words and by cosine.

    The cosine that counts is the one whose normalised similarity is `MAX_SIMILARITY`, with the mean
    cosine of training and test prompts as the average: some encoders find all texts alike.

    Args:
        examples: what is to be trained on.
        tests: for the name of each test set its texts.
        encoder: the base.
        progress: called while texts are embedded.

    Returns:
        The closest test prompt of each training prompt that has one, in the order of the examples.
    """
    embedded = EmbeddedTexts.embed(
        encoder,
        [*examples.texts, *(t for texts in tests.values() for t in texts)],
        progress=progress,
    )
    words = [normalized_words(text) for text in examples.texts]
    found: dict[int, Overlap] = {}

    def keep(overlap: Overlap) -> None:
        known = found.get(overlap.row)
        if known is None or known.cosine < overlap.cosine:
            found[overlap.row] = overlap

    for name, texts in tests.items():
        same = {normalized_words(text): text for text in texts}
        for row, normal in enumerate(words):
            if normal in same:
                keep(Overlap(row, examples.texts[row], name, same[normal], 1.0))
        ours, theirs = embedded.of(examples.texts), embedded.of(list(texts))
        average = float(ours.mean(axis=0) @ theirs.mean(axis=0))
        min_cosine = average + MAX_SIMILARITY * (1 - average)
        near = near_by_cosine(ours, theirs, min_cosine=min_cosine)
        for one in near:
            keep(
                Overlap(one.left, examples.texts[one.left], name, texts[one.right], one.similarity)
            )
    return [found[row] for row in sorted(found)]


def refuse_overlaps(overlaps: Sequence[Overlap]) -> None:
    """Refuses training prompts that are test prompts.

    Raises:
        InputError: there is one; shows the closest.
    """
    if not overlaps:
        return
    worst = max(overlaps, key=lambda one: one.cosine)
    raise InputError(
        f"{len(overlaps):,} training prompts are test prompts or nearly so (normalised similarity "
        f"{MAX_SIMILARITY} or more): {worst.text[:60]!r} is {worst.test_text[:60]!r} of "
        f"{worst.test_set}; remove them, or let them be left out with --drop-test-prompts"
    )


def without_overlaps(examples: Examples, overlaps: Sequence[Overlap]) -> Examples:
    """The examples without those that overlap; the twin of a dropped one stays as a single."""
    kept = np.ones(len(examples), dtype=bool)
    kept[[one.row for one in overlaps]] = False
    return examples.only(np.flatnonzero(kept))


def known_test_sets(directory: Path | None = None) -> dict[str, list[str]]:
    """Texts of safe-embed-core's test split and of the test sets that are on this machine.

    Args:
        directory: looked at before the user's data directory.
    """
    found = {f"{CORE}:test": [one.text for one in load_core("test")]}
    for row in catalogue.rows():
        if row.test_set and row.kind != "raw" and catalogue.locate(row, directory) is not None:
            records = catalogue.load(row, directory).records
            found[row.name] = [text for record in records for text in texts_of(record)]
    return found
