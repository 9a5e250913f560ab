"""A chat model without a network, for examples and tests: it swaps one word of a prompt.

It reads nothing but the messages, as a real model does, and the same messages always give the same
answer. Its edits are simple, and safe only as far as its short list of words goes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from safe_embed.contrast.budget import FREE, Budget
from safe_embed.contrast.chat import ChatAnswer, ChatRequest, expected_usage
from safe_embed.contrast.template import Message

__all__ = ["FAKE", "FakeChat", "fake_answer"]

FAKE = "fake"
"""Name to ask for this model by."""

_UNSAFE_WORDS = frozenset(
    (
        *("abuse", "attack", "beat", "blackmail", "bomb", "bully", "burn", "cheat", "crash"),
        *("counterfeit", "deceive", "defraud", "destroy", "drug", "fake", "fight", "forge"),
        *("fraud", "gun", "hack", "harass", "harm", "hate", "hurt", "insult", "kidnap", "kill"),
        *("lie", "murder", "poison", "rob", "scam", "shoot", "shoplift", "smuggle", "spy"),
        *("stab", "stalk", "steal", "threaten", "trick", "vandalise", "weapon"),
    )
)
_SAFE_WORDS = (
    *("paint", "draw", "thank", "visit", "greet", "describe", "photograph", "sketch", "admire"),
    *("honour", "help", "welcome", "invite", "applaud", "remember", "encourage", "support"),
    *("celebrate", "imagine", "praise", "study", "recommend", "mention", "introduce", "picture"),
)
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_STEM_ENDINGS = ("ing", "ed", "es", "s", "er", "e")


class FakeChat:
    """Keeps the protocol `Chat`.

    Args:
        budget: is asked before every question, as for a real model.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    @property
    def model(self) -> str:
        """What it was asked for as."""
        return FAKE

    @property
    def address(self) -> str:
        """It is in this process."""
        return "local"

    def ask(self, request: ChatRequest) -> ChatAnswer:
        """Answers a task for edits or for a verdict; see `Chat`."""
        usage = expected_usage(request)
        taken = self._budget.begin(usage, FREE)
        self._budget.end(taken, FREE, usage)
        return ChatAnswer(text=fake_answer(request.messages), model="fake-1", usage=usage)

    def close(self) -> None:
        """Holds nothing."""


def fake_answer(messages: Sequence[Message]) -> str:
    """What the fake model answers: JSON, or a sentence where it finds no task.

    Args:
        messages: the last of them holds the task, as a JSON object with `id`, `prompt` and `n`.
            Where the first asks for a `"verdict"` it gives one, else `n` edits.
    """
    task = next(_tasks(messages[-1]["content"]), None) if messages else None
    if task is None:
        return "There is no task in this message: the fake model needs a template with $task."
    if '"verdict"' in messages[0]["content"]:
        verdict = "unsafe" if _unsafe_words(task["prompt"]) else "safe"
        return json.dumps({"id": task["id"], "verdict": verdict})
    edits = _edits(task["prompt"], task["n"])
    return json.dumps({"id": task["id"], "edits": edits}, ensure_ascii=False)


def _tasks(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except ValueError:
            continue
        if isinstance(found, dict) and isinstance(found.get("prompt"), str) and "n" in found:
            yield found


def _edits(prompt: str, n: int) -> list[str]:
    """The prompt with its unsafe words, or else its longest one, swapped for a harmless one."""
    words = list(_WORD.finditer(prompt))
    swapped = _unsafe_words(prompt) or sorted(words, key=lambda word: -len(word[0]))[:1]
    present = {word[0].casefold() for word in words}
    start = hashlib.sha256(prompt.encode()).digest()[0]
    choice = [
        word
        for i in range(len(_SAFE_WORDS))
        if (word := _SAFE_WORDS[(start + i) % len(_SAFE_WORDS)]) not in present
    ]
    return [_swap(prompt, swapped, word) for word in choice[:n]]


def _unsafe_words(prompt: str) -> list[re.Match[str]]:
    return [word for word in _WORD.finditer(prompt) if _stems(word[0]) & _UNSAFE_WORDS]


def _stems(word: str) -> set[str]:
    """A word without the endings of English: robbed and robbing are rob."""
    word = word.casefold().removesuffix("'s")
    stems = {word}
    for ending in _STEM_ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) > 2:
            stem = word.removesuffix(ending)
            stems |= {stem, f"{stem}e"}
            if stem[-1] == stem[-2]:
                stems.add(stem[:-1])
    return stems


def _swap(prompt: str, words: Sequence[re.Match[str]], new: str) -> str:
    """Replaces words from the last to the first, so that the places of the others stay."""
    for word in reversed(words):
        put = new.capitalize() if word[0][0].isupper() else new
        prompt = prompt[: word.start()] + put + prompt[word.end() :]
    return prompt if words else f"{prompt} {new}"
