"""The engine's batch speed against sentence-transformers, and against its own matrix products.

    python benchmarks/engine_batch.py [--data-dir DIR] [--texts 1500] [--rounds 3]

all-MiniLM-L6-v2 in float32 over distinct prompts of the paper, in alternation, with equal threads.
The second yardstick is onnxruntime's MatMul on the model's layer shapes at 256 rows: what is left
when everything but the dense layers is taken away. Needs the extra `torch`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sentence_transformers import SentenceTransformer

from safe_embed.benchmark import load_suite
from safe_embed.encoders import catalogue, weights
from safe_embed.encoders.modeldir import read_model_dir
from safe_embed.encoders.onnx_encoder import OnnxEncoder

ROWS = 256
HIDDEN, INNER, LAYERS = 384, 1536, 6
SHAPES = [(HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INNER), (INNER, HIDDEN)]


def timed(function: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def matrix_products() -> Callable[[], object]:
    """One pass of the dense layers of one layer over 256 rows."""
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32), f"w{i}")
        for i, shape in enumerate(SHAPES)
    ]
    inputs = {f"x{i}": shape[0] for i, shape in enumerate(SHAPES)}
    graph = helper.make_graph(
        [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"y{i}"]) for i in range(len(SHAPES))],
        "dense",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [ROWS, n]) for x, n in inputs.items()],
        [
            helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None)
            for i in range(len(SHAPES))
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    session = onnxruntime.InferenceSession(model.SerializeToString())
    values = {x: rng.standard_normal((ROWS, n), dtype=np.float32) for x, n in inputs.items()}
    return lambda: session.run(None, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="the paper's files; fetched when left out")
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    suite = load_suite("paper", data_dir=arguments.data_dir)
    texts = sorted(set(suite.texts(suite.tasks_or_all(None))))
    picked = np.random.default_rng(0).permutation(len(texts))[: arguments.texts]
    texts = [texts[i] for i in picked]
    directory = weights.fetch(catalogue.row("minilm"), report=print)
    engine = OnnxEncoder(read_model_dir(directory), name="minilm")
    reference = SentenceTransformer(str(directory), device="cpu")
    n_tokens = int(engine.count_tokens(texts).sum())
    products = matrix_products()
    passes = max(1, LAYERS * n_tokens // ROWS)
    print(f"{len(texts)} prompts, {n_tokens} tokens, {os.cpu_count()} cores")

    runs: dict[str, list[tuple[float, float]]] = {"theirs": [], "engine": [], "products": []}
    for _ in range(arguments.rounds):
        runs["theirs"].append(timed(lambda: reference.encode(texts, batch_size=32)))
        runs["engine"].append(timed(lambda: engine.encode(texts)))
        runs["products"].append(timed(lambda: [products() for _ in range(passes)]))
    for name, pairs in runs.items():
        wall, cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{name:<10} wall {wall:7.2f} s   CPU {cpu:7.2f} s   cores used {cpu / wall:.2f}")
    for name, other in (("theirs", "engine"), ("engine", "products")):
        ratios = [
            [a[i] / b[i] for a, b in zip(runs[name], runs[other], strict=True)] for i in (0, 1)
        ]
        wall, cpu = (statistics.median(one) for one in ratios)
        print(
            f"{name} / {other}: {wall:.2f} by wall, {cpu:.2f} by CPU (medians of {len(ratios[0])})"
        )
    flops = 2 * LAYERS * sum(a * b for a, b in SHAPES)
    print(f"{flops / 1e6:.1f} MFLOP a token in the dense layers")


if __name__ == "__main__":
    main()
