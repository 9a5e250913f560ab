"""Cuts a long prompt into windows, so that padding does not hide a request."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MAX_WORDS_WHOLE", "Window", "windows_of"]

MAX_WORDS_WHOLE = 40
"""A prompt of at most this many words is one window."""

_WINDOW_WORDS = 32
_MAX_SENTENCE_WORDS = 32
_MIN_SENTENCE_WORDS = 4
_SENTENCE = re.compile(r"[^.!?\n;:]*[.!?\n;:]+[\"')\]]*\s*|[^.!?\n;:]+$")
_WORD = re.compile(r"\S+\s*")


@dataclass(frozen=True)
class Window:
    """A part of a prompt: characters `start` to `end`, without blanks around it."""

    start: int
    end: int
    text: str


def windows_of(text: str) -> list[Window]:
    """Windows of a prompt, each of which is scored for itself.

    The whole prompt is the first. A prompt of more than 40 words also gives each sentence, and
    each run of sentences of about 32 words that begins half a run later than the one before. A
    sentence of more than 32 words is cut into parts of 16 first, and one of fewer than 4 words
    goes with the next, so that a request of up to 16 words is never in small pieces only.

    Args:
        text: a prompt that is not blank.

    Returns:
        At least one window, none twice. Their number grows with the number of sentences.
    """
    spans = [_trimmed(text, 0, len(text))]
    if len(text.split()) > MAX_WORDS_WHOLE:
        sentences = _sentences(text)
        spans += [_trimmed(text, start, end) for start, end, _ in sentences]
        spans += [_trimmed(text, *span) for span in _runs(sentences)]
    distinct = dict.fromkeys(span for span in spans if span[0] < span[1])
    return [Window(start, end, text[start:end]) for start, end in distinct]


def _sentences(text: str) -> list[tuple[int, int, int]]:
    """Start, end and number of words of each sentence, long ones cut, short ones joined."""
    pieces: list[tuple[int, int, int]] = []
    for match in _SENTENCE.finditer(text):
        words = list(_WORD.finditer(text, match.start(), match.end()))
        step = len(words) if len(words) <= _MAX_SENTENCE_WORDS else _MAX_SENTENCE_WORDS // 2
        for first in range(0, len(words), max(1, step)):
            part = words[first : first + step]
            pieces.append((part[0].start(), part[-1].end(), len(part)))
    joined: list[tuple[int, int, int]] = []
    for start, end, n in pieces:
        if joined and joined[-1][2] < _MIN_SENTENCE_WORDS:
            before = joined.pop()
            joined.append((before[0], end, before[2] + n))
        else:
            joined.append((start, end, n))
    return joined


def _runs(sentences: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    runs = []
    first = 0
    while first < len(sentences):
        last, n, half = first, 0, first + 1
        while last < len(sentences) and (n < _WINDOW_WORDS or last == first):
            n += sentences[last][2]
            last += 1
            if n <= _WINDOW_WORDS // 2:
                half = last
        runs.append((sentences[first][0], sentences[last - 1][1]))
        if last == len(sentences):
            break
        first = half
    return runs


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    lead = len(part) - len(part.lstrip())
    return start + lead, start + max(lead, len(part.rstrip()))
