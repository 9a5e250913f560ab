"""Statistics of safe-embed-core, and whether it keeps the promises of its datasheet."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from safe_embed.curation.edits import word_edit_distance
from safe_embed.curation.give_aways import bag_of_words_rate, first_word_rate, shallow_rates
from safe_embed.curation.near_duplicates import NearDuplicate, near_by_cosine, near_by_text
from safe_embed.datasets import CoreRecord, contrast_sets_of, load_core, pairs_of
from safe_embed.encoders import Encoder
from safe_embed.errors import MissingExtraError

__all__ = ["MAX_BAG_OF_WORDS_RATE", "CoreReport", "PartStatistics", "owners", "report_core"]

MAX_BAG_OF_WORDS_RATE = 0.70
"""More than this share of test pairs ranked right by words alone is a give-away."""
SHALLOW_RANGE = (0.45, 0.55)
"""Where each shallow rate must lie."""

_FIRST_PERSON = frozenset({"i", "i'm", "i'd", "i've", "im", "me", "my", "mine", "we", "our", "us"})


class PartStatistics(BaseModel):
    """One part of one split, unsafe and safe texts apart."""

    model_config = ConfigDict(frozen=True)

    split: str
    part: str
    label: str
    n: int
    words: tuple[float, float, float]
    """10th percentile, median and 90th percentile of the number of words."""
    questions: float
    """Share of texts that end in a question mark."""
    first_person: float
    """Share of texts with I, me, my, we, our or us."""


class CoreReport(BaseModel):
    """What `report_core` found."""

    model_config = ConfigDict(frozen=True)

    parts: tuple[PartStatistics, ...]
    categories: dict[str, dict[str, int]]
    """Unsafe texts by `SPLIT PART` and category."""
    types: dict[str, dict[str, int]]
    """Pairs by split and type."""
    batches: dict[str, int]
    """Records by batch."""
    edit_distances: dict[str, dict[int, int]]
    """How many pairs and edits of the test split differ from their original by how many words."""
    median_edit_distance: dict[str, float]
    give_aways: dict[str, float]
    """Share of test pairs whose unsafe side is ranked first by a shallow number."""
    bag_of_words: float | None
    """The same by a bag of words of the train split; None without the extra `curation`."""
    problems: tuple[str, ...]
    """Promises that are broken."""


def report_core(
    encoder: Encoder | None = None, *, report: Callable[[str], None] = lambda _message: None
) -> CoreReport:
    """Reads both splits and counts, measures and compares.

    Args:
        encoder: also finds near duplicates by the cosine of its embeddings.
        report: called with a line for people where a check is left out.
    """
    test, train = load_core("test"), load_core("train")
    pairs = pairs_of(test)
    edits = [(one.original, edit) for one in contrast_sets_of(test) for edit in one.edits]
    distances = {
        "pairs": [word_edit_distance(pair.unsafe, pair.safe) for pair in pairs],
        "contrast edits": [word_edit_distance(*both) for both in edits],
    }
    unsafe = [one.text for one in train if one.label == "unsafe"]
    safe = [one.text for one in train if one.label == "safe"]
    give_aways = {**shallow_rates(pairs), "first word": first_word_rate(unsafe, safe, pairs)}
    try:
        words_rate = bag_of_words_rate(unsafe, safe, pairs)
    except MissingExtraError as error:
        report(f"the bag of words is left out: {error}")
        words_rate = None
    records = (*test, *train)
    problems = [
        f"{name} alone ranks {rate:.1%} of the test pairs right"
        for name, rate in give_aways.items()
        if not SHALLOW_RANGE[0] <= rate <= SHALLOW_RANGE[1]
    ]
    if words_rate is not None and words_rate > MAX_BAG_OF_WORDS_RATE:
        problems.append(f"words alone rank {words_rate:.1%} of the test pairs right")
    problems += [
        f"{name} without a difference: {found.count(0)}"
        for name, found in distances.items()
        if 0 in found
    ]
    problems += _near_duplicates(records, encoder)
    return CoreReport(
        parts=_parts(records),
        categories=_categories(records),
        types={
            split: dict(sorted(Counter(pair.type for pair in pairs_of(of)).items()))
            for split, of in (("test", test), ("train", train))
        },
        batches=dict(sorted(Counter(one.batch for one in records).items())),
        edit_distances={
            name: dict(sorted(Counter(found).items())) for name, found in distances.items()
        },
        median_edit_distance={name: statistics.median(found) for name, found in distances.items()},
        give_aways=give_aways,
        bag_of_words=words_rate,
        problems=tuple(problems),
    )


def owners(records: Sequence[CoreRecord]) -> list[str]:
    """What may be alike: the sides of a pair; a set, its edits, and its original elsewhere."""
    originals = {
        one.text: one.group for one in records if one.part == "contrast" and one.label == "unsafe"
    }
    return [one.group or originals.get(one.text) or one.id for one in records]


def _near_duplicates(records: Sequence[CoreRecord], encoder: Encoder | None) -> list[str]:
    texts, names = [one.text for one in records], owners(records)
    found: list[NearDuplicate] = near_by_text(texts)
    if encoder is not None:
        found += near_by_cosine(encoder.encode(texts))
    return [
        f"{records[one.left].id} and {records[one.right].id} say nearly the same "
        f"({one.kind}, {one.similarity:.2f})"
        for one in found
        if names[one.left] != names[one.right]
    ]


def _parts(records: Sequence[CoreRecord]) -> tuple[PartStatistics, ...]:
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in records:
        groups.setdefault((one.split, one.part, one.label), []).append(one.text)
    return tuple(_statistics(*key, texts) for key, texts in sorted(groups.items()))


def _statistics(split: str, part: str, label: str, texts: list[str]) -> PartStatistics:
    lengths = sorted(len(text.split()) for text in texts)
    deciles = [lengths[round(share * (len(lengths) - 1))] for share in (0.1, 0.5, 0.9)]
    questions = sum(text.endswith("?") for text in texts)
    first_person = sum(not _FIRST_PERSON.isdisjoint(text.lower().split()) for text in texts)
    return PartStatistics(
        split=split,
        part=part,
        label=label,
        n=len(texts),
        words=(deciles[0], deciles[1], deciles[2]),
        questions=round(questions / len(texts), 3),
        first_person=round(first_person / len(texts), 3),
    )


def _categories(records: Sequence[CoreRecord]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for one in records:
        if one.label == "unsafe" and one.category is not None:
            counts.setdefault(f"{one.split} {one.part}", Counter())[one.category] += 1
    return {name: dict(sorted(count.items())) for name, count in sorted(counts.items())}
