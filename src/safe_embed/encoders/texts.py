"""The check that every encoder makes of the texts it is given."""

from __future__ import annotations

from collections.abc import Sequence

from safe_embed.errors import InputError

__all__ = ["checked_texts"]


def checked_texts(texts: Sequence[str]) -> list[str]:
    """Returns the texts when each can be encoded.

    Raises:
        InputError: `texts` is one string, or an item is no string or has a lone surrogate (half of
            a UTF-16 pair, which no tokenizer takes); says which item.
    """
    if isinstance(texts, str):
        raise InputError("texts must be a list of strings, got one string; put it into a list")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{index}] must be a string, got {type(text).__name__}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"texts[{index}] has a lone surrogate, U+{ord(text[error.start]):04X}, at "
                f"character {error.start}; replace it: "
                "text.encode('utf-8', 'replace').decode('utf-8')"
            ) from error
    return list(texts)
