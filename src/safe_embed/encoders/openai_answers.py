"""What an embeddings API answered: vectors, or what went wrong in plain words."""

from __future__ import annotations

import base64
import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safe_embed.errors import EncoderError
from safe_embed.secrets import redact

if TYPE_CHECKING:
    import httpx2

__all__ = ["RefusedBatchError", "TransientError", "one_line", "read_json", "read_vectors"]

_SHOWN_CHARACTERS = 300
_READ_FOR_MESSAGE = 1 << 20
_CHECK_URL = "check base_url, which most often ends with /v1"
_TRANSIENT = frozenset({408, 409, 429})
_ABOUT_INPUT = re.compile(
    r"\btokens\b|too (?:long|large)|context length|batch|\binputs?\b", re.IGNORECASE
)
_TOO_LARGE = re.compile(r"too (?:long|large)", re.IGNORECASE)
_NO_CREDIT = re.compile(r"insufficient_quota|billing", re.IGNORECASE)


class TransientError(Exception):
    """An attempt failed in a way that another may not; `wait_s` is what the server asked for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class RefusedBatchError(Exception):
    """The server takes none of this batch because of what is in it; a smaller one may pass."""


def read_json(response: httpx2.Response, content: bytes, url: str) -> Any:  # noqa: ANN401 - JSON
    """Returns the JSON of a good answer, and sorts the others by what may help.

    Args:
        response: status and headers.
        content: the body, whole.
        url: base URL, for messages.

    Raises:
        TransientError: the same request may pass later.
        RefusedBatchError: a smaller batch may pass.
        EncoderError: nothing but the user can help.
    """
    status, message = response.status_code, _message(content)
    if status == 200:
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError):
            raise EncoderError(
                f"{url}: the answer is not JSON but {message}; {_CHECK_URL}"
            ) from None
        if isinstance(parsed, dict) and parsed.get("error") and "data" not in parsed:
            raise EncoderError(f"{url}: the server reports an error: {message}")
        return parsed
    reason = f"the server answered {status} {one_line(response.reason_phrase)}".rstrip()
    if _refuses_input(status, message):
        raise RefusedBatchError(f"{reason}: {message}")
    if status == 429 and _NO_CREDIT.search(content.decode("utf-8", "replace")):
        raise EncoderError(
            f"{url}: {reason}: the account has no credit left; see its plan and billing"
        )
    transient = status in _TRANSIENT or status >= 500
    if transient and response.headers.get("x-should-retry") != "false":
        raise TransientError(f"{reason}: {message}", _retry_after_s(response.headers))
    raise EncoderError(f"{url}: {reason}{_remedy(status, message)}")


def _refuses_input(status: int, message: str) -> bool:
    if status in (400, 422):
        return _ABOUT_INPUT.search(message) is not None
    # 429: one request has more tokens than the account may send in a minute; 500: llama.cpp.
    return status == 413 or (status in (429, 500) and _TOO_LARGE.search(message) is not None)


def _remedy(status: int, message: str) -> str:
    if status == 401:  # what the server says may hold a part of the key
        return "; the key is missing or wrong: set OPENAI_API_KEY, in the environment or in .env"
    if status == 403:
        return f": {message}; this key may not use the model or this API: see its permissions"
    if status in (404, 405):
        return f": {message}; {_CHECK_URL}, and that the server has this model"
    if 300 <= status < 400:
        return f"; it sends elsewhere, and nothing is sent after it: {_CHECK_URL}"
    return f": {message}"


def read_vectors(answer: Any, n_texts: int, url: str) -> NDArray[np.float32]:  # noqa: ANN401 - JSON
    """Reads the embeddings of an answer, in the order of their `index`.

    Args:
        answer: JSON of the answer; each embedding is a list of numbers, or float32 in base64.
        n_texts: embeddings that must be there.
        url: base URL, for messages.

    Returns:
        float32 of shape (n_texts, d), of any length, and NaN or infinite where the server says so.

    Raises:
        EncoderError: another number of embeddings, an index that is missing or comes twice, an
            embedding that is none, or embeddings of several dimensions.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise EncoderError(f"{url}: the answer has no list `data`; {_CHECK_URL}")
    if len(data) != n_texts:
        raise EncoderError(
            f"{url}: {n_texts} texts gave {len(data)} embeddings; try again, or "
            "choose a smaller batch size"
        )
    found: dict[int, NDArray[np.float32]] = {}
    for item in data:
        index = item.get("index") if isinstance(item, dict) else None
        if type(index) is not int or not 0 <= index < n_texts or index in found:
            raise EncoderError(
                f"{url}: the answer must have each index from 0 to {n_texts - 1} once, "
                f"and has {one_line(repr(index))}; this server cannot be used"
            )
        found[index] = _read_vector(item.get("embedding"), url)
    dimensions = sorted({len(vector) for vector in found.values()})
    if len(dimensions) != 1:
        raise EncoderError(f"{url}: one answer has embeddings of {dimensions} values")
    return np.stack([found[index] for index in range(n_texts)])


def _read_vector(embedding: object, url: str) -> NDArray[np.float32]:
    try:
        if isinstance(embedding, str):
            vector = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
        else:
            vector = np.asarray(embedding)
    except ValueError:  # no base64, not a multiple of 4 bytes, lists of several lengths
        vector = np.empty(0)
    if vector.ndim != 1 or not vector.size or vector.dtype.kind not in "fiu":
        raise EncoderError(
            f"{url}: an embedding must be a list of numbers or float32 in base64, "
            f"got {one_line(repr(embedding))}"
        )
    with np.errstate(over="ignore"):  # becomes infinite, which is told with the text it is of
        return vector.astype(np.float32)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `Retry-After` as number or date.

    A date is compared with the answer's own, so that a wrong clock on either side does no harm.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    asked, now = _timestamp(headers.get("retry-after")), _timestamp(headers.get("date"))
    return None if asked is None else max(0.0, asked - (time.time() if now is None else now))


def _timestamp(date: str | None) -> float | None:
    try:
        parsed = email.utils.parsedate_to_datetime(date or "")
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _message(content: bytes) -> str:
    """What an answer says, as one short line without secrets or control characters."""
    text = content[:_READ_FOR_MESSAGE].decode("utf-8", "replace")
    if re.match(r"\s*<(?:!doctype|html|\?xml)", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
        return f"an HTML page ({one_line(title[1])})" if title else "an HTML page"
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = text
    for name in ("error", "message", "detail"):  # OpenAI nests them; others have one or another
        if isinstance(said, dict) and said.get(name):
            said = said[name]
    return one_line(said if isinstance(said, str) else json.dumps(said)) or "nothing"


def one_line(text: str) -> str:
    """A text as it may be shown: one line, not long, without secrets or control characters."""
    line = "".join(each if each.isprintable() else " " for each in redact(text))
    line = " ".join(line.split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}..."
