"""Leetspeak and swapped letters: what is undone, and what has to stay."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safe_embed.datasets import load_core
from safe_embed.detection import perturb
from safe_embed.detection.leetspeak import undo_leetspeak
from safe_embed.detection.normalization import normalize_text
from safe_embed.detection.prepare import prepare
from safe_embed.detection.swapped import mend_swaps

# Letters, digits, signs, marks and the like, of which hostile words are made.
hostile = st.text(st.sampled_from("abehiklmnorst KLO013457@$!|'-_.,é\u0301\u0308\u200b\u0430ß"))
WORDS = (
    "how to k1ll h0w pe0ple b0mb 5ell m0n3y wh4t mnoey teh whta polcie a11y mp3 70 w3'11 don'7 5am "
    "ca\u0301r3 p@ssw0rd n\u00e4h3 ki|l hte\u0301re f\u0456r3 frie\u200bdn"
)
words = st.lists(st.sampled_from(WORDS.split()), max_size=12)


@pytest.mark.parametrize(
    ("text", "wanted", "n"),
    [
        ("how do i k1ll a m0squito", "how do i kill a mosquito", 2),
        ("p01s0n", "poison", 1),
        ("4t74ck", "attack", 1),
        ("K1LL TH15", "KILL THIS", 2),
        ("my p@ssw0rd", "my password", 1),
        ("k!ll", "kill", 1),
        # At the ends only beside a word that is surely leetspeak.
        ("ki11", "ki11", 0),
        ("ki11 the p3ople", "kill the people", 2),
        ("d0n'7 ki11", "don't kill", 2),
    ],
)
def test_leetspeak_is_read(text: str, wanted: str, n: int):
    assert undo_leetspeak(text) == (wanted, n)


@pytest.mark.parametrize(
    "text",
    [
        "mp3 covid19 h2o python3 b2b 4k 5am ps5 co2 h1n1 sha256 win10 gpt4 log4j i18n k8s 3rd 10th",
        "a11y l10n o11y",
        "wow! $40 @home me@example.com c++ 2024-11-05 5'11 B12 fail2ban HbA1c MI5 221B",
        "team5 and room7 and 50s music",
    ],
)
def test_what_only_looks_like_leetspeak_stays(text: str):
    assert undo_leetspeak(text) == (text, 0)


def test_leetspeak_beside_them_leaves_ordinary_words():
    text = "mp3 covid19 h2o python3 b2b 4k 5am 3rd a11y and 70"
    assert undo_leetspeak(f"{text} p3ople") == (f"{text} people", 1)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("how do i kill a pyhton porcess", "how do i kill a python process"),
        ("Waht is it", "What is it"),
        ("hte", "hte"),  # too short to be sure
        ("a clam and a casual angel", "a clam and a casual angel"),
        ("angels and clams", "angels and clams"),
        ("waht@home.example pyhton3 'waht", "waht@home.example pyhton3 'waht"),
        ("zxqvw", "zxqvw"),
    ],
)
def test_swapped_letters_are_mended(text: str, wanted: str):
    assert mend_swaps(text)[0] == wanted


@pytest.mark.parametrize("mark", ["\u0301", "\u0308"])
def test_a_mark_keeps_its_letter(mark: str):
    assert undo_leetspeak(f"p3opl3{mark} x") == (f"p3opl3{mark} x", 0)
    assert mend_swaps(f"waht{mark}") == (f"waht{mark}", 0)


@given(st.one_of(hostile, words.map(" ".join), words.map("".join), st.text(max_size=40)))
@settings(max_examples=400, deadline=None)
def test_normalising_is_idempotent_and_never_raises(text: str):
    once = normalize_text(text)
    assert normalize_text(once.text).text == once.text
    assert (once.text == text) or once.changes


@given(st.sampled_from(load_core("train")), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_most_leetspeak_is_undone(record, seed: int):
    wanted = record.text.lower().split()
    hidden = perturb(record.text.lower(), "leetspeak", seed=seed)
    found = normalize_text(hidden).text.lower().split()
    changed = [place for place, word in enumerate(hidden.split()) if word != wanted[place]]
    if len(changed) >= 8:
        assert sum(found[place] == wanted[place] for place in changed) >= 0.5 * len(changed)


@pytest.mark.parametrize(("split", "at_most"), [("train", 7), ("test", 15)])
def test_plain_english_stays(split: Literal["train", "test"], at_most: int):
    changed = [one for one in load_core(split) if normalize_text(one.text).changes]
    assert len(changed) <= at_most  # real typos for the most part: freind, wierd, learnign


def test_both_forms_are_scored_and_the_verdict_says_so():
    (found,) = prepare(["How do I k1ll the pyhton process?"])
    assert [(one.text, one.of) for one in found.pieces] == [
        ("How do I k1ll the pyhton process?", "prompt"),
        ("How do I kill the python process?", "normalized prompt"),
    ]
    assert "1 leetspeak word read, 1 word with swapped letters mended" in found.notes[0]
    assert not prepare(["How do I kill the python process?"])[0].notes
