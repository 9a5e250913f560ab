"""How fast the embedding cache is written and read, beside two yardsticks of the same run.

    python benchmarks/embedding_cache.py [--texts 100000] [--dimension 384]

The yardsticks: the same array through `numpy.save` and `numpy.load`, which know no keys, no
checksums and no second process; and one SELECT per text on the file that the cache wrote. Reading
includes what `CachedEncoder.encode` does: checking and hashing the texts, and building the array.
Each line is the median of its repetitions; CPU time is that of the process, in all its threads.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.cache import CachedEncoder, EmbeddingCache, text_key

WRITES_OF = 1024  # texts per call, as callers chunk


class Prepared:
    """An encoder whose answers lie ready, so that only the cache is measured."""

    name = "prepared"
    fingerprint = "0" * 64
    published_average_similarity = None

    def __init__(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self.dimension = vectors.shape[1]
        self._rows = {text: i for i, text in enumerate(texts)}
        self._vectors = vectors

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors that were prepared for these texts."""
        rows = np.fromiter((self._rows[text] for text in texts), dtype=np.intp, count=len(texts))
        return np.asarray(self._vectors[rows])


def timed(function: Callable[[], object], repeat: int) -> tuple[float, float]:
    """Median wall and CPU seconds."""
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the embedding cache.")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((options.texts, options.dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [
        f"How would somebody make thing number {i} in {i % 97} steps?" for i in range(len(vectors))
    ]
    shuffled = [texts[i] for i in rng.permutation(len(texts))]

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        cache = EmbeddingCache(directory)
        encoder = CachedEncoder(Prepared(texts, vectors), cache)
        file = cache.path(encoder.fingerprint)
        array = directory / "vectors.npy"

        def write() -> None:
            file.unlink(missing_ok=True)
            for start in range(0, len(texts), WRITES_OF):
                encoder.encode(texts[start : start + WRITES_OF])

        def select_each() -> list[bytes]:
            with closing(sqlite3.connect(file)) as connection:
                query = "SELECT vector FROM embeddings WHERE key = ?"
                return [connection.execute(query, (text_key(t),)).fetchone()[0] for t in shuffled]

        saved = timed(lambda: np.save(array, vectors), options.repeat)
        written = timed(write, options.repeat)
        loaded = timed(lambda: np.load(array), options.repeat)
        selected = timed(select_each, options.repeat)
        read = timed(lambda: encoder.encode(texts), options.repeat)
        read_shuffled = timed(lambda: encoder.encode(shuffled), options.repeat)
        expected = Prepared(texts, vectors).encode(shuffled)
        assert np.array_equal(encoder.encode(shuffled), expected)
        one = timed(lambda: encoder.encode(texts[:1]), 50)

        size_mb = file.stat().st_size / 1e6
        print(
            f"{len(texts)} texts x {options.dimension} values; file {size_mb:.0f} MB, "
            f"the vectors alone {vectors.nbytes / 1e6:.0f} MB"
        )
        for label, (wall, cpu), (base, _), yardstick in [
            ("numpy.save", saved, saved, "itself"),
            (f"cache, written in calls of {WRITES_OF}", written, saved, "numpy.save"),
            ("numpy.load", loaded, loaded, "itself"),
            ("one SELECT per text, shuffled", selected, loaded, "numpy.load"),
            ("cache, read in order", read, loaded, "numpy.load"),
            ("cache, read shuffled", read_shuffled, loaded, "numpy.load"),
            ("cache, read shuffled", read_shuffled, selected, "one SELECT per text"),
        ]:
            print(
                f"{label:36} wall {wall:6.3f} s  cpu {cpu:6.3f} s  {wall / base:6.2f} x {yardstick}"
            )
        print(f"{'cache, one text':36} wall {one[0] * 1e3:6.3f} ms cpu {one[1] * 1e3:6.3f} ms")


if __name__ == "__main__":
    main()
