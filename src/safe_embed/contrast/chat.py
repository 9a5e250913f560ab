"""A chat model: what it is asked, what it answered, and the one behind an OpenAI-compatible API."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from safe_embed.contrast.answers import Reason
from safe_embed.contrast.api import Api, GivenUpError, Sending
from safe_embed.contrast.api_answers import RefusedError
from safe_embed.contrast.budget import FREE, Budget, Price, Usage, estimated_tokens
from safe_embed.contrast.template import Message
from safe_embed.encoders.openai_answers import one_line
from safe_embed.errors import InputError
from safe_embed.secrets import redact

__all__ = [
    "Chat",
    "ChatAnswer",
    "ChatError",
    "ChatRequest",
    "OpenAIChat",
    "expected_usage",
    "read_completion",
    "request_body",
]

_MAY_BE_LEFT_OUT: Mapping[str, re.Pattern[str]] = {
    "response_format": re.compile(
        r"response_format|json[ _]?schema|json[ _]?mode|structured output|guided|grammar",
        re.IGNORECASE,
    ),
    "temperature": re.compile(r"temperature", re.IGNORECASE),
}
"""Fields that some servers do not take, and how those say so."""
_THOUGHTS = re.compile(r"\s*<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """One question to a model."""

    messages: list[Message]
    schema_name: str
    schema: Mapping[str, Any]
    """JSON Schema that the answer should keep."""
    expected_tokens: int
    """Tokens that the answer may have; for the budget only."""
    temperature: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ChatAnswer:
    """What a model answered."""

    text: str
    """May be empty; holds no secret of this process."""
    model: str
    """Its name, as the server tells it."""
    usage: Usage
    attempts: int = 1
    left_out: tuple[str, ...] = ()
    """Fields of the request that the server does not take, and that were not sent."""


class ChatError(Exception):
    """One question has no answer that can be used; it never ends a run.

    Args:
        reason: which of the known reasons.
        detail: what happened, for people.
        raw: what the model said, if it said anything.
        attempts: requests that were sent.
    """

    def __init__(
        self, reason: Reason, detail: str, *, raw: str | None = None, attempts: int = 1
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
        self.raw = raw
        self.attempts = attempts


class Chat(Protocol):
    """A chat model. May be shared by threads."""

    @property
    def model(self) -> str:
        """What it was asked for as."""

    @property
    def address(self) -> str:
        """Where it is, without credentials."""

    def ask(self, request: ChatRequest) -> ChatAnswer:
        """Asks one question.

        Raises:
            ChatError: this question has no answer.
            StoppedError: the budget lets no request begin.
            InputError: no question can be asked, and only the user can mend that.
        """

    def close(self) -> None:
        """Gives back what it holds; a later question takes it again."""


class OpenAIChat:
    """A model behind `POST {base_url}/chat/completions`.

    Answers are asked for in a JSON Schema. Where the server says that it does not take that, or no
    temperature, all later requests go without it.

    Args:
        model: what the API calls it.
        api: where it is.
        budget: is asked before every attempt.
        price: of its tokens.
        report: is called with a line for people.

    Raises:
        InputError: the model has no name.
    """

    def __init__(
        self,
        model: str,
        api: Api,
        *,
        budget: Budget,
        price: Price = FREE,
        report: Callable[[str], None] = lambda _message: None,
    ) -> None:
        if not model.strip():
            raise InputError("model must be the name of a model, got none")
        self._model = model
        self._api = api
        self._budget = budget
        self._price = price
        self._report = report
        self._left_out: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        """What it was asked for as."""
        return self._model

    @property
    def address(self) -> str:
        """Base URL, without credentials."""
        return self._api.url

    def close(self) -> None:
        """Closes the connections."""
        self._api.close()

    def ask(self, request: ChatRequest) -> ChatAnswer:
        """Asks one question; see `Chat`."""
        attempts = _Attempts(self._budget, self._price, expected_usage(request))
        while True:
            left_out = self._left_out
            body = request_body(self._model, request, left_out)
            sending = Sending(
                method="POST", path="/chat/completions", content=json.dumps(body).encode()
            )
            try:
                answer = self._api.send(sending, attempts)
            except RefusedError as error:
                if not self._go_without(str(error), left_out):
                    raise _refused(error, attempts.n) from None
            except GivenUpError as error:
                raise ChatError(error.reason, str(error), attempts=attempts.n) from None
            else:
                return read_completion(
                    answer, request, self._model, attempts.n, tuple(sorted(left_out))
                )

    def _go_without(self, message: str, left_out: frozenset[str]) -> bool:
        """Whether the request can be sent again without a field that the server refuses."""
        for name, pattern in _MAY_BE_LEFT_OUT.items():
            if name not in left_out and pattern.search(message):
                with self._lock:
                    first = name not in self._left_out
                    self._left_out |= {name}
                if first:
                    self._report(f"{self.address} does not take {name}: going on without it")
                return True
        return False


def request_body(
    model: str, request: ChatRequest, left_out: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The JSON of a request, without the fields that the server does not take."""
    schema = {"name": request.schema_name, "strict": True, "schema": request.schema}
    body = {
        "model": model,
        "messages": request.messages,
        "temperature": request.temperature,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    return {name: value for name, value in body.items() if name not in left_out}


def read_completion(
    answer: Mapping[str, Any],
    request: ChatRequest,
    model: str,
    attempts: int,
    left_out: tuple[str, ...] = (),
) -> ChatAnswer:
    """Reads the text of a completion.

    Raises:
        ChatError: the model refuses, a filter took the answer, or there is none.
    """
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        detail = f"the answer has no message: {one_line(json.dumps(answer))}"
        raise ChatError("server error", detail, attempts=attempts)
    text = redact(_text(message.get("content")))
    if choice.get("finish_reason") == "content_filter":
        detail = "the server's filter stopped the answer"
        raise ChatError("content filter", detail, raw=text, attempts=attempts)
    if isinstance(refusal := message.get("refusal"), str) and refusal.strip():
        raw = redact(refusal)
        raise ChatError("refusal", one_line(raw), raw=raw, attempts=attempts)
    named = answer.get("model")
    return ChatAnswer(
        text=_THOUGHTS.sub("", text, count=1),
        model=one_line(named) if isinstance(named, str) and named else model,
        usage=_usage(answer, expected_usage(request)),
        attempts=attempts,
        left_out=left_out,
    )


def expected_usage(request: ChatRequest) -> Usage:
    """Tokens of a request, before it is sent and where the server does not count them."""
    sent = sum(estimated_tokens(message["content"]) for message in request.messages)
    return Usage(sent, request.expected_tokens)


@dataclass
class _Attempts:
    """The attempts of one question, each of which the budget must allow."""

    budget: Budget
    price: Price
    estimate: Usage
    n: int = 0
    taken: Usage = field(default_factory=Usage)

    def begin(self) -> None:
        self.taken = self.budget.begin(self.estimate, self.price)
        self.n += 1

    def end(self, answer: Any | None) -> None:  # noqa: ANN401 - JSON
        usage = Usage() if answer is None else _usage(answer, self.estimate)
        self.budget.end(self.taken, self.price, usage)

    def wait(self, seconds: float) -> None:
        self.budget.wait(seconds)


def _refused(error: RefusedError, attempts: int) -> ChatError:
    return ChatError(
        "content filter" if error.filtered else "server error", str(error), attempts=attempts
    )


def _usage(answer: Mapping[str, Any], estimate: Usage) -> Usage:
    told = answer.get("usage")
    if not isinstance(told, dict):
        return estimate
    sent, written = told.get("prompt_tokens"), told.get("completion_tokens")
    if isinstance(sent, int) and isinstance(written, int) and min(sent, written) >= 0:
        return Usage(sent, written)
    return estimate


def _text(content: object) -> str:
    """Text of a message, which some servers send in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
