"""The words that a misspelt one is compared with: those of safe-embed-core's train split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache

from safe_embed.datasets import load_core

__all__ = ["known_words"]

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


@cache
def known_words() -> Mapping[str, int]:
    """How often each word is there, in lower case; `don't` is one word."""
    return Counter(word for one in load_core("train") for word in _WORD.findall(one.text.lower()))
