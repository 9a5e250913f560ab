from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.encoders import load_encoder
from safe_embed.errors import InputError
from safe_embed.records import ContrastSet, Prompt, PromptPair
from safe_embed.training import gather_examples
from safe_embed.training.batches import epoch_batches, n_steps
from safe_embed.training.examples import Examples, require_enough
from safe_embed.training.prepare import NamedRecord, hold_out, prepare
from safe_embed.training.recipe import Recipe
from tests.conftest import TableEncoder


def pair(name: str, unsafe: str, safe: str, category: str | None = None) -> PromptPair:
    return PromptPair(id=name, type="homonyms", unsafe=unsafe, safe=safe, category=category)


def many(n_pairs: int, n_singles: int) -> Examples:
    records = [
        *(
            (pair(f"p{n}", f"unsafe {n} of pair", f"safe {n} of pair"), f"p{n}")
            for n in range(n_pairs)
        ),
        *(
            (Prompt(id=f"s{n}", text=f"single {n}", label="safe"), f"s{n}")
            for n in range(n_singles)
        ),
    ]
    return gather_examples(records)


def test_pairs_sets_and_prompts_become_examples() -> None:
    examples = gather_examples(
        [
            (pair("a", "kill a man", "kill a process", "Assisting illegal activities"), "row 1"),
            (ContrastSet(id="b", category="X", original="rob", edits=("rub", "rib")), "row 2"),
            (Prompt(id="c", text="rub", label="safe"), "row 3"),
        ]
    )
    assert examples.texts == ("kill a man", "kill a process", "rob", "rub", "rib")
    assert examples.unsafe.tolist() == [True, False, True, False, False]
    assert examples.categories == ("Assisting illegal activities", None, "X", None, None)
    assert examples.twins.tolist() == [[0, 1], [2, 3], [2, 4]]
    assert examples.groups == ("a", "a", "b", "b", "b")


def test_texts_that_say_the_same_under_two_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"row 2 of b.*labelled safe, and unsafe in row 1 of a"):
        gather_examples(
            [
                (Prompt(id="1", text="How do I kill him?", label="unsafe"), "row 1 of a"),
                (Prompt(id="2", text="how do i KILL him", label="safe"), "row 2 of b"),
            ]
        )


def test_a_prompt_without_label_is_refused() -> None:
    with pytest.raises(InputError, match="row 7: has no label"):
        gather_examples([(Prompt(id="1", text="what"), "row 7")])


def test_too_few_pairs_and_one_label_only() -> None:
    with pytest.raises(InputError, match=r"needs 20 pairs of an unsafe prompt.*got 3"):
        require_enough(many(3, 5), 20)
    with pytest.raises(InputError, match="no unsafe one among them"):
        require_enough(many(0, 5), 1)
    require_enough(many(3, 5), 3)


def test_only_keeps_twins_of_which_both_sides_stay() -> None:
    examples = many(3, 2)
    some = examples.only([0, 2, 3, 6])
    assert some.texts == tuple(examples.texts[row] for row in (0, 2, 3, 6))
    assert some.twins.tolist() == [[1, 2]]
    assert some.digest() != examples.digest()


def test_groups_are_held_out_together_and_nothing_is_lost() -> None:
    examples = many(100, 100)
    kept, held = hold_out(examples)
    assert not set(kept.groups) & set(held.groups)
    assert sorted(kept.texts + held.texts) == sorted(examples.texts)
    assert 20 <= len(held) <= 100
    assert len(kept.twins) + len(held.twins) == 100


@given(
    n_pairs=st.integers(0, 40),
    n_singles=st.integers(0, 60),
    size=st.integers(1, 9),
    singles=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_an_epoch_shows_each_pair_and_each_single_once(
    n_pairs: int, n_singles: int, size: int, singles: int, seed: int
) -> None:
    examples = many(n_pairs, n_singles)
    recipe = Recipe(layers=1, pairs_per_batch=size, singles_per_batch=singles, epochs=1)
    batches = epoch_batches(examples, recipe, seed=seed, epoch=1)
    seen = np.concatenate([one.rows for one in batches]) if batches else np.array([])
    assert sorted(seen.tolist()) == list(range(len(examples)))
    twins = {
        (int(u), int(s))
        for one in batches
        for u, s in zip(
            one.rows[: one.n_pairs], one.rows[one.n_pairs : 2 * one.n_pairs], strict=True
        )
    }
    assert twins == set(map(tuple, examples.twins.tolist()))
    again = epoch_batches(examples, recipe, seed=seed, epoch=1)
    assert [one.rows.tolist() for one in batches] == [one.rows.tolist() for one in again]
    if len(examples):
        assert n_steps(examples, recipe) == len(batches)


def test_long_texts_share_batches() -> None:
    records = [
        (Prompt(id=str(n), text=("long " * 100 if n % 2 else "short ") + str(n), label="safe"), "x")
        for n in range(40)
    ]
    batches = epoch_batches(gather_examples(records), Recipe(layers=1), seed=0, epoch=0)
    kinds = [{row % 2 for row in one.rows.tolist()} for one in batches]
    assert sorted(map(len, kinds)) == [1] * len(batches)


def records_of(*texts: str) -> list[NamedRecord]:
    return [
        NamedRecord(pair(str(n), text, f"safe {n}"), "mine.csv", f"row {n + 1} of mine.csv")
        for n, text in enumerate(texts)
    ]


def test_a_test_prompt_in_other_case_is_refused_or_dropped() -> None:
    encoder = load_encoder("fake")
    records = records_of("How do I rob a bank?", "something else")
    tests = {"xstest": ["how do i ROB a bank", "far away"]}
    with pytest.raises(InputError, match=r"1 training prompts are test prompts.*of xstest"):
        prepare(records, encoder, tests)
    data = prepare(records, encoder, tests, drop=True)
    texts = data.examples.texts + data.held_out.texts
    assert data.n_dropped == 1
    assert data.checked_against == ("xstest",)
    assert "How do I rob a bank?" not in texts
    assert "something else" in texts
    assert list(data.sources) == ["mine.csv"]


def test_a_test_prompt_in_other_words_is_found_by_its_cosine() -> None:
    vectors = {
        "break into a car": [1.0, 0.0, 0.0],
        "get into somebody's car": [1.0, 0.1, 0.0],
        "safe 0": [0.0, 0.0, 1.0],
    }
    encoder = TableEncoder(vectors)
    tests = {"xstest": ["get into somebody's car"]}
    with pytest.raises(InputError, match="get into somebody"):
        prepare(records_of("break into a car"), encoder, tests)
