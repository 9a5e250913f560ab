"""int8 against float32: speed, agreement with float32 and loss in the three scores, in one run.

    python benchmarks/int8.py [--encoder minilm] [--data-dir DIR] [--texts 1500] [--rounds 5]

Both are the torch-free engine over distinct prompts of the paper, in alternation, with equal
threads; the yardstick is the float32 engine. Single prompts are timed beside batches.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from safe_embed.benchmark import load_suite, measure_agreement
from safe_embed.encoders import load_encoder
from safe_embed.encoders.export import open_export, write_export
from safe_embed.encoders.onnx_encoder import OnnxEncoder


def timed(function: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--data-dir", type=Path, help="the paper's files; fetched when left out")
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scores", action="store_true", help="measure the three scores too")
    arguments = parser.parse_args()
    suite = load_suite("paper", data_dir=arguments.data_dir)
    texts = sorted(set(suite.texts(suite.tasks_or_all(None))))
    picked = np.random.default_rng(0).permutation(len(texts))[: arguments.texts]
    texts = [texts[i] for i in picked]
    original = load_encoder(arguments.encoder)
    assert isinstance(original, OnnxEncoder)
    typical = load_suite().baseline
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    print(
        f"{len(texts)} prompts, {int(original.count_tokens(texts).sum())} tokens, "
        f"{os.cpu_count()} cores, VNNI {'yes' if 'vnni' in flags else 'not seen'}"
    )
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_export(original, directory, int8_texts=(*typical.head, *typical.tail))
        int8 = open_export(directory)
        batch: dict[str, list[tuple[float, float]]] = {"float32": [], "int8": []}
        single: dict[str, list[tuple[float, float]]] = {"float32": [], "int8": []}
        for _ in range(arguments.rounds):
            for name, encoder in (("float32", original), ("int8", int8)):
                batch[name].append(timed(lambda encoder=encoder: encoder.encode(texts)))
                single[name].append(
                    timed(lambda encoder=encoder: [encoder.encode([text]) for text in texts[:200]])
                )
        for kind, runs in (("all prompts", batch), ("200 prompts, one at a time", single)):
            for name, pairs in runs.items():
                wall, cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
                print(f"{kind}: {name:<8} wall {wall:6.2f} s  CPU {cpu:6.2f} s")
            ratios = [
                statistics.median(
                    a[i] / b[i] for a, b in zip(runs["float32"], runs["int8"], strict=True)
                )
                for i in (0, 1)
            ]
            print(f"{kind}: float32 / int8: {ratios[0]:.2f} by wall, {ratios[1]:.2f} by CPU")
        size = (directory / "model.onnx.data").stat().st_size / 1e6
        print(f"weights of the int8 export: {size:.0f} MB")
        if arguments.scores:
            print(measure_agreement(original, int8, suite))


if __name__ == "__main__":
    main()
