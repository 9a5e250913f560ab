"""Batches of texts that are asked for side by side, and handed on as they come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_TEXTS", "Ask", "Embedded", "OnBatch", "StoppedError", "embed_batches", "split"]

MOST_TEXTS = 2048
MOST_BYTES = 300_000
"""What OpenAI takes in one request: texts, and tokens, of which each is one byte or more."""

_TICK_S = 0.2

Embedded: TypeAlias = tuple[list[str], NDArray[np.float32]]
"""n distinct texts and their embeddings, float32 of shape (n, d)."""
Ask: TypeAlias = Callable[[list[str], threading.Event], Iterator[Embedded]]
"""Embeds a batch, in one part or several; raises StoppedError soon after the event is set."""
OnBatch: TypeAlias = Callable[[list[str], NDArray[np.float32]], None]
"""Is called with n distinct texts and their embeddings, (n, d) float32 of length 1."""
_Result: TypeAlias = Embedded | BaseException | None


class StoppedError(Exception):
    """Somebody set the event that stops this call."""


def split(texts: list[str], most_texts: int) -> list[list[str]]:
    """Parts of at most so many texts and `MOST_BYTES`; a text that is longer goes alone."""
    batches: list[list[str]] = []
    room = 0
    for text in texts:
        size = len(text.encode())
        if not batches or len(batches[-1]) == most_texts or size > room:
            batches.append([])
            room = MOST_BYTES
        batches[-1].append(text)
        room -= size
    return batches


def embed_batches(
    batches: list[list[str]], ask: Ask, *, concurrency: int, on_batch: OnBatch | None
) -> dict[str, NDArray[np.float32]]:
    """Embeds batches with several threads.

    The threads are daemons and not those of a pool, which the interpreter waits for when it ends:
    so an interrupt leaves at once, whatever the server does.

    Args:
        batches: distinct texts.
        ask: embeds one batch; is called in several threads at once.
        concurrency: threads, at most.
        on_batch: gets each part as it comes, in the calling thread.

    Returns:
        Of each text, its embedding.

    Raises:
        BaseException: the first that `ask` raised. After it no batch begins, but those on their
            way are waited for and handed to `on_batch`: they are paid.
    """
    todo: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
    for batch in batches:
        todo.put(batch)
    results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
    stop = threading.Event()
    n_threads = min(concurrency, len(batches))
    try:
        for _ in range(n_threads):
            threading.Thread(target=_work, args=(todo, ask, results, stop), daemon=True).start()
        return _gather(results, n_threads, stop, on_batch)
    finally:
        stop.set()


def _work(
    todo: queue.SimpleQueue[list[str]],
    ask: Ask,
    results: queue.SimpleQueue[_Result],
    stop: threading.Event,
) -> None:
    """Asks for one batch after another; ends with a None, after an error if there was one."""
    try:
        while not stop.is_set():
            for embedded in ask(todo.get_nowait(), stop):
                results.put(embedded)
    except (queue.Empty, StoppedError):
        pass
    except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
        results.put(error)
    finally:
        results.put(None)


def _gather(
    results: queue.SimpleQueue[_Result],
    n_threads: int,
    stop: threading.Event,
    on_batch: OnBatch | None,
) -> dict[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = {}
    failure: BaseException | None = None
    while n_threads:
        try:
            result = results.get(timeout=_TICK_S)  # on Windows only a time-out lets Ctrl-C in
        except queue.Empty:
            continue
        if result is None:
            n_threads -= 1
        elif isinstance(result, BaseException):
            failure = failure or result
            stop.set()
        else:
            texts, vectors = result
            if on_batch is not None:
                on_batch(texts, vectors)
            found.update(zip(texts, vectors, strict=True))
    if failure is not None:
        raise failure
    return found
