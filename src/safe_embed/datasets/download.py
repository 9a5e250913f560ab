"""One pinned file fetched over HTTP: resumed, retried, checked, and whole or absent.

The bytes go to `<name>.part` beside the destination. A later call, also after the process was
killed, asks for the rest of it; the SHA-256 is checked before the file gets its name.
"""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from safe_embed.errors import DownloadError, StorageError
from safe_embed.files import sha256_of

if TYPE_CHECKING:
    import httpx2
    import tenacity

__all__ = ["Progress", "download"]

Progress: TypeAlias = Callable[[int, int | None], None]
"""Is called with the number of bytes that are there, and with their total where it is known."""

ATTEMPTS = 4
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
LOCK_TIMEOUT_S = 600.0
LONGEST_WAIT_S = 60.0
MAX_BYTES = 8 * 1024**3
"""Where the size is not known, a server that sends more than this is cut off."""


class _TransientError(Exception):
    """An attempt failed in a way that another may not; `wait_s` is what the server asked for."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def download(
    url: str,
    destination: Path,
    sha256: str,
    *,
    size: int | None = None,
    client: httpx2.Client | None = None,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
    refused: str | None = None,
) -> Path:
    """Fetches a file, unless it is there already with this digest.

    Two processes may fetch the same file at once: the second waits for the first.

    Args:
        url: where it is.
        destination: where it goes; another file of that name is replaced.
        sha256: digest it must have, 64 lower-case hex digits.
        size: its bytes, if known; a server that sends more is cut off there.
        client: makes the requests in place of one of our own; is not closed.
        progress: is told of each block that arrives.
        sleep: waits between two attempts.
        refused: what to do when the server says that it has no such file for us.

    Returns:
        The destination.

    Raises:
        DownloadError: it cannot be fetched, or is not the file that was pinned.
        StorageError: the destination cannot be written, or the disk is full.
    """
    with _storage_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
    with _only_process(destination) as lock_file:
        if not (destination.is_file() and sha256_of(destination) == sha256):
            part = destination.with_name(f"{destination.name}.part")
            transfer = _Transfer(url, part, sha256, size or MAX_BYTES, progress, refused)
            with _client(client) as open_client:
                _fetch(transfer, open_client, destination, sleep)
            with _storage_errors(destination):
                part.replace(destination)
        # Who waits for the lock finds the file in place, so the lock is of no more use.
        lock_file.unlink(missing_ok=True)
    return destination


@contextmanager
def _only_process(destination: Path) -> Iterator[Path]:
    import filelock

    path = destination.with_name(f".{destination.name}.lock")
    lock = filelock.FileLock(path, timeout=LOCK_TIMEOUT_S)
    with _storage_errors(destination):
        try:
            lock.acquire()
        except filelock.Timeout:  # an OSError, which this is not to be called
            raise DownloadError(
                f"{destination} is being fetched by another process for over "
                f"{LOCK_TIMEOUT_S / 60:.0f} minutes; wait for it or end it, and try again"
            ) from None
    try:
        yield path
    finally:
        lock.release()


@contextmanager
def _client(given: httpx2.Client | None) -> Iterator[httpx2.Client]:
    if given is not None:
        yield given
        return
    import httpx2  # only a download needs it

    timeout = httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    with httpx2.Client(timeout=timeout, follow_redirects=True) as client:
        yield client


def _fetch(
    transfer: _Transfer, client: httpx2.Client, destination: Path, sleep: Callable[[float], None]
) -> None:
    import httpx2
    import tenacity

    remedy = f"check the network and try again, or put the file at {destination} yourself"
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=_wait_s,
        retry=tenacity.retry_if_exception_type(_TransientError),
        sleep=sleep,
        reraise=True,
    )
    try:
        with _storage_errors(destination):
            retrying(transfer.attempt, client)
    except _TransientError as error:
        raise DownloadError(f"cannot fetch {transfer.url}: {error}; {remedy}") from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DownloadError(f"cannot fetch {transfer.url}: {_reason(error)}; {remedy}") from error


def _wait_s(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait_s if isinstance(error, _TransientError) else None
    return min(LONGEST_WAIT_S, 0.5 * 2**state.attempt_number if asked is None else asked)


@dataclass(slots=True)
class _Transfer:
    """The bytes of one file on their way; its part file outlives attempts and processes."""

    url: str
    part: Path
    sha256: str
    limit: int
    progress: Progress | None
    refused: str | None
    etag: str | None = None

    def attempt(self, client: httpx2.Client) -> None:
        """Fetches what is missing, and returns when the part file is whole and right."""
        import httpx2

        start = self.part.stat().st_size if self.part.exists() else 0
        if start and sha256_of(self.part) == self.sha256:
            return  # killed between the last byte and the rename
        # As it is, not packed: a range of packed bytes fits no file.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.etag is not None:
                headers["If-Range"] = self.etag
        try:
            with client.stream("GET", self.url, headers=headers) as response:
                start = self._checked_start(response, start)
                self._receive(response, start)
        except httpx2.UnsupportedProtocol:
            raise
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _TransientError(_reason(error)) from error
        self._check_digest(resumed=start > 0)

    def _checked_start(self, response: httpx2.Response, start: int) -> int:
        """Offset at which the answer's bytes belong."""
        status = response.status_code
        if status == 200:
            return 0  # also where a range was asked for: the server knows none, or has a new file
        if status == 206 and start:
            if response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                return start
            self.part.unlink()
            raise _TransientError("the server sent another range than was asked for")
        if status == 416:  # the part is longer than the file
            self.part.unlink(missing_ok=True)
            raise _TransientError("the server has fewer bytes than an earlier attempt got")
        reason = f"the server answered {status} {response.reason_phrase}".rstrip()
        if status in {408, 425, 429} or status >= 500:
            raise _TransientError(reason, _retry_after_s(response.headers.get("Retry-After")))
        remedy = self.refused or (
            "the file may have been moved: look for a newer version of safe-embed, or put the file "
            f"where {self.part.stem} is looked for yourself"
        )
        raise DownloadError(f"cannot fetch {self.url}: {reason}; {remedy}")

    def _receive(self, response: httpx2.Response, start: int) -> None:
        etag = response.headers.get("ETag")
        self.etag = etag if etag is None or etag.startswith('"') else None  # weak ones do not count
        length = response.headers.get("Content-Length", "")
        packed = response.headers.get("Content-Encoding", "identity") != "identity"
        total = start + int(length) if length.isdecimal() and not packed else None
        done = start
        with self.part.open("ab" if start else "wb") as file:
            self._tell(done, total)
            for block in response.iter_bytes():
                done += len(block)
                if done > self.limit:
                    file.close()
                    self.part.unlink()
                    raise DownloadError(
                        f"{self.url} sends over {self.limit:,} bytes, so it is not the file that "
                        "was pinned; look for a newer version of safe-embed"
                    )
                file.write(block)
                self._tell(done, total)
            file.flush()
            os.fsync(file.fileno())

    def _tell(self, done: int, total: int | None) -> None:
        if self.progress is not None:
            self.progress(done, total)

    def _check_digest(self, *, resumed: bool) -> None:
        found = sha256_of(self.part)
        if found == self.sha256:
            return
        self.part.unlink()
        if resumed:  # the part may have been of another file, or damaged
            raise _TransientError("the resumed file has the wrong SHA-256", wait_s=0)
        raise DownloadError(
            f"{self.url} has SHA-256 {found}, must be {self.sha256}: it is not the file that was "
            "pinned; look for a newer version of safe-embed, and trust it only if you know why"
        )


def _retry_after_s(value: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for: a number, or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another "
            "directory, and try again: what has arrived is kept"
        ) from error
