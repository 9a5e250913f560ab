"""OpenVINO against onnxruntime on the engine's graph, in one run: speed and exactness.

    python benchmarks/openvino_engine.py [--encoder minilm] [--data-dir DIR] [--texts 1500]

The same graph, the same batches of equal token length, equal threads; OpenVINO with float32 and
with its bfloat16 hint. The yardstick is onnxruntime, as the engine uses it. Needs `pip install
openvino`, which is no dependency of safe-embed (docs/adr/0004-onnxruntime-not-openvino.md).
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
import onnx
import onnxruntime
import openvino
from numpy.typing import NDArray

from safe_embed.benchmark import load_suite
from safe_embed.encoders import load_encoder
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.onnx_graph import build_graph

Run = Callable[[NDArray[np.int64]], NDArray[np.float32]]
TOKENS_PER_BATCH = 512


def with_onnxruntime(path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    return lambda ids: session.run(None, {"input_ids": ids})[0]


def with_openvino(path: Path, precision: str) -> Run:
    model = openvino.Core().compile_model(
        str(path),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": os.cpu_count(),
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    request = model.create_infer_request()
    return lambda ids: request.infer({"input_ids": ids})[model.output(0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--data-dir", type=Path, help="the paper's files; fetched when left out")
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    suite = load_suite("paper", data_dir=arguments.data_dir)
    texts = sorted(set(suite.texts(suite.tasks_or_all(None))))
    picked = np.random.default_rng(0).permutation(len(texts))[: arguments.texts]
    encoder = load_encoder(arguments.encoder)
    assert isinstance(encoder, OnnxEncoder)
    by_length: dict[int, list[NDArray[np.int64]]] = {}
    for index in picked:
        ids = encoder.token_ids(texts[index])
        by_length.setdefault(ids.shape[1], []).append(ids)
    batches = [
        np.concatenate(rows[start : start + max(1, TOKENS_PER_BATCH // length)])
        for length, rows in sorted(by_length.items())
        for start in range(0, len(rows), max(1, TOKENS_PER_BATCH // length))
    ]
    singles = [rows[0] for _, rows in sorted(by_length.items())][:40]
    print(f"{len(picked)} prompts, {os.cpu_count()} cores, OpenVINO {openvino.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save_model(build_graph(encoder.model), str(path))
        engines: dict[str, Run] = {"onnxruntime": with_onnxruntime(path)}
        for precision in ("f32", "bf16"):
            start = time.perf_counter()
            engines[f"openvino {precision}"] = with_openvino(path, precision)
            print(f"openvino {precision}: compiled in {time.perf_counter() - start:.2f} s")
        outputs = {name: np.concatenate([run(b) for b in batches]) for name, run in engines.items()}
        alone = {
            name: np.concatenate([run(row[None]) for batch in batches[:40] for row in batch])
            for name, run in engines.items()
        }
        walls: dict[tuple[str, str], list[float]] = {}
        cpus: dict[tuple[str, str], list[float]] = {}
        for _ in range(arguments.rounds):
            for kind, work in (("batches", batches), ("one at a time", singles * 5)):
                for name, run in engines.items():
                    wall, cpu = time.perf_counter(), time.process_time()
                    for ids in work:
                        run(ids)
                    walls.setdefault((kind, name), []).append(time.perf_counter() - wall)
                    cpus.setdefault((kind, name), []).append(time.process_time() - cpu)
    for (kind, name), values in walls.items():
        base = walls[(kind, "onnxruntime")]
        ratio = statistics.median(a / b for a, b in zip(base, values, strict=True))
        cpu = statistics.median(cpus[(kind, name)])
        print(
            f"{kind:<14} {name:<14} wall {statistics.median(values):6.2f} s  CPU {cpu:6.2f} s  "
            f"onnxruntime / this: {ratio:.2f}"
        )
    for name, embeddings in outputs.items():
        cosines = (embeddings * outputs["onnxruntime"]).sum(axis=1)
        same = np.abs(alone[name] - embeddings[: len(alone[name])]).max()
        print(
            f"{name:<14} cosine with onnxruntime: mean {cosines.mean():.6f} lowest "
            f"{cosines.min():.6f}; alone against in a batch: largest difference {same:.1e}"
        )


if __name__ == "__main__":
    main()
