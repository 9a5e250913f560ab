"""The words that a misspelt one is compared with: those of safe-embed-core's exemplars.

Those of the prompts that calibrate are left out: no rule that a threshold rests on may know them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache

from safe_embed.datasets.core_set import core_texts, is_held_out

__all__ = ["known_words"]

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


@cache
def known_words() -> Mapping[str, int]:
    """How often each word is there, in lower case; `don't` is one word."""
    return Counter(
        word
        for group, text in core_texts("train")
        if not is_held_out(group)
        for word in _WORD.findall(text.lower())
    )
