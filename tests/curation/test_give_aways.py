"""Give-aways and edit distances."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_embed.curation import (
    bag_of_words_rate,
    edits,
    first_word_rate,
    rank_rate,
    shallow_rates,
)
from safe_embed.curation.edits import word_edit_distance
from safe_embed.errors import InputError
from safe_embed.records import PromptPair

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=0, max_size=6).map(" ".join)


def pair(unsafe: str, safe: str) -> PromptPair:
    return PromptPair(id="1", type="t", unsafe=unsafe, safe=safe)


def test_rank_rate_counts_ties_half():
    assert rank_rate([2, 1, 1, 0], [1, 1, 2, 0]) == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)
    with pytest.raises(InputError, match="same number"):
        rank_rate([], [])


def test_shallow_rates_see_length_punctuation_and_capitals():
    rates = shallow_rates([pair("Aaaa bbb!?", "aa bb"), pair("A b, c.", "a b c")])
    assert rates["characters"] == 1
    assert rates["words"] == 0.5
    assert rates["punctuation"] == 1
    assert rates["question mark"] == 0.75
    assert rates["first letter is a capital"] == 1


def test_bag_of_words_finds_a_give_away_and_only_that():
    pytest.importorskip("sklearn", reason="needs the extra curation")
    train_unsafe = [f"kill word{i}" for i in range(20)]
    train_safe = [f"bake word{i}" for i in range(20)]
    assert bag_of_words_rate(train_unsafe, train_safe, [pair("kill it", "bake it")]) == 1
    assert bag_of_words_rate(train_unsafe, train_safe, [pair("bake it", "kill it")]) == 0
    assert bag_of_words_rate(train_unsafe, train_safe, [pair("new one", "other thing")]) == 0.5


def test_the_first_word_alone():
    train = (["kill it", "kill that", "how now"], ["bake it", "bake that", "how then"])
    assert first_word_rate(*train, [pair("Kill, now", "bake now")]) == 1
    assert first_word_rate(*train, [pair("bake now", "kill now")]) == 0
    assert first_word_rate(*train, [pair("how now", "new now"), pair("how", "how")]) == 0.5


@given(WORDS, WORDS, WORDS)
def test_edit_distance_is_a_distance(a: str, b: str, c: str):
    assert word_edit_distance(a, a) == 0
    assert word_edit_distance(a, b) == word_edit_distance(b, a)
    assert word_edit_distance(a, c) <= word_edit_distance(a, b) + word_edit_distance(b, c)
    longest = max(len(a.split()), len(b.split()))
    assert abs(len(a.split()) - len(b.split())) <= word_edit_distance(a, b) <= longest


def test_docstring_example():
    assert doctest.testmod(edits).failed == 0
