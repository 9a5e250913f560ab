"""What a run has paid for: one line a step, only ever added to, so that no kill loses an answer.

A line is handed to the operating system as soon as its answer is there, so it survives the death
of the process; `sync` makes it survive a power cut too. A line that was cut off in the middle is
the last one, and is dropped when the journal is opened again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

from safe_embed.errors import DataError, InputError, StorageError

if TYPE_CHECKING:
    import filelock

__all__ = ["Journal", "Step"]

Step: TypeAlias = Literal["draft", "vote", "accepted", "rejected"]
"""What a line says of a prompt: edits that are to be judged, a vote on one, or how it ended."""

_VERSION = 1
_ENDS = ("accepted", "rejected")


class Journal:
    """The journal of one output file. May be shared by threads, but not by processes.

    In memory are the places of the lines, about 150 bytes a prompt.

    Args:
        path: the file.
        settings: what the answers depend on, as JSON; is kept in the first line.
        resume: go on with a file that is there.
        forget: a rejection for one of these reasons counts as if the prompt was never asked.

    Raises:
        InputError: the file is there and `resume` is not set, its settings are others, or another
            process writes it.
        DataError: the file is damaged.
        StorageError: it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        resume: bool,
        forget: Collection[str] = (),
    ) -> None:
        self.path = path
        if path.exists() and not resume:
            raise InputError(
                f"{path} is there from an earlier run: add --resume to go on with it, or choose "
                "another --out, or remove it"
            )
        self._forget = forget
        self._mutex = threading.Lock()
        self._ends: dict[str, int] = {}
        self._parts: dict[str, list[int]] = {}
        self._broken = False
        self._lock = _locked(path)
        try:
            self._file: BinaryIO = path.open("ab", buffering=0)
            self._reader = path.open("rb")
            self._read_back(json.loads(json.dumps(settings)))
        except OSError as error:
            self._lock.release()
            raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; no line can be added after it."""
        with self._mutex:
            self._file.close()
            self._reader.close()
            self._lock.release()

    def __len__(self) -> int:
        """How many prompts have come to their end."""
        return len(self._ends)

    def ended(self, task_id: str) -> bool:
        """Whether a prompt was accepted or rejected."""
        return task_id in self._ends

    def end_of(self, task_id: str) -> dict[str, Any] | None:
        """The line that says how a prompt ended, or None."""
        offset = self._ends.get(task_id)
        return None if offset is None else self._at(offset)

    def parts_of(self, task_id: str) -> list[dict[str, Any]]:
        """The draft of a prompt and the votes on it that earlier runs left, in their order."""
        return [self._at(offset) for offset in self._parts.get(task_id, ())]

    def add(self, step: Step, task_id: str, fields: Mapping[str, Any]) -> None:
        """Adds a line.

        Raises:
            StorageError: it cannot be written; no line can be added any more.
        """
        line = json.dumps({"task": task_id, "step": step, **fields}, ensure_ascii=True)
        with self._mutex:
            offset = self._write(line)
            if step in _ENDS:
                self._ends[task_id] = offset

    def sync(self) -> None:
        """Waits until what was added is on the disk.

        Raises:
            StorageError: the disk fails.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror or error}") from error

    def _write(self, line: str) -> int:
        if self._broken or self._file.closed:
            raise StorageError(f"cannot write {self.path} any more; --resume goes on from it")
        content = f"{line}\n".encode()
        offset = self._file.seek(0, os.SEEK_END)
        try:
            complete = self._file.write(content) == len(content)
        except OSError as error:
            self._broken = True
            raise StorageError(
                f"cannot write {self.path}: {error.strerror or error}; --resume goes on from it"
            ) from error
        if not complete:
            self._broken = True  # the next line would be a part of this one
            raise StorageError(
                f"cannot write {self.path}: the disk is full; --resume goes on from it"
            )
        return offset

    def _at(self, offset: int) -> dict[str, Any]:
        with self._mutex:
            self._reader.seek(offset)
            line = self._reader.readline()
        found: dict[str, Any] = json.loads(line)
        return found

    def _read_back(self, settings: dict[str, Any]) -> None:
        with self.path.open("rb") as file:
            number, offset = 0, 0
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    self._file.truncate(offset)
                    number -= 1  # noqa: PLW2901 - that line is no more
                    break
                self._take_in(number, offset, line, settings)
                offset += len(line)
        if number == 0:
            self._write(json.dumps({"journal": _VERSION, "settings": settings}))

    def _take_in(self, number: int, offset: int, line: bytes, settings: dict[str, Any]) -> None:
        try:
            found = json.loads(line)
            if number == 1:
                self._check_settings(found["settings"], settings)
                return
            task_id, step = found["task"], found["step"]
        except (ValueError, TypeError, KeyError):
            raise DataError(
                self.path, "is no line of a journal; remove it, or the file", row=number
            ) from None
        if step not in _ENDS:
            self._parts.setdefault(task_id, []).append(offset)
        elif found.get("reason") in self._forget:
            self._ends.pop(task_id, None)
        else:
            self._ends[task_id] = offset
            self._parts.pop(task_id, None)

    def _check_settings(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        for name in {**before, **now}:
            if before.get(name) != now.get(name):
                raise InputError(
                    f"{self.path} is of a run with {name} {before.get(name)!r}, and now it is "
                    f"{now.get(name)!r}: use the same, or another --out"
                )


def _locked(path: Path) -> filelock.BaseFileLock:
    import filelock

    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(
            f"another process writes {path}; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    return lock
