"""Undoes what hides a word from a tokenizer and not from a reader."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from safe_embed.detection.leetspeak import undo_leetspeak
from safe_embed.detection.swapped import mend_swaps

__all__ = ["Normalized", "looks_english", "normalize_text"]

_KEPT_CONTROLS = "\n\t\r"
_WORD = re.compile(r"\w+")
_MIN_WORDS = 5
_MIN_ASCII = 0.85

# Words without which a person hardly asks anything in English.
_COMMON = (
    "a about an and any are as at be best by can could do does explain for from get give has have "
    "help how i if in is it list make me my need not of on or please she should so some tell than "
    "that the their them there they this to want was we were what when where which who why will "
    "with would write you your"
)
_FUNCTION_WORDS = frozenset(_COMMON.split())


@dataclass(frozen=True)
class Normalized:
    """A text as it is compared, and what was changed to get there."""

    text: str
    changes: tuple[str, ...]
    """Phrases for people, such as "2 invisible characters removed"; empty where nothing was."""


def normalize_text(text: str) -> Normalized:
    """Unifies characters that look alike and drops those that cannot be seen.

    In this order: Unicode NFKC (full-width, ligatures, mathematical letters); control and format
    characters are removed (zero-width ones, soft hyphens, direction marks, NUL; line breaks and
    tabs stay); letters of other scripts that look like Latin ones become these, in words of which
    every letter is Latin or looks so, and only in a text that has Latin letters; what a look-alike
    is comes from Unicode's table of confusables (UTS 39). A text in one other script is kept.
    Then words that are surely leetspeak are read (`undo_leetspeak`), and two neighbouring letters
    that changed places are put back (`mend_swaps`).

    Args:
        text: valid Unicode.

    Returns:
        The normalised text; normalising it again changes nothing.
    """
    latin, changes = (text, []) if text.isprintable() and text.isascii() else _unified(text)
    read, n_read = undo_leetspeak(latin)
    if n_read:
        changes.append(f"{n_read} leetspeak word{'s' * (n_read > 1)} read")
    mended, n_mended = mend_swaps(read)
    if n_mended:
        changes.append(f"{n_mended} word{'s' * (n_mended > 1)} with swapped letters mended")
    return Normalized(mended, tuple(changes))


def _unified(text: str) -> tuple[str, list[str]]:
    """Characters as they look, and what was changed."""
    changes: list[str] = []
    unified = unicodedata.normalize("NFKC", text)
    if unified != text:
        changes.append("characters unified (NFKC)")
    visible = "".join(one for one in unified if not _is_invisible(one))
    if hidden := len(unified) - len(visible):
        changes.append(f"{hidden} invisible character{'s' * (hidden > 1)} removed")
        visible = unicodedata.normalize("NFKC", visible)  # what they kept apart may now compose
    latin = visible
    if not visible.isascii() and any(_is_latin(one) for one in visible):
        latin = _WORD.sub(lambda match: _as_latin(match.group()), visible)
    if latin != visible:
        n = sum(a != b for a, b in zip(latin, visible, strict=True))
        changes.append(f"{n} look-alike letter{'s' * (n > 1)} replaced")
        latin = unicodedata.normalize("NFKC", latin)  # marks may compose with what they stand on
    return latin, changes


def looks_english(text: str) -> bool:
    """False where most letters are not ASCII, or five or more words hold no common English one."""
    letters = [one for one in text if one.isalpha()]
    if letters and sum(one.isascii() for one in letters) < _MIN_ASCII * len(letters):
        return False
    words = [word.lower() for word in _WORD.findall(text)]
    return len(words) < _MIN_WORDS or not _FUNCTION_WORDS.isdisjoint(words)


def _is_invisible(character: str) -> bool:
    return character not in _KEPT_CONTROLS and unicodedata.category(character) in ("Cc", "Cf")


def _as_latin(word: str) -> str:
    if word.isascii():
        return word
    letters = [_latin_letter(one) for one in word]
    return "".join(one for one in letters if one) if all(letters) else word


@cache
def _latin_letter(character: str) -> str | None:
    """The character itself where it is no letter or a Latin one, its look-alike, or None."""
    if not character.isalpha() or _is_latin(character):
        return character
    from confusable_homoglyphs import confusables  # reads a table of 0.5 MB

    found = confusables.is_confusable(character, greedy=True, preferred_aliases=["latin"])
    for one in found[0]["homoglyphs"] if found else []:
        candidate: str = one["c"]
        if len(candidate) == 1 and candidate.isascii() and candidate.isalpha():
            return candidate
    return None


def _is_latin(character: str) -> bool:
    return character.isalpha() and unicodedata.name(character, "").startswith("LATIN")
