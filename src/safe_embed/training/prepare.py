"""From the records of all sources to what is trained on and what is held out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from safe_embed.datasets.core_set import is_held_out
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.embedded import Progress
from safe_embed.records import ContrastSet, Prompt, PromptPair, texts_of
from safe_embed.training.examples import Examples, gather_examples
from safe_embed.training.overlap import find_overlaps, refuse_overlaps, without_overlaps

__all__ = ["NamedRecord", "TrainingData", "hold_out", "prepare"]


@dataclass(frozen=True)
class NamedRecord:
    """A record and where it stands."""

    record: Prompt | PromptPair | ContrastSet
    source: str
    """Name of the file or data set."""
    place: str
    """For messages, such as `row 3 of pairs.csv`."""


@dataclass(frozen=True)
class TrainingData:
    """What is trained on and what is held out.

    Args:
        examples: to train on; they become the exemplars of the index.
        held_out: to calibrate and to measure on.
        sources: SHA-256 of each source's prompts, by its name.
        n_dropped: training prompts that were left out as they are test prompts.
        checked_against: names of these test sets.
    """

    examples: Examples
    held_out: Examples
    sources: dict[str, str]
    n_dropped: int = 0
    checked_against: tuple[str, ...] = ()


def prepare(
    records: Sequence[NamedRecord],
    encoder: Encoder,
    tests: Mapping[str, Sequence[str]],
    *,
    drop: bool = False,
    progress: Progress | None = None,
) -> TrainingData:
    """Gathers records, compares them with test sets, and holds a fifth out.

    Args:
        records: of all sources.
        encoder: the base; its cosines find test prompts in other words.
        tests: for the name of each test set its texts.
        drop: leave out training prompts that are test prompts, rather than refuse them.
        progress: called while texts are embedded.

    Raises:
        InputError: labels contradict each other, or a training prompt is a test prompt.
    """
    examples = gather_examples((one.record, one.place) for one in records)
    overlaps = find_overlaps(examples, tests, encoder, progress=progress)
    if not drop:
        refuse_overlaps(overlaps)
    kept, held_out = hold_out(without_overlaps(examples, overlaps))
    return TrainingData(
        examples=kept,
        held_out=held_out,
        sources=_digests(records),
        n_dropped=len(overlaps),
        checked_against=tuple(tests),
    )


def hold_out(examples: Examples) -> tuple[Examples, Examples]:
    """Splits into four fifths to train on and one to hold out, by the digest of a group's name.

    It is the rule by which the default index splits safe-embed-core, so that what calibrates that
    index was not trained on.
    """
    held = np.array([is_held_out(group) for group in examples.groups], dtype=bool)
    return examples.only(np.flatnonzero(~held)), examples.only(np.flatnonzero(held))


def _digests(records: Sequence[NamedRecord]) -> dict[str, str]:
    found: dict[str, hashlib._Hash] = {}
    for one in records:
        digest = found.setdefault(one.source, hashlib.sha256())
        digest.update(repr(texts_of(one.record)).encode("utf-8", "surrogatepass"))
    return {name: digest.hexdigest() for name, digest in found.items()}
