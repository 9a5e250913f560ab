"""Files and jobs of a Batch API: made, found again, and looked at."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safe_embed.contrast.api import Api, GivenUpError, Sending
from safe_embed.contrast.api_answers import RefusedError, error_of
from safe_embed.contrast.chat import request_body
from safe_embed.contrast.editing import EditSettings, edit_request
from safe_embed.contrast.source import PromptSource
from safe_embed.encoders.openai_answers import one_line
from safe_embed.encoders.openai_batches import StoppedError
from safe_embed.errors import InputError

__all__ = [
    "JobStatus",
    "create_job",
    "download",
    "find_job",
    "request_files",
    "status_of",
    "upload",
]

MAX_REQUESTS = 50_000  # what OpenAI takes in one job
MAX_BYTES = 16 * 1024**2  # far less than it takes; held in memory to be sent
_ENDPOINT = "/v1/chat/completions"
_CREATE_TRIES = 4
_OVER = ("completed", "failed", "expired", "cancelled")


@dataclass(frozen=True)
class JobStatus:
    """How far one job is."""

    batch_id: str
    status: str
    total: int
    completed: int
    failed: int
    message: str
    """What is wrong with the job as a whole, or nothing."""

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in _OVER


class _Gate:
    """Lets attempts begin: as many as `Api` wants, or one."""

    def __init__(self, most: int | None = None) -> None:
        self._left = most

    def begin(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise StoppedError

    def end(self, answer: Any | None) -> None:  # noqa: ANN401 - JSON
        """A job is paid by the answers that it holds later."""

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


def request_files(source: PromptSource, settings: EditSettings, model: str) -> Iterator[bytes]:
    """The questions for all prompts as JSONL, in parts that one job takes each."""
    lines: list[bytes] = []
    size = 0
    for item in source:
        request = {
            "custom_id": item.task_id,
            "method": "POST",
            "url": _ENDPOINT,
            "body": request_body(model, edit_request(item, settings)),
        }
        line = json.dumps(request).encode() + b"\n"
        if lines and (len(lines) == MAX_REQUESTS or size + len(line) > MAX_BYTES):
            yield b"".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    yield b"".join(lines)


def upload(api: Api, content: bytes, name: str) -> str:
    """Sends a file of requests, and returns its id.

    Raises:
        InputError: the API refuses, or does not answer.
    """
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    sending = Sending(
        method="POST",
        path="/files",
        content=head.encode() + content + f"\r\n--{boundary}--\r\n".encode(),
        content_type=f"multipart/form-data; boundary={boundary}",
    )
    with _failures(api):
        return _id(api.send(sending, _Gate()), api)


def create_job(api: Api, run_id: str, number: int, file_id: str) -> str:
    """Makes a job of a file, and returns its id; one that was made before is found by its metadata.

    Raises:
        InputError: the API refuses, or does not answer.
    """
    metadata = {"safe_embed_run": run_id, "safe_embed_part": str(number)}
    body = {
        "input_file_id": file_id,
        "endpoint": _ENDPOINT,
        "completion_window": "24h",
        "metadata": metadata,
    }
    sending = Sending(method="POST", path="/batches", content=json.dumps(body).encode())
    with _failures(api):
        for _ in range(_CREATE_TRIES):
            if (found := _made_before(api, metadata)) is not None:
                return found
            try:
                return _id(api.send(sending, _Gate(1)), api)
            except StoppedError:  # it failed, and yet the job may have been made
                continue
        raise GivenUpError("server error", f"no job could be made in {_CREATE_TRIES} attempts")


def find_job(api: Api, batch_id: str) -> dict[str, Any]:
    """What the API says of a job.

    Raises:
        InputError: the API refuses, or does not answer.
    """
    with _failures(api):
        return api.send(Sending(method="GET", path=f"/batches/{batch_id}"), _Gate())


def download(api: Api, file_id: str, destination: Path) -> None:
    """Writes a file of answers.

    Raises:
        InputError: the API refuses, or does not answer.
    """
    with _failures(api):
        api.download(f"/files/{file_id}/content", destination, _Gate())


def status_of(job: Mapping[str, Any]) -> JobStatus:
    """How far a job is, by what the API says of it."""
    counts = job.get("request_counts")
    numbers = [
        counts.get(name) if isinstance(counts, dict) else 0
        for name in ("total", "completed", "failed")
    ]
    total, completed, failed = (number if isinstance(number, int) else 0 for number in numbers)
    errors = job.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    message = error_of(listed[0]) if isinstance(listed, list) and listed else ""
    state = one_line(str(job.get("status")))
    return JobStatus(one_line(str(job.get("id"))), state, total, completed, failed, message)


def _made_before(api: Api, metadata: Mapping[str, str]) -> str | None:
    try:
        answer = api.send(Sending(method="GET", path="/batches?limit=100"), _Gate())
    except (RefusedError, InputError):  # this server lists none
        return None
    jobs = answer.get("data")
    for job in jobs if isinstance(jobs, list) else []:
        if isinstance(job, dict) and job.get("metadata") == metadata:
            return _id(job, api)
    return None


def _id(answer: Mapping[str, Any], api: Api) -> str:
    found = answer.get("id")
    if not isinstance(found, str) or not found:
        raise InputError(f"{api.url}: the answer has no id; it is no Batch API")
    return found


@contextmanager
def _failures(api: Api) -> Iterator[None]:
    """A job that cannot be made or read ends the command: its prompts are one question."""
    try:
        yield
    except RefusedError as error:
        raise InputError(f"{api.url}: {error}") from None
    except GivenUpError as error:
        raise InputError(f"{api.url}: {error}; the same command goes on later") from None
