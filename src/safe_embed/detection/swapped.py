"""Mends words in which two neighbouring letters changed places."""

from __future__ import annotations

import re
import unicodedata

from safe_embed.detection.words import known_words

__all__ = ["mend_swaps"]

_MIN_LETTERS = 4
_MIN_COUNT = 2  # a word that is there once may itself be a typo
# A word of letters only, and no part of a longer token such as a name with digits or an address.
_WORD = re.compile(
    rf"(?<![\w'@$!|])[A-Za-z]{{{_MIN_LETTERS},}}(?![\w'@$|]|!\w)",
)
# Words, or their singular, that a swap makes of a commoner one.
_LIST = (
    "angel bet blot brunt carol carve casual causal clam clasp coral crave felid fiber "
    "fried gaol gird lair liter marital meter psalm satin sever slat sliver snug "
    "starry stray tsar unclear unite untie untied angle conservation"
)
_ORDINARY = frozenset(_LIST.split())


def mend_swaps(text: str) -> tuple[str, int]:
    """Puts two neighbouring letters back where that makes a known word of an unknown one.

    Only words of at least four letters that safe-embed-core's exemplars do not have, and that are
    no names by their capital within a text; only into words that those have twice or more (the
    most frequent one where there are several), and never the first letter. Other kinds of typos (a
    letter dropped, added or wrong) are left as they are: to guess at those changes one plain text
    in seven.

    Args:
        text: NFKC-normalised.

    Returns:
        The text, and how many words were changed. What comes out has no such word.
    """
    n = 0

    def mend(match: re.Match[str]) -> str:
        nonlocal n
        word, after = match.group(), text[match.end() : match.end() + 1]
        if after and unicodedata.combining(after):  # a mark would join the letter before it
            return word
        if word.istitle() and match.start():  # most often a name: Mali is no mail
            return word
        mended = _mended(word)
        n += mended != word
        return mended

    return _WORD.sub(mend, text), n


def _mended(word: str) -> str:
    known, lower = known_words(), word.lower()
    if lower in known or lower in _ORDINARY or lower.removesuffix("s") in _ORDINARY:
        return word
    swapped = (
        word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        for place in range(1, len(word) - 1)
    )
    best = max(swapped, key=lambda one: known.get(one.lower(), 0))
    return best if known.get(best.lower(), 0) >= _MIN_COUNT else word
