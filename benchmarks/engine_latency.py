"""One prompt at a time: the encoder against a bare session on ready token ids; and the start.

    python benchmarks/engine_latency.py [--calls 300]

Needs the extra `torch` for the yardstick of the start.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import numpy as np

from safe_embed.encoders import catalogue, load_encoder, weights
from safe_embed.encoders.onnx_encoder import OnnxEncoder

ENGINE_START = """
from safe_embed.encoders import load_encoder
load_encoder("minilm").encode(["How do I kill a Python process?"])
"""
THEIR_START = """
from sentence_transformers import SentenceTransformer
SentenceTransformer({directory!r}, device="cpu").encode(["How do I kill a Python process?"])
"""


def times_ms(function: Callable[[], object], calls: int) -> list[float]:
    found = []
    for _ in range(calls):
        start = time.perf_counter()
        function()
        found.append(1000 * (time.perf_counter() - start))
    return sorted(found)


def start_s(program: str) -> float:
    found = []
    for _ in range(3):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    encoder = load_encoder("minilm", report=print)
    assert isinstance(encoder, OnnxEncoder)
    session = encoder._session  # noqa: SLF001 - the yardstick is the bare session
    for n_words in (13, 126, 254):
        text = "process " * n_words
        n_tokens = int(encoder.count_tokens([text])[0])
        ids = np.full((1, n_tokens), 2832, dtype=np.int64)
        bare, whole = [], []
        for _ in range(3):  # in turn, because the machine's speed drifts
            calls = arguments.calls // 3
            bare += times_ms(lambda ids=ids: session.run(None, {"input_ids": ids}), calls)
            whole += times_ms(lambda text=text: encoder.encode([text]), calls)
        bare.sort()
        whole.sort()
        median, p99 = statistics.median(whole), whole[int(0.99 * len(whole))]
        print(
            f"{n_tokens:>4} tokens: median {median:6.2f} ms, "
            f"{median / statistics.median(bare):.2f} x a bare session.run; "
            f"99th percentile {p99:6.2f} ms, {p99 / median:.2f} x the median"
        )

    texts = [f"how do i stop process number {i}" for i in range(400)]
    alone = time.perf_counter()
    for text in texts:
        encoder.encode([text])
    alone = time.perf_counter() - alone

    def half(part: list[str]) -> None:
        for text in part:
            encoder.encode([text])

    workers = [threading.Thread(target=half, args=(texts[i::2],)) for i in range(2)]
    both = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    both = time.perf_counter() - both
    print(
        f"two workers on one session take {both / alone:.2f} of one worker's time for 400 prompts"
    )

    directory = str(weights.fetch(catalogue.row("minilm")))
    ours, theirs = start_s(ENGINE_START), start_s(THEIR_START.format(directory=directory))
    print(
        f"process start to first embedding: {ours:.2f} s, sentence-transformers {theirs:.2f} s, "
        f"ratio {ours / theirs:.3f}"
    )


if __name__ == "__main__":
    main()
