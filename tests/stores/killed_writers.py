"""Kills writers of a store at random points: `python -m tests.stores.killed_writers PATH KILLS`.

A program of its own, so that a writer is a fork of a small process without threads: it starts in
milliseconds. A store opened before the fork would be shared, so each process opens its own.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safe_embed.stores.base import Exemplar
from safe_embed.stores.sqlite import SqliteStore

ROWS_PER_ADD = 3
_DIMENSION = 8
_MOST_ACKNOWLEDGEMENTS = 3
_LONGEST_DELAY_S = 0.01  # about as long as an add, so that kills fall before, in and after a commit


def batch(number: int) -> tuple[list[Exemplar], NDArray[np.float32]]:
    """The exemplars and embeddings of one add, the same whenever they are asked for."""
    rows = np.random.default_rng(number).standard_normal((ROWS_PER_ADD, _DIMENSION))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    ids = [f"{number:06}-{row}" for row in range(ROWS_PER_ADD)]
    return [Exemplar(id=id_, text=f"prompt {id_}", label="unsafe") for id_ in ids], vectors


def write(path: Path, first: int, acknowledge: int) -> None:
    """Adds batches without end, and says so in a line after each."""
    store = SqliteStore.open(path)
    number = first
    while True:
        store.add(*batch(number))
        os.write(acknowledge, f"{number}\n".encode())
        number += 1


def main(path: Path, kills: int) -> None:
    """Prints the last acknowledged batch, and how often a kill left what."""
    rng = random.Random(0)  # noqa: S311 - no secret
    acknowledged = -1
    outcomes: Counter[str] = Counter()
    for kill in range(kills):
        with ExitStack() as readers:
            acknowledgements, writers_end = os.pipe()
            # The next add, which may be there unacknowledged, or again one that was acknowledged.
            first = max(0, acknowledged + rng.choice([0, 1]))
            writer = os.fork()
            if writer == 0:
                try:
                    write(path, first, writers_end)
                finally:
                    os._exit(1)
            os.close(writers_end)
            if kill % 2:  # with a reader the log lives on; without, the next process recovers it
                readers.enter_context(closing(SqliteStore.open(path))).exemplars()
            lines = readers.enter_context(os.fdopen(acknowledgements))
            said = [lines.readline() for _ in range(rng.randint(0, _MOST_ACKNOWLEDGEMENTS))]
            time.sleep(rng.random() * _LONGEST_DELAY_S)
            os.kill(writer, signal.SIGKILL)
            said += lines.readlines()
            _, status = os.waitpid(writer, 0)
            if os.WTERMSIG(status) != signal.SIGKILL:
                raise SystemExit("a writer ended by itself")
            acknowledged = max([acknowledged, *(int(line) for line in said if line.strip())])
        with closing(SqliteStore.open(path)) as store:
            left = len(store.exemplars()) - (acknowledged + 1) * ROWS_PER_ADD
        outcomes[{0: "none", ROWS_PER_ADD: "whole"}.get(left, f"{left} rows")] += 1
    json.dump({"acknowledged": acknowledged, "unacknowledged": outcomes}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
