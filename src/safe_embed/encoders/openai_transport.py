"""One POST to an embeddings API: address, key, retries, and what went wrong in plain words."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from safe_embed.encoders.openai_answers import TransientError, one_line, read_json
from safe_embed.encoders.openai_batches import StoppedError
from safe_embed.encoders.openai_client import LOOPBACK, ApiClient
from safe_embed.errors import EncoderError, InputError
from safe_embed.secrets import Secret

if TYPE_CHECKING:
    import httpx2
    import tenacity

__all__ = ["OPENAI_HOST", "Address", "EmbeddingsApi"]

OPENAI_HOST = "api.openai.com"

ATTEMPTS = 8
ATTEMPTS_UNTIL_FIRST_ANSWER = 4
"""A server that has never answered is more likely a wrong address than an overloaded one."""
BUDGET_S = 300.0
"""No attempt begins when a request has waited so long, however few it had."""
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
REPORTED_WAIT_S = 10.0
MAX_ANSWER_BYTES = 256 * 1024**2  # 2048 vectors of 3072 values in decimal are 130 MB
_EXAMPLE = "an example is http://localhost:8080/v1"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where an API is, without the credentials that its URL may have held.

    Attributes:
        url: scheme, host and path, such as `https://api.openai.com/v1`.
        host: in lower case, with the port where it is not the scheme's own.
        path: starts with a slash or is empty; never ends with one.
        user: user name and password for basic authentication, as HTTP wants them, or None.
        exposed: what is sent there can be read on the way: no TLS, and another machine.
    """

    url: str
    host: str
    path: str
    user: Secret | None
    exposed: bool

    @classmethod
    def parse(cls, base_url: str) -> Address:
        """Takes a base URL apart.

        Raises:
            InputError: not an http or https URL, or it has a query or fragment; the message
                shows no part of it that may be secret.
        """
        try:
            parts = urlsplit(base_url.strip())
            port = parts.port
            (parts.hostname or "").encode("idna")  # as the resolver does, with a raw error
        except ValueError:
            raise InputError(f"base_url has a host or port that is none; {_EXAMPLE}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"base_url must start with http:// or https:// and a host; {_EXAMPLE}")
        if parts.query or parts.fragment:
            raise InputError(f"base_url must end with its path, without ? and #; {_EXAMPLE}")
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        host = name
        if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
            host = f"{name}:{port}"
        path = parts.path.rstrip("/").removesuffix("/embeddings").rstrip("/")
        return cls(
            url=f"{parts.scheme}://{host}{path}",
            host=host,
            path=path,
            user=_user(parts),
            exposed=parts.scheme == "http" and name not in LOOPBACK,
        )


def _user(parts: SplitResult) -> Secret | None:
    if not parts.username and not parts.password:
        return None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    for part in filter(None, (user if not password else "", password)):
        Secret(part)  # so that it is hidden wherever it turns up
    return Secret(base64.b64encode(f"{user}:{password}".encode()).decode())


class EmbeddingsApi:
    """Posts to `{base_url}/embeddings` and returns the JSON of the answer.

    May be shared by threads. One pool of connections, made when it is first used.

    Args:
        address: where the API is; its credentials, if it has any, go before `key`.
        key: sent as a bearer token, or None.
        concurrency: requests that are on their way at once, at most, over all threads.
        timeout_s: seconds that one answer may take, from the request to its last byte.
        report: is called with a line when there is a long wait before the next attempt.
        transport: sends the requests in place of the network.

    Raises:
        InputError: the key has a character that no header may hold.
    """

    def __init__(
        self,
        address: Address,
        *,
        key: Secret | None,
        concurrency: int,
        timeout_s: float,
        report: Callable[[str], None],
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._address = address
        self._client = ApiClient(
            address, key=key, timeout_s=timeout_s, connections=concurrency, transport=transport
        )
        self._timeout_s = timeout_s
        self._report = report
        self._answered = False
        self._turns = threading.BoundedSemaphore(concurrency)

    def close(self) -> None:
        """Closes the connections; a later call makes new ones."""
        self._client.close()

    def post(self, body: Mapping[str, Any], stop: threading.Event) -> Any:  # noqa: ANN401 - JSON
        """Sends one request, again and again while that may help, and returns the answer's JSON.

        Args:
            body: becomes JSON.
            stop: when it is set no attempt begins, and a wait for the next one ends.

        Raises:
            RefusedBatchError: the server refuses what is in the batch, or how much it is.
            StoppedError: `stop` is set.
            EncoderError: every other failure; says what to do, and holds no secret.
        """
        content = json.dumps(body).encode()
        retrying = self._retrying(stop)
        try:
            return retrying(self._attempt, content, stop)
        except TransientError as error:
            attempts = retrying.statistics["attempt_number"]
            asked = "" if error.wait_s is None else f"; it asks to wait {error.wait_s:.0f} s"
            raise EncoderError(
                f"{self._address.url}: {error}{asked}; given up after {attempts} "
                f"attempt{'s' * (attempts > 1)}: see that the server runs, and try again later"
            ) from None

    def _retrying(self, stop: threading.Event) -> tenacity.Retrying:
        import tenacity

        # The random part keeps requests that failed together from coming back together.
        doubling = tenacity.wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)
        backoff = doubling + tenacity.wait_random(0, 1)

        def asked_s(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait_s if isinstance(error, TransientError) else None
            return backoff(state) if asked is None else asked

        too_late = tenacity.stop_before_delay(BUDGET_S)

        def enough(state: tenacity.RetryCallState) -> bool:
            most = ATTEMPTS if self._answered else ATTEMPTS_UNTIL_FIRST_ANSWER
            return state.attempt_number >= most or too_late(state)

        def report(state: tenacity.RetryCallState) -> None:
            if state.upcoming_sleep >= REPORTED_WAIT_S and state.outcome:
                self._report(
                    f"{self._address.url}: {state.outcome.exception()}; "
                    f"trying again in {state.upcoming_sleep:.0f} s"
                )

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            wait=asked_s,
            stop=enough,
            before_sleep=report,
            sleep=lambda seconds: _pause(stop, seconds),
            reraise=True,
        )

    def _attempt(self, content: bytes, stop: threading.Event) -> Any:  # noqa: ANN401 - JSON
        import httpx2

        with self._turns:
            if stop.is_set():
                raise StoppedError
            try:
                response, answer = self._exchange(content)
            except httpx2.TimeoutException:
                raise TransientError(f"no answer within {self._timeout_s:g} s") from None
            except (
                httpx2.InvalidURL,
                httpx2.UnsupportedProtocol,
                httpx2.LocalProtocolError,
            ) as error:
                raise EncoderError(f"{self._address.url}: {_reason(error)}") from None
            except (httpx2.TransportError, httpx2.DecodingError) as error:
                raise TransientError(_reason(error)) from None
        return read_json(response, answer, self._address.url)

    def _exchange(self, content: bytes) -> tuple[httpx2.Response, bytes]:
        import httpx2

        deadline = time.monotonic() + self._timeout_s
        blocks, n_bytes = [], 0
        headers = {"Content-Type": "application/json"}
        url = f"{self._address.url}/embeddings"
        with self._client.open().stream("POST", url, content=content, headers=headers) as response:
            self._answered = True
            for block in response.iter_bytes():
                blocks.append(block)
                n_bytes += len(block)
                if time.monotonic() > deadline:  # the client's own limit is for each block
                    raise httpx2.ReadTimeout("too slow")
                if n_bytes > MAX_ANSWER_BYTES:
                    raise EncoderError(
                        f"{self._address.url}: sends over {MAX_ANSWER_BYTES:,} bytes for one "
                        "request; it is no embeddings API, or choose a smaller batch size"
                    )
        return response, b"".join(blocks)


def _pause(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)


def _reason(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
