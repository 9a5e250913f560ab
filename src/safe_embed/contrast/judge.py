"""A second model that says of each edit whether it is safe."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from safe_embed.contrast.answers import AnswerError
from safe_embed.contrast.chat import Chat, ChatError, ChatRequest
from safe_embed.contrast.source import Item
from safe_embed.contrast.template import Template, judge_template
from safe_embed.errors import InputError
from safe_embed.records import Prompt

__all__ = ["Judge", "Vote", "check_votes", "vote_on"]

Vote: TypeAlias = Literal["safe", "unsafe", "none"]
"""What the judge says of one edit; "none" where it said neither."""

_SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "verdict": {"enum": ["safe", "unsafe"]}},
    "required": ["id", "verdict"],
    "additionalProperties": False,
}
_EXPECTED_TOKENS = 30


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who judges, and how often it is asked about one edit.

    Args:
        chat: the model.
        votes: votes on one edit, at most: no vote is asked for when one side has the majority
            already. Odd. One vote is asked for at temperature 0, several at 1, because at 0 they
            would all be the same.
    """

    chat: Chat
    votes: int = 3
    template: Template = field(default_factory=judge_template)

    def __post_init__(self) -> None:
        if self.votes < 1 or self.votes % 2 == 0:
            raise InputError(
                f"votes must be an odd number, so that none is a tie; got {self.votes}"
            )


def vote_on(
    judge: Judge,
    item: Item,
    edits: Sequence[str],
    known: Sequence[Sequence[Vote]],
    record: Callable[[int, Vote], None],
) -> list[list[Vote]]:
    """Asks for votes on edits until each has a majority, or all its votes.

    Args:
        judge: who is asked.
        item: the prompt whose edits they are.
        edits: n texts.
        known: the votes on each edit that were given before.
        record: is called with the number of an edit, from 0, and each new vote on it.

    Returns:
        The votes on each edit, in the order in which they were given.

    Raises:
        StoppedError: the budget lets no request begin.
        InputError: no question can be asked.
    """
    votes = [list(each) for each in known]
    for number, edit in enumerate(edits):
        while not _decided(votes[number], judge.votes):
            vote = _ask(judge, item, number, edit)
            record(number, vote)
            votes[number].append(vote)
    return votes


def check_votes(votes: Sequence[Sequence[Vote]]) -> None:
    """Checks that no edit has a majority against it; a tie counts as one.

    Raises:
        AnswerError: "judge says unsafe"; or "not JSON" where no vote on an edit can be read.
    """
    for number, each in enumerate(votes, 1):
        unsafe, safe = each.count("unsafe"), each.count("safe")
        if not unsafe and not safe:
            raise AnswerError("not JSON", f"the judge gave no verdict on edit {number}")
        if unsafe >= safe:
            raise AnswerError(
                "judge says unsafe", f"edit {number}: {unsafe} of {len(each)} votes say unsafe"
            )


def _decided(votes: Sequence[Vote], most: int) -> bool:
    return len(votes) >= most or 2 * max(votes.count("unsafe"), votes.count("safe")) > most


def _ask(judge: Judge, item: Item, number: int, edit: str) -> Vote:
    task_id = f"{item.task_id}-{number + 1}"
    prompt = Prompt(id=task_id, text=edit, category=item.prompt.category)
    request = ChatRequest(
        messages=judge.template.messages(prompt=prompt, task_id=task_id, n=1),
        schema_name="verdict",
        schema=_SCHEMA,
        expected_tokens=_EXPECTED_TOKENS,
        temperature=0.0 if judge.votes == 1 else 1.0,
    )
    try:
        return _read(judge.chat.ask(request).text, task_id)
    except ChatError:
        return "none"


def _read(text: str, task_id: str) -> Vote:
    """The verdict of an answer: JSON, perhaps with text around it, or the one word."""
    start, end = text.find("{"), text.rfind("}")
    try:
        found: Any = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        found = {"verdict": text}
    if not isinstance(found, dict) or found.get("id", task_id) != task_id:
        return "none"
    match str(found.get("verdict")).strip().strip(".\"'").casefold():
        case "safe":
            return "safe"
        case "unsafe":
            return "unsafe"
    return "none"
