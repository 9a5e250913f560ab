"""Prompts and names on a page: data that must show as text and never act."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

__all__ = ["is_worst_kind", "safe_json", "visible"]

_WORST_KINDS = frozenset({"adult content", "adult", "toxic language (hate speech)", "hate"})
_ESCAPES = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"} | {
    line_end: rf"\u{ord(line_end):04x}" for line_end in "\u2028\u2029"
}
_CONTROL_PICTURES = 0x2400
_DELETE = 0x7F
_DELETE_PICTURE = "\u2421"
# Characters that reorder what is around them, so that a text reads as something else.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REPLACEMENT = "\ufffd"


def visible(text: str) -> str:
    """A text with its control characters as visible signs; line ends and tabs stay.

    HTML has no way to write a NUL, and a browser would drop or replace it silently.
    """
    return text if text.isprintable() else "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return character
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    if code == _DELETE:
        return _DELETE_PICTURE
    category = unicodedata.category(character)
    if category == "Cs":  # half of a surrogate pair: no UTF-8 file can hold it
        return _REPLACEMENT
    return f"[U+{code:04X}]" if category == "Cc" or character in _BIDI_CONTROLS else character


def safe_json(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """JSON that can stand inside a `<script>` element: nothing in it can close the element.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot hold.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def is_worst_kind(group: str) -> bool:
    """Whether prompts of this category stay folded until someone asks for them."""
    return group.casefold() in _WORST_KINDS
