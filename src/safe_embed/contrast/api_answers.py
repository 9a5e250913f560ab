"""What an OpenAI-compatible API answered: JSON, or what went wrong in plain words."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safe_embed.encoders.openai_answers import (
    RefusedBatchError,
    TransientError,
    one_line,
    read_json,
)
from safe_embed.errors import EncoderError, InputError

if TYPE_CHECKING:
    import httpx2

__all__ = [
    "RefusedError",
    "TimedOutError",
    "blocks_until",
    "error_of",
    "foreign_errors",
    "read_answer",
]

_REFUSALS = (400, 413, 422)
_ABOUT_KEY = re.compile(r"api[ _-]?key|unauthori[sz]ed", re.IGNORECASE)
_FILTERED = re.compile(
    r"content[ _-]?(?:filter|management|policy)|responsible ?ai|safety (?:system|filter)",
    re.IGNORECASE,
)


class RefusedError(Exception):
    """The server takes the address and the key, but not what is in this request."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.filtered = _FILTERED.search(message) is not None
        """Whether it is the prompt that a content filter refuses."""


class TimedOutError(TransientError):
    """No whole answer came in time."""


def read_answer(response: httpx2.Response, content: bytes, url: str) -> dict[str, Any]:
    """Returns the JSON object of a good answer, and sorts the others by what may help.

    Args:
        response: status and headers.
        content: the body, whole.
        url: base URL, for messages.

    Raises:
        TransientError: the same request may pass later.
        RefusedError: another request may pass.
        InputError: nothing but the user can help.
    """
    status = response.status_code
    if status == 200:
        return _good(content)
    said = error_of(_json(content))
    if status in _REFUSALS and not _ABOUT_KEY.search(said):
        raise RefusedError(f"the server answered {status}: {said}")
    try:
        read_json(response, content, url)
    except RefusedBatchError as error:
        raise RefusedError(str(error)) from None
    except EncoderError as error:
        raise InputError(str(error)) from None
    raise TransientError(f"the server answered {status}")


def error_of(answer: object) -> str:
    """Code and message of an error that a server reports, as one line without secrets."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if isinstance(error, dict):
        parts = [error.get(name) for name in ("code", "message", "detail")]
        inner = error.get("innererror")
        parts.append(inner.get("code") if isinstance(inner, dict) else None)
        if any(parts):
            error = ": ".join(str(part) for part in parts if part)
    return one_line(error if isinstance(error, str) else json.dumps(error)) or "nothing"


def _good(content: bytes) -> dict[str, Any]:
    answer = _json(content)
    if not isinstance(answer, dict):
        raise TransientError(f"the answer is not a JSON object but {error_of(answer)}")
    if answer.get("error") and not answer.get("choices") and "id" not in answer:
        raise TransientError(f"the server reports an error: {error_of(answer)}")
    return answer


def _json(content: bytes) -> Any:  # noqa: ANN401 - JSON
    """The value of a JSON text, or the text itself where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        text = content[: 1 << 20].decode("utf-8", "replace")
        html = re.match(r"\s*<(?:!doctype|html|\?xml)", text, re.IGNORECASE)
        return "an HTML page" if html else text


def blocks_until(blocks: Iterator[bytes], deadline: float) -> Iterator[bytes]:
    """Blocks of an answer, up to a deadline: the client's own limit is for each block."""
    import httpx2

    for block in blocks:
        yield block
        if time.monotonic() > deadline:
            raise httpx2.ReadTimeout("too slow")


@contextmanager
def foreign_errors(url: str, timeout_s: float) -> Iterator[None]:
    """Translates what the HTTP library raises, for one attempt at a base URL."""
    import httpx2

    try:
        yield
    except httpx2.TimeoutException:
        raise TimedOutError(f"no answer within {timeout_s:g} s") from None
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as error:
        raise InputError(f"{url}: {_reason(error)}") from None
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise TransientError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
