"""One prompt, from the question to its end: asked, read, checked, perhaps judged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from safe_embed.contrast.answers import AnswerError, Reason, check_edits, parse_answer
from safe_embed.contrast.budget import estimated_tokens
from safe_embed.contrast.chat import Chat, ChatAnswer, ChatError, ChatRequest
from safe_embed.contrast.journal import Journal
from safe_embed.contrast.judge import Judge, Vote, check_votes, vote_on
from safe_embed.contrast.source import Item
from safe_embed.contrast.template import Direction, Template
from safe_embed.errors import InputError

__all__ = ["EditSettings", "Editor", "edit_request", "journal_settings", "read_edits"]

_SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "edits": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["id", "edits"],
    "additionalProperties": False,
}
_TOKENS_AROUND = 40  # of JSON and the id, in an answer


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """What is asked for.

    Args:
        template: the instruction.
        direction: `to-safe` makes contrast sets of unsafe prompts, `to-unsafe` an unsafe twin of
            each safe one.
        n: edits of each prompt; 1 for `to-unsafe`, because a prompt is in one pair only.
        max_edit: largest share of the prompt's words that may change; None for no limit.
        temperature: 0 or more; 0 for the answer that the model finds most likely.
    """

    template: Template
    direction: Direction = "to-safe"
    n: int = 5
    max_edit: float | None = None
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"n must be 1 or more, got {self.n}")
        if self.direction == "to-unsafe" and self.n != 1:
            raise InputError(
                f"n must be 1 for to-unsafe, got {self.n}: a prompt may be in one pair only"
            )
        if self.temperature < 0:
            raise InputError(f"temperature must be 0 or more, got {self.temperature}")
        if self.max_edit is not None and not self.max_edit > 0:
            raise InputError(f"max_edit must be more than 0, got {self.max_edit}")


def journal_settings(settings: EditSettings, model: str, judge: Judge | None) -> dict[str, Any]:
    """What a journal's answers depend on; another value makes it another run."""
    return {
        "model": model,
        "direction": settings.direction,
        "n": settings.n,
        "max_edit": settings.max_edit,
        "temperature": settings.temperature,
        "template_sha256": settings.template.digest,
        "judge_model": judge.chat.model if judge else None,
        "votes": judge.votes if judge else None,
    }


def edit_request(item: Item, settings: EditSettings) -> ChatRequest:
    """The question for the edits of one prompt."""
    prompt = item.prompt
    return ChatRequest(
        messages=settings.template.messages(prompt=prompt, task_id=item.task_id, n=settings.n),
        schema_name="edits",
        schema=_SCHEMA,
        expected_tokens=_TOKENS_AROUND + settings.n * estimated_tokens(prompt.text),
        temperature=settings.temperature,
    )


def read_edits(answer: ChatAnswer, item: Item, settings: EditSettings) -> list[str]:
    """The edits of an answer.

    Raises:
        ChatError: the answer holds none that can be used; has the answer.
    """
    try:
        edits = parse_answer(answer.text, settings.n, prompt_id=item.task_id)
        check_edits(item.prompt.text, edits, settings.n, max_edit=settings.max_edit)
    except AnswerError as error:
        raise ChatError(
            error.reason, error.detail, raw=answer.text, attempts=answer.attempts
        ) from None
    return edits


@dataclass(frozen=True, kw_only=True)
class Editor:
    """Takes prompts to their ends, and adds each step to the journal as soon as it is made."""

    settings: EditSettings
    chat: Chat
    journal: Journal
    judge: Judge | None = None

    def edit(self, item: Item) -> Reason | None:
        """Takes one prompt to its end; returns the reason where it is rejected.

        Raises:
            StoppedError: the budget lets no request begin; the prompt has not ended.
            InputError: no question can be asked.
            StorageError: the journal cannot be written.
        """
        parts = self.journal.parts_of(item.task_id)
        draft = next((part for part in reversed(parts) if part["step"] == "draft"), None)
        if draft is None:
            began = time.monotonic()
            try:
                answer = self.chat.ask(edit_request(item, self.settings))
                edits = read_edits(answer, item, self.settings)
            except ChatError as error:
                return self.reject(item, error, time.monotonic() - began)
            draft = {
                "edits": edits,
                "provenance": self.provenance(answer, time.monotonic() - began),
            }
            if self.judge is not None:
                self.journal.add("draft", item.task_id, draft)
        return self._finish(item, draft, parts)

    def reject(self, item: Item, error: ChatError, seconds: float | None = None) -> Reason:
        """Adds a rejection to the journal, and returns its reason."""
        fields = {
            "reason": error.reason,
            "detail": error.detail,
            "raw": error.raw,
            "attempts": error.attempts,
            "provenance": self.provenance(None, seconds),
        }
        self.journal.add("rejected", item.task_id, fields)
        return error.reason

    def accept(self, item: Item, fields: Mapping[str, Any]) -> None:
        """Adds edits and their provenance to the journal."""
        kept = {name: fields.get(name) for name in ("edits", "judge", "provenance")}
        self.journal.add("accepted", item.task_id, kept)

    def provenance(self, answer: ChatAnswer | None, seconds: float | None) -> dict[str, Any]:
        """Where edits come from: enough to ask for them again."""
        settings = self.settings
        told: dict[str, Any] = {
            "asked_model": self.chat.model,
            "address": self.chat.address,
            "direction": settings.direction,
            "template_sha256": settings.template.digest,
            "parameters": {
                "n": settings.n,
                "temperature": settings.temperature,
                "max_edit": settings.max_edit,
                "left_out": list(answer.left_out) if answer else [],
            },
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": None if seconds is None else round(seconds, 3),
            "safe_embed": version("safe-embed"),
        }
        if answer is not None:
            told["model"] = answer.model
            told["attempts"] = answer.attempts
            told["usage"] = {
                "prompt_tokens": answer.usage.prompt_tokens,
                "completion_tokens": answer.usage.completion_tokens,
            }
        return told

    def _finish(
        self, item: Item, draft: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
    ) -> Reason | None:
        edits: list[str] = draft["edits"]
        if self.judge is None:
            self.accept(item, draft)
            return None
        known: list[list[Vote]] = [[] for _ in edits]
        for part in parts:
            if part["step"] == "vote":
                known[part["edit"]].append(part["vote"])

        def record(number: int, vote: Vote) -> None:
            self.journal.add("vote", item.task_id, {"edit": number, "vote": vote})

        votes = vote_on(self.judge, item, edits, known, record)
        judged = {
            "asked_model": self.judge.chat.model,
            "template_sha256": self.judge.template.digest,
            "votes": votes,
        }
        finished = {"edits": edits, "judge": judged, "provenance": draft["provenance"]}
        try:
            check_votes(votes)
        except AnswerError as error:
            rejection = {
                "reason": error.reason,
                "detail": error.detail,
                "attempts": draft["provenance"]["attempts"],
            }
            self.journal.add("rejected", item.task_id, {**finished, **rejection})
            return error.reason
        self.accept(item, finished)
        return None
