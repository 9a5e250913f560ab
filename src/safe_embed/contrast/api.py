"""Requests to an OpenAI-compatible API: address, key, retries, and what went wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from safe_embed.contrast.api_answers import (
    TimedOutError,
    blocks_until,
    foreign_errors,
    read_answer,
)
from safe_embed.encoders.openai_answers import TransientError
from safe_embed.encoders.openai_client import ApiClient
from safe_embed.encoders.openai_transport import OPENAI_HOST, Address
from safe_embed.errors import InputError
from safe_embed.secrets import Secret

if TYPE_CHECKING:
    import httpx2
    import tenacity

__all__ = ["Api", "Gate", "GivenUpError", "Sending"]

ATTEMPTS = 6
ATTEMPTS_UNTIL_FIRST_ANSWER = 4
"""A server that has never answered is more likely a wrong address than an overloaded one."""
WAITED_AT_MOST_S = 300.0
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
REPORTED_WAIT_S = 10.0
MAX_ANSWER_BYTES = 16 * 1024**2


_Receive: TypeAlias = "Callable[[httpx2.Response, Iterator[bytes]], dict[str, Any]]"
"""Makes what is returned of an answer's head and the blocks of its body."""


class Gate(Protocol):
    """Is asked before each attempt, and told after it."""

    def begin(self) -> None:
        """Lets an attempt begin, or raises StoppedError."""

    def end(self, answer: Any | None) -> None:  # noqa: ANN401 - JSON
        """An attempt is over, with the JSON of a good answer or without one."""

    def wait(self, seconds: float) -> None:
        """Waits for the next attempt; returns early where none will be."""


class GivenUpError(Exception):
    """A request failed so often that it is not tried again."""

    def __init__(self, reason: Literal["timeout", "server error"], detail: str) -> None:
        super().__init__(detail)
        self.reason: Literal["timeout", "server error"] = reason


@dataclass(frozen=True, kw_only=True)
class Sending:
    """One request: what is sent, and where to."""

    method: Literal["GET", "POST"]
    path: str
    content: bytes | None = None
    content_type: str = "application/json"


