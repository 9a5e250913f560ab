"""Reads leetspeak: words in which digits and signs stand for letters."""

from __future__ import annotations

import re
import unicodedata
from itertools import islice, product

from safe_embed.detection.words import known_words

__all__ = ["undo_leetspeak"]

_LETTERS = {
    "0": "o",
    "1": "il",
    "3": "e",
    "4": "a",
    "5": "s",
    "7": "t",
    "8": "b",
    "9": "g",
    "@": "a",
    "$": "s",
    "!": "il",
    "|": "li",
}
_SIGNS = "@$!|"
_MAX_READINGS = 64
_MIN_LETTERS = 2
# These read as leetspeak of a word; the first three count the letters that they leave out.
_ORDINARY = frozenset({"a11y", "l10n", "o11y", "5am"})
# Letters, digits and signs, with no other letter beside them; an apostrophe is part of a word.
_TOKEN = re.compile(rf"(?<![\w{_SIGNS}])[A-Za-z0-9](?:[A-Za-z0-9{_SIGNS}']*[A-Za-z0-9])?(?!\w)")
# A digit or sign among letters; those at the ends only are counts, units, versions: 5am, ps5.
_INSIDE = re.compile(rf"[A-Za-z][0-9{_SIGNS}]+[A-Za-z]")


def undo_leetspeak(text: str) -> tuple[str, int]:
    """Replaces the words that are surely leetspeak by what they are read as.

    A word is surely leetspeak where digits or signs (`@ $ ! |`) stand between its letters, it has
    two letters or more, each digit and sign has a letter that it looks like, and so read it is a
    word of safe-embed-core's train split. Only in a text with such a word are digits and letters
    in other order read too, where that gives a known word: `ki11`, `5ell`, `1s`. All else stays:
    `mp3`, `covid19`, `h2o`, `python3`, `b2b`, `4k`, `5am`, and every number.

    Args:
        text: NFKC-normalised.

    Returns:
        The text, and how many words were replaced. What comes out has no such word.
    """
    tokens = list(_TOKEN.finditer(text))
    if not any(_may_be_sure(one.group()) and _reading(one, text) for one in tokens):
        return text, 0
    n = 0

    def read(token: re.Match[str]) -> str:
        nonlocal n
        found = _reading(token, text)
        n += found is not None
        return token.group() if found is None else found

    return _TOKEN.sub(read, text), n


def _may_be_sure(word: str) -> bool:
    n_letters = sum(one.isalpha() for one in word)
    return n_letters >= _MIN_LETTERS and _INSIDE.search(word) is not None


def _reading(token: re.Match[str], text: str) -> str | None:
    """The known word that a mixed token reads as; None for others."""
    word = token.group()
    after = text[token.end() : token.end() + 1]
    if word.isalpha() or word.isdigit() or word.lower() in _ORDINARY:
        return None
    if after and unicodedata.combining(after):  # a mark would join the new letter
        return None
    if not any(one.isalpha() for one in word):
        return None
    choices = [_LETTERS.get(one, one) for one in word.lower()]
    known = known_words()
    readings = islice(map("".join, product(*choices)), _MAX_READINGS)
    best = max(readings, key=lambda one: known.get(one, 0))
    if best not in known:
        return None
    letters = [one for one in word if one.isalpha()]
    return best.upper() if len(letters) > 1 and all(map(str.isupper, letters)) else best
