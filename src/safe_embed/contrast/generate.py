"""A run: many prompts side by side, until all have ended, the budget is spent, or it is stopped."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from safe_embed.contrast.answers import Reason
from safe_embed.contrast.budget import Budget
from safe_embed.contrast.chat import Chat
from safe_embed.contrast.editing import Editor, EditSettings, journal_settings
from safe_embed.contrast.journal import Journal
from safe_embed.contrast.judge import Judge
from safe_embed.contrast.outcome import Summary, journal_path, write_outputs
from safe_embed.contrast.source import Item, PromptSource
from safe_embed.encoders.openai_batches import StoppedError
from safe_embed.errors import InputError

__all__ = ["FAILURES", "Generation", "generate"]

FAILURES: tuple[Reason, ...] = ("timeout", "server error")
"""Reasons that say nothing of the prompt or its answer; asking again may help."""

_FAILURES_IN_A_ROW = 20
"""After so many, and as many as requests side by side, the server is taken to be down."""
_TICK_S = 0.2


_End: TypeAlias = Reason | Literal["accepted"] | BaseException | None


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What is to be done.

    Args:
        source: the prompts.
        settings: what is asked for.
        chat: the model.
        budget: the one that `chat` and the judge ask.
        judge: says of each edit whether it is safe; only for `to-safe`.
        concurrency: prompts that are worked on at once; one request of each is on its way.
        grace_s: seconds that an interrupt waits for requests that are on their way.
    """

    source: PromptSource
    settings: EditSettings
    chat: Chat
    budget: Budget
    judge: Judge | None = None
    concurrency: int = 8
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InputError(f"concurrency must be 1 or more, got {self.concurrency}")
        if self.judge is not None and self.settings.direction != "to-safe":
            raise InputError("a judge rejects what is unsafe, so it is for to-safe only")


def generate(
    generation: Generation,
    out: Path,
    *,
    resume: bool = False,
    retry_failed: bool = False,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
    report: Callable[[str], None] = lambda _message: None,
) -> Summary:
    """Asks for the edits of each prompt, and writes those that are valid.

    Every answer is in the journal beside `out` as soon as it comes, whatever happens then. The
    output files are written when the run ends by itself or by its budget.

    Args:
        generation: what is to be done.
        out: file of contrast sets, or of pairs for `to-unsafe`.
        resume: go on with the journal of an earlier run: what has ended is not asked again.
        retry_failed: with `resume`, ask again where the server failed or was too slow.
        progress: is called with the prompts that have ended, and all.
        report: is called with a line for people.

    Returns:
        What became of the prompts.

    Raises:
        InputError: the server cannot be used, or is down; the journal is of another run.
        DataError: the prompts or the journal cannot be read.
        StorageError: a file cannot be written.
        KeyboardInterrupt: the run was interrupted; the journal is whole.
    """
    settings = generation.settings
    header = journal_settings(settings, generation.chat.model, generation.judge)
    with Journal(
        journal_path(out), header, resume=resume, forget=FAILURES if retry_failed else ()
    ) as journal:
        try:
            _Run(generation, journal, progress, report).to_the_end()
        finally:
            generation.chat.close()
            if generation.judge is not None:
                generation.judge.chat.close()
        exhausted = generation.budget.exhausted
        summary = write_outputs(
            generation.source,
            journal,
            out,
            direction=settings.direction,
            reason_left="budget" if exhausted else None,
        )
    return replace(summary, spent=generation.budget.spent, exhausted=exhausted)


class _Run:
    """Threads that take prompts to their ends, and the one that watches them.

    They are daemons and not those of a pool, which the interpreter waits for when it ends: so a
    second interrupt leaves at once, whatever the server does.
    """

    def __init__(
        self,
        generation: Generation,
        journal: Journal,
        progress: Callable[[int, int | None], None],
        report: Callable[[str], None],
    ) -> None:
        self._generation = generation
        self._budget = generation.budget
        self._journal = journal
        self._progress = progress
        self._report = report
        self._editor = Editor(
            settings=generation.settings,
            chat=generation.chat,
            journal=journal,
            judge=generation.judge,
        )
        self._items = self._todo()
        self._taking = threading.Lock()
        self._ended: queue.SimpleQueue[_End] = queue.SimpleQueue()
        self._threads = 0
        self._failures = 0
        self._failure: BaseException | None = None

    def to_the_end(self) -> None:
        """Works until no prompt is left, or the budget stops it."""
        self._progress(len(self._journal), self._generation.source.n)
        try:
            for _ in range(min(self._generation.concurrency, self._generation.source.n)):
                threading.Thread(target=self._work, daemon=True).start()
                self._threads += 1
            self._watch(None)
        except KeyboardInterrupt:
            self._budget.stop()
            grace_s = self._generation.grace_s
            self._report(
                f"stopping: waiting up to {grace_s:g} s for the requests on their way; "
                "Ctrl-C again leaves at once"
            )
            self._watch(time.monotonic() + grace_s)
            raise
        finally:
            self._budget.stop()
            self._journal.sync()
        if self._failure is not None:
            raise self._failure

    def _todo(self) -> Iterator[Item]:
        return (item for item in self._generation.source if not self._journal.ended(item.task_id))

    def _work(self) -> None:
        """Takes one prompt after another; tells each end, and at last None."""
        try:
            while not self._budget.stopped:
                with self._taking:
                    item = next(self._items, None)
                if item is None:
                    break
                self._ended.put(self._editor.edit(item) or "accepted")
        except StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that watches
            self._ended.put(error)
        finally:
            self._ended.put(None)

    def _watch(self, deadline: float | None) -> None:
        """Hears of each end until all threads have ended, or it is too late."""
        while self._threads and (deadline is None or time.monotonic() < deadline):
            try:
                self._hear(self._ended.get(timeout=_TICK_S))  # lets Ctrl-C in, also on Windows
                while not self._ended.empty():
                    self._hear(self._ended.get())
            except queue.Empty:
                continue
            self._journal.sync()
            self._progress(len(self._journal), self._generation.source.n)

    def _hear(self, end: _End) -> None:
        if end is None:
            self._threads -= 1
        elif isinstance(end, BaseException):
            self._fail(end)
        elif end in FAILURES:
            self._failures += 1
            if self._failures >= max(_FAILURES_IN_A_ROW, self._generation.concurrency):
                self._fail(
                    InputError(
                        f"{self._generation.chat.address}: the last {self._failures} prompts "
                        f"failed ({end}), so the run has stopped; see that the server works, then "
                        "go on with --resume --retry-failed"
                    )
                )
        else:
            self._failures = 0

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._budget.stop()
