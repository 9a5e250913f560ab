"""The promises that safe-embed-core makes of its content."""

from __future__ import annotations

import csv
import json
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safe_embed.curation import (
    MAX_BAG_OF_WORDS_RATE,
    near_by_cosine,
    near_by_text,
    normalized_words,
    owners,
    report_core,
    shallow_rates,
    word_edit_distance,
)
from safe_embed.datasets import (
    CORE_PARTS,
    CoreRecord,
    Split,
    contrast_sets_of,
    load_core,
    pairs_of,
    prompts_of,
)
from safe_embed.encoders import load_encoder
from safe_embed.records import check_text
from safe_embed.taxonomy import HARM_CATEGORIES, PAIR_TYPES

TEST = load_core("test")
TRAIN = load_core("train")
SPLITS: tuple[Split, ...] = ("test", "train")


@pytest.mark.parametrize("split", SPLITS)
def test_records_are_whole(split: Split):
    records = load_core(split)
    ids = [one.id for one in records]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    for one in records:
        check_text(one.text)
        assert one.text == one.text.strip()
        assert one.split == split
        assert one.batch
        assert one.source == "written"
        assert one.category is None or one.category in HARM_CATEGORIES
        assert (one.group is not None) == (one.part in ("pair", "contrast"))
    assert {one.part for one in records} <= set(CORE_PARTS)


@pytest.mark.parametrize("split", SPLITS)
def test_groups_have_their_sides(split: Split):
    members: dict[str, list[CoreRecord]] = {}
    for one in load_core(split):
        if one.group is not None:
            members.setdefault(one.group, []).append(one)
    for group, records in members.items():
        labels = Counter(one.label for one in records)
        assert labels == {"unsafe": 1, "safe": 1 if records[0].part == "pair" else 5}, group
        assert len({(one.type, one.category, one.batch) for one in records}) == 1, group
        if records[0].part == "pair":
            assert records[0].type in PAIR_TYPES


def test_enough_of_everything():
    types = Counter(pair.type for pair in pairs_of(TEST))
    assert types.keys() == PAIR_TYPES.keys()
    assert min(types.values()) >= 25
    assert sum(types.values()) >= 250
    categories = Counter(prompt.category for prompt in prompts_of(TEST, "taxonomy"))
    assert categories.keys() == HARM_CATEGORIES.keys()
    assert min(categories.values()) >= 40
    sets = Counter(one.category for one in contrast_sets_of(TEST))
    assert sets.keys() == HARM_CATEGORIES.keys()
    assert min(sets.values()) >= 20
    benign = prompts_of(TEST, "benign")
    assert len(benign) >= 800
    assert {prompt.label for prompt in benign} == {"safe"}
    baseline = Counter(prompt.label for prompt in prompts_of(TEST, "baseline"))
    assert baseline == {"unsafe": 60, "safe": 60}


def test_enough_to_learn_from():
    pairs = pairs_of(TRAIN)
    types = Counter(pair.type for pair in pairs)
    assert types.keys() == PAIR_TYPES.keys()
    assert len(pairs) >= 3000
    assert min(types.values()) >= 100
    of_pairs = {one.category for one in TRAIN if one.part == "pair"}
    assert of_pairs == HARM_CATEGORIES.keys()
    singles = Counter(prompt.category for prompt in prompts_of(TRAIN, "taxonomy"))
    assert singles.keys() == HARM_CATEGORIES.keys()
    assert sum(singles.values()) >= 1200
    benign = [one for one in TRAIN if one.part == "benign"]
    assert len(benign) >= 3000
    assert sum(one.batch == "benign-sensitive" for one in benign) >= 1000
    long_texts = [one for one in TRAIN if one.part == "long"]
    assert min(Counter(one.label for one in long_texts).values()) >= 300
    assert all(60 <= len(one.text.split()) <= 200 for one in long_texts)


def test_words_alone_do_not_give_the_unsafe_side_away():
    pytest.importorskip("sklearn", reason="needs the extra curation")
    found = report_core()
    assert found.bag_of_words is not None
    assert 0.5 <= found.bag_of_words <= MAX_BAG_OF_WORDS_RATE
    assert found.problems == ()
    assert sum(one.n for one in found.parts) == len(TEST) + len(TRAIN)


def test_originals_of_contrast_sets_are_taxonomy_prompts():
    texts = {prompt.text: prompt.category for prompt in prompts_of(TEST, "taxonomy")}
    for one in contrast_sets_of(TEST):
        assert texts[one.original] == one.category


def test_edits_are_small_and_all_different():
    distances = []
    for one in contrast_sets_of(TEST):
        words = {normalized_words(text) for text in (one.original, *one.edits)}
        assert len(words) == 6, one.id
        distances += [word_edit_distance(one.original, edit) for edit in one.edits]
    assert statistics.median(distances) <= 3
    assert max(distances) <= 6
    pair_distances = [word_edit_distance(pair.unsafe, pair.safe) for pair in pairs_of(TEST)]
    assert statistics.median(pair_distances) <= 3
    assert min(pair_distances) >= 1


def test_nothing_shallow_gives_the_unsafe_side_away():
    for name, rate in shallow_rates(pairs_of(TEST)).items():
        assert 0.45 <= rate <= 0.55, name


def test_no_near_duplicates_by_text():
    records = (*TEST, *TRAIN)
    names = owners(records)
    for found in near_by_text([one.text for one in records]):
        left, right = records[found.left], records[found.right]
        assert names[found.left] == names[found.right], (left.text, right.text)


@pytest.fixture(scope="module")
def vectors(minilm: Path) -> NDArray[np.float32]:
    """Embeddings of both splits, one after the other."""
    return load_encoder(minilm).encode([one.text for one in (*TEST, *TRAIN)])


@pytest.mark.paper
@pytest.mark.timeout(900)  # embeds some thousand texts
def test_no_near_duplicates_by_cosine(vectors: NDArray[np.float32]):
    records = (*TEST, *TRAIN)
    names = owners(records)
    for found in near_by_cosine(vectors):
        left, right = records[found.left], records[found.right]
        assert names[found.left] == names[found.right], (left.text, right.text, found.similarity)


def published_texts(paper_data: Path) -> Iterator[str]:
    """Every prompt of the files beside the paper's data."""
    with (paper_data / "xstest_aug.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            yield from (row["unsafe_prompt"], row["safe_prompt"])
    with (paper_data / "contrast_parsed.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield row["original_prompt"]
            yield from (row[f"prompt_#{i}"] for i in range(1, 6))
    for path in sorted(paper_data.parent.glob("*/*.json")):
        yield from leaves(json.loads(path.read_text("utf-8")))
    for path in sorted(paper_data.parent.glob("*/*.jsonl")):
        if path.parent != paper_data:
            for line in path.read_text("utf-8").splitlines():
                row = json.loads(line)
                yield from leaves(row.get("turns", row.get("instruction", [])))


def leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from leaves(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)


@pytest.mark.paper
@pytest.mark.timeout(900)  # embeds some thousand texts
def test_nothing_is_taken_from_published_data(
    paper_data: Path, minilm: Path, vectors: NDArray[np.float32]
):
    # the beginning of a long text is enough: ours are short
    published = sorted({text[:300] for text in published_texts(paper_data) if text.strip()})
    assert len(published) > 5000
    texts = [one.text for one in (*TEST, *TRAIN)]
    found = near_by_text(texts, published)
    found += near_by_cosine(vectors, load_encoder(minilm).encode(published))
    assert [(texts[one.left], published[one.right]) for one in found] == []