class Api:
    """Sends requests, again and again while that may help. May be shared by threads.

    A server that asks one request to wait is left alone by all of them for that time.

    Args:
        base_url: URL up to and without `/chat/completions`. Credentials in it are sent as basic
            authentication, in place of `key`, and never shown.
        key: sent as a bearer token, or None.
        connections: requests that may be on their way at once.
        timeout_s: seconds that one answer may take, from the request to its last byte.
        report: is called with a line for people: a long wait, or a key sent in the clear.

    Raises:
        InputError: the URL or the key cannot be used, or OpenAI's key is missing.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: Secret | None,
        connections: int,
        timeout_s: float = 120.0,
        report: Callable[[str], None] = lambda _message: None,
    ) -> None:
        if not timeout_s > 0:
            raise InputError(f"timeout_s must be more than 0, got {timeout_s}")
        address = Address.parse(base_url.strip().rstrip("/").removesuffix("/chat/completions"))
        self._client = ApiClient(address, key=key, timeout_s=timeout_s, connections=connections)
        if address.host == OPENAI_HOST and key is None and address.user is None:
            raise InputError(
                f"{OPENAI_HOST} needs a key: set OPENAI_API_KEY in the environment, or write "
                "OPENAI_API_KEY=... into a file .env in the working directory"
            )
        if key is not None and address.exposed:
            report(f"{address.url} is not https: the key can be read on its way there")
        self._address = address
        self._timeout_s = timeout_s
        self._report = report
        self._answered = False
        self._quiet_until = 0.0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The base URL, without credentials."""
        return self._address.url

    def close(self) -> None:
        """Closes the connections; a later call makes new ones."""
        self._client.close()

    def send(self, sending: Sending, gate: Gate) -> dict[str, Any]:
        """Sends a request until it is answered, and returns the JSON object of the answer.

        Raises:
            StoppedError: the gate lets no attempt begin.
            RefusedError: the server refuses what is in the request.
            GivenUpError: a failure that did not pass.
            InputError: nothing but the user can help: the address, the key, the account.
        """

        def receive(response: httpx2.Response, blocks: Iterator[bytes]) -> dict[str, Any]:
            content = b"".join(self._limited(blocks))
            answer = read_answer(response, content, self.url)
            self._answered = True
            return answer

        return self._persist(sending, gate, receive)

    def download(self, path: str, destination: Path, gate: Gate) -> None:
        """Writes what a GET answers to a file, in constant memory; raises as `send`."""

        def receive(response: httpx2.Response, blocks: Iterator[bytes]) -> dict[str, Any]:
            if response.status_code != 200:
                return read_answer(response, b"".join(self._limited(blocks)), self.url)
            with destination.open("wb") as file:
                file.writelines(blocks)
            return {}

        self._persist(Sending(method="GET", path=path), gate, receive)

    def _persist(
        self,
        sending: Sending,
        gate: Gate,
        receive: _Receive,
    ) -> dict[str, Any]:
        retrying = self._retrying(gate)
        try:
            return retrying(self._attempt, sending, gate, receive)
        except TransientError as error:
            n = retrying.statistics["attempt_number"]
            asked = "" if error.wait_s is None else f"; it asks to wait {error.wait_s:.0f} s"
            detail = f"{error}{asked}"
            if not self._answered:
                raise InputError(
                    f"{self.url}: {detail}; given up after {n} attempt{'s' * (n > 1)}: see that "
                    "base_url is right (it most often ends with /v1) and that the server runs"
                ) from None
            late = isinstance(error, TimedOutError)
            raise GivenUpError("timeout" if late else "server error", detail) from None

    def _retrying(self, gate: Gate) -> tenacity.Retrying:
        import tenacity

        # The random part keeps requests that failed together from coming back together.
        doubling = tenacity.wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)
        backoff = doubling + tenacity.wait_random(0, FIRST_WAIT_S)

        def asked_s(state: tenacity.RetryCallState) -> float | None:
            error = state.outcome.exception() if state.outcome else None
            return error.wait_s if isinstance(error, TransientError) else None

        def wait_s(state: tenacity.RetryCallState) -> float:
            asked = asked_s(state)
            return backoff(state) if asked is None else asked

        too_late = tenacity.stop_before_delay(WAITED_AT_MOST_S)

        def enough(state: tenacity.RetryCallState) -> bool:
            most = ATTEMPTS if self._answered else ATTEMPTS_UNTIL_FIRST_ANSWER
            return state.attempt_number >= most or too_late(state)

        def prepare(state: tenacity.RetryCallState) -> None:
            wait, error = state.upcoming_sleep, state.outcome and state.outcome.exception()
            if asked_s(state) is not None:
                with self._lock:
                    self._quiet_until = max(self._quiet_until, time.monotonic() + wait)
            if wait >= REPORTED_WAIT_S:
                self._report(f"{self.url}: {error}; trying again in {wait:.0f} s")

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            wait=wait_s,
            stop=enough,
            before_sleep=prepare,
            sleep=gate.wait,
            reraise=True,
        )

    def _attempt(
        self,
        sending: Sending,
        gate: Gate,
        receive: _Receive,
    ) -> dict[str, Any]:
        if (quiet_s := self._quiet_until - time.monotonic()) > 0:
            gate.wait(quiet_s)
        gate.begin()
        answer = None
        try:
            with foreign_errors(self.url, self._timeout_s):
                answer = self._exchange(sending, receive)
        finally:
            gate.end(answer)
        return answer

    def _exchange(
        self,
        sending: Sending,
        receive: _Receive,
    ) -> dict[str, Any]:
        deadline = time.monotonic() + self._timeout_s
        headers = {"Content-Type": sending.content_type} if sending.content is not None else {}
        with self._client.open().stream(
            sending.method, f"{self.url}{sending.path}", content=sending.content, headers=headers
        ) as response:
            if response.status_code != 200:  # a good status may still be another program's page
                self._answered = True
            return receive(response, blocks_until(response.iter_bytes(), deadline))

    def _limited(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        n_bytes = 0
        for block in blocks:
            n_bytes += len(block)
            if n_bytes > MAX_ANSWER_BYTES:
                raise TransientError(f"it sends over {MAX_ANSWER_BYTES:,} bytes for one request")
            yield block
