"""`run` on the paper's data against what the paper's scripts do, in one process.

Yardstick: sentence-transformers, one `encode` call for each column (2 + 6 + 1) at its default
batch size, a Python loop over pairs for the similarities, a full similarity matrix for purity.

    python benchmarks/run_paper.py [--data-dir DIR] [--encoder sbert-all] [--weights DIR]

Needs the extra `torch`. Prints wall time, process CPU time and the ratios.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from safe_embed.benchmark import Suite, evaluate, load_suite
from safe_embed.encoders import load_encoder


def timed(label: str, function: Callable[[], Any]) -> tuple[float, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{label:<58} {wall:8.2f} s   CPU {cpu:8.2f} s", flush=True)
    return wall, result


def papers_scripts(directory: Path, suite: Suite) -> dict[str, float]:
    """The three scripts' work, from texts to scores."""
    from sentence_transformers import SentenceTransformer, util

    model = SentenceTransformer(str(directory), device="cpu")
    unsafe = model.encode([pair.unsafe for pair in suite.pairs]).tolist()
    safe = model.encode([pair.safe for pair in suite.pairs]).tolist()
    challenging = [util.cos_sim(a, b).numpy()[0][0] for a, b in zip(unsafe, safe, strict=True)]

    originals = model.encode([one.original for one in suite.contrast_sets]).tolist()
    columns = [
        model.encode([one.edits[i] for one in suite.contrast_sets]).tolist() for i in range(5)
    ]
    largest = [
        max(util.cos_sim(original, column[row]).numpy()[0][0] for column in columns)
        for row, original in enumerate(originals)
    ]

    embedding = np.array(model.encode([prompt.text for prompt in suite.taxonomy]).tolist())
    categories = [prompt.category for prompt in suite.taxonomy]
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    matrix = unit @ unit.T
    purity: dict[str | None, list[float]] = {}
    for row, category in enumerate(categories):
        nearest = matrix[row].argsort()[::-1][1:11]
        purity.setdefault(category, []).append(
            np.mean([categories[j] == category for j in nearest])
        )
    return {
        "challenging cosine": float(np.mean(challenging)),
        "max cosine": float(np.mean(largest)),
        "purity": float(np.mean([np.mean(values) for values in purity.values()])),
    }


def papers_average_similarity(head: list[list[float]], tail: list[list[float]]) -> float:
    from sentence_transformers import util

    return float(np.mean([util.cos_sim(a, b).numpy()[0][0] for a in head for b in tail]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="the paper's files; fetched when left out")
    parser.add_argument("--encoder", default="sbert-all")
    parser.add_argument("--weights", type=Path, help="directory of the weights, else the cache")
    arguments = parser.parse_args()
    import torch

    name = str(arguments.weights or arguments.encoder)
    weights = arguments.weights
    if weights is None:
        from safe_embed.encoders import catalogue
        from safe_embed.encoders import weights as encoder_weights

        weights = encoder_weights.fetch(catalogue.row(arguments.encoder), report=print)
    suite = load_suite("paper", data_dir=arguments.data_dir)
    texts = list(suite.texts(suite.tasks_or_all(None)))
    print(
        f"{len(texts)} prompts, {len(set(texts))} distinct; torch {torch.get_num_threads()} threads"
    )

    with tempfile.TemporaryDirectory() as cache:
        os.environ["SAFE_EMBED_CACHE_DIR"] = cache
        load_encoder(str(weights))  # builds the graph, once in a machine's life

        def run() -> Any:
            return evaluate(load_encoder(str(weights), cache=True), suite).run

        def forget() -> None:
            shutil.rmtree(Path(cache) / "embeddings")

        # before and after the yardstick, because a shared machine's speed drifts
        before, first = timed("safe-embed run, cold (no embedding cached)", run)
        forget()
        yardstick, theirs = timed(
            "the paper's scripts' work", lambda: papers_scripts(Path(weights), suite)
        )
        after, _ = timed("safe-embed run, cold (no embedding cached)", run)
        again, second = timed("safe-embed run, again (all embeddings cached)", run)
    cold = (before + after) / 2
    assert first.tasks == second.tasks, "the cache changed a number"

    rng = np.random.default_rng(0)
    sample = rng.standard_normal((2, 500, first.encoder.dimension)).astype(np.float32)
    sample /= np.linalg.norm(sample, axis=2, keepdims=True)
    part = [sample[0, :100].tolist(), sample[1, :100].tolist()]
    loop, _ = timed(
        "average similarity, loop over 100 x 100 pairs", lambda: papers_average_similarity(*part)
    )
    from safe_embed.metrics import average_similarity

    matrix, _ = timed(
        "average similarity, 500 x 500 pairs with its interval",
        lambda: average_similarity(sample[0], sample[1]),
    )
    print(f"\nratios for {name} against the paper's scripts' work")
    print(f"  run, cold            {cold / yardstick:6.3f}   (mean of before and after)")
    print(f"  run, from the cache  {again / yardstick:6.3f}")
    print(f"  average similarity   {matrix / (25 * loop):6.5f}   (their loop scaled to 500 x 500)")
    tasks = first.tasks
    ours = {
        "challenging cosine": tasks.safety_challenging.cosine,
        "max cosine": tasks.safety_contrast.max_cosine,
        "purity": tasks.safety_taxonomy.categorical_purity,
    }
    print("\nscore                 safe-embed      theirs")
    for score, value in ours.items():
        print(f"  {score:<20}{value:.6f}    {theirs[score]:.6f}")


if __name__ == "__main__":
    main()
