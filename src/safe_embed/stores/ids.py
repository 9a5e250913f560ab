"""Ids of exemplars whose user gives none."""

from __future__ import annotations

import hashlib

from safe_embed.errors import InputError
from safe_embed.records import Label

__all__ = ["content_id"]


def content_id(text: str, label: Label) -> str:
    """Id that follows from what an exemplar says, so that adding it twice adds it once.

    Args:
        text: the prompt.
        label: "unsafe" or "safe"; the same text under both is two exemplars.

    Returns:
        32 hex digits: BLAKE2b of the label, a NUL and the text in UTF-8.

    Raises:
        InputError: the text is not valid Unicode.
    """
    try:
        content = f"{label}\0{text}".encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text holds a lone surrogate at character {error.start - len(label)}; "
            "decode it as UTF-8"
        ) from None
    return hashlib.blake2b(content, digest_size=16).hexdigest()
