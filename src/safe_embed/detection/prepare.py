"""From a prompt to the parts that are embedded: raw and normalised, whole and in windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from safe_embed.detection.normalization import looks_english, normalize_text
from safe_embed.detection.windows import windows_of
from safe_embed.errors import InputError
from safe_embed.records import check_text

__all__ = ["Piece", "PreparedPrompt", "prepare"]


@dataclass(frozen=True)
class Piece:
    """One text to embed, and where it comes from."""

    text: str
    start: int
    end: int
    of: Literal["prompt", "normalized prompt"]


@dataclass(frozen=True)
class PreparedPrompt:
    """A prompt, the pieces of it that are scored, and what a verdict should tell of it."""

    text: str
    pieces: tuple[Piece, ...]
    notes: tuple[str, ...]


def prepare(texts: Sequence[str]) -> list[PreparedPrompt]:
    """Checks prompts and cuts them into pieces.

    Args:
        texts: prompts.

    Raises:
        InputError: `texts` is one string, or a prompt is no string, blank, without a visible
            character, longer than 100,000 characters, or not valid Unicode; says which.
    """
    if isinstance(texts, str):
        raise InputError("prompts must be a list of strings, got one string; use `check` for one")
    return [_prepare(text, index, len(texts)) for index, text in enumerate(texts)]


def _prepare(text: str, index: int, n: int) -> PreparedPrompt:
    where = "the prompt" if n == 1 else f"prompt {index + 1} of {n}"
    if not isinstance(text, str):
        raise InputError(f"{where} must be a string, got {type(text).__name__}")
    try:
        check_text(text)
    except ValueError as error:
        raise InputError(f"{where} {error}") from None
    normal = normalize_text(text)
    if not normal.text.strip():
        raise InputError(f"{where} holds no visible character; there is nothing to judge")
    pieces = [Piece(one.text, one.start, one.end, "prompt") for one in windows_of(text)]
    notes = []
    if normal.changes:
        notes.append(f"normalised, and scored both ways: {', '.join(normal.changes)}")
        pieces += [
            Piece(one.text, one.start, one.end, "normalized prompt")
            for one in windows_of(normal.text)
        ]
    if not looks_english(normal.text):
        notes.append("this does not look English; encoder and exemplars may not understand it")
    return PreparedPrompt(text, tuple(pieces), tuple(notes))
