"""What a verdict costs beside the encoder alone: one prompt, a batch, building, the cold start.

    python benchmarks/detector_speed.py [--encoder minilm] [--rounds 200]

The default index (some 8,800 exemplars) on SQLite. The yardstick is the same encoder on the same
prompts in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from safe_embed.datasets import load_core, prompts_of
from safe_embed.detection import Detector, default_detector
from safe_embed.encoders import load_encoder
from safe_embed.stores.sqlite import SqliteStore


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.encoder)
    detector = default_detector(encoder)
    prompts = [one.text for one in prompts_of(load_core("test"), "benign")]
    # longer prompts are encoded window by window too, which is more than the encoder alone does
    prompts = [text for text in prompts if len(text.split()) <= 40]
    texts = [*prompts, *(f"{text} please" for text in prompts)][:1000]
    detector.check_many(texts[:50])

    single: dict[str, list[float]] = {"encoder": [], "check": []}
    for text in prompts[: arguments.rounds]:
        single["encoder"].append(timed(lambda text=text: encoder.encode([text])))
        single["check"].append(timed(lambda text=text: detector.check(text)))
    # Where other work has the cores the fastest tenth says more than the median.
    for what, share in (("median", 0.5), ("fastest tenth", 0.1)):
        at = {name: sorted(values)[int(share * len(values))] for name, values in single.items()}
        print(
            f"one prompt, {what}: encoder {at['encoder'] * 1e3:.2f} ms, check "
            f"{at['check'] * 1e3:.2f} ms, ratio {at['check'] / at['encoder']:.2f}"
        )
    batch: dict[str, list[float]] = {"encoder": [], "check": []}
    for _ in range(3):
        batch["encoder"].append(timed(lambda: encoder.encode(texts)))
        batch["check"].append(timed(lambda: detector.check_many(texts)))
    alone, check = (statistics.median(batch[name]) for name in ("encoder", "check"))
    print(
        f"{len(texts)} prompts in one batch: encoder {alone:.2f} s, check_many {check:.2f} s, "
        f"rate {alone / check:.2f} of the encoder's"
    )
    exemplars = [
        one for part in ("taxonomy", "benign") for one in prompts_of(load_core("train"), part)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.sqlite"
        encode = timed(lambda: encoder.encode([one.text for one in exemplars]))
        store = SqliteStore.create(
            path, fingerprint=encoder.fingerprint, dimension=encoder.dimension
        )
        build = timed(lambda: Detector.build(exemplars, encoder, store=store))
        print(
            f"building {len(exemplars)} exemplars: encoder {encode:.2f} s, build {build:.2f} s, "
            f"rate {encode / build:.2f} of the encoder's"
        )
    command = [sys.executable, "-m", "safe_embed", "check", "How do I kill a Python process?"]
    cold = statistics.median(
        timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(5)
    )
    print(f"cold `safe-embed check`: {cold:.2f} s")


if __name__ == "__main__":
    main()
