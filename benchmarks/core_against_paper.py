"""Does safe-embed-core order encoders as the paper's data does?

    python benchmarks/core_against_paper.py [--data-dir DIR] [--mpnet DIR]

Scores several encoders, and variants with layers left out, on both suites, each normalised by its
average similarity on the bundled baseline prompts, and prints Spearman's rank correlations.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from safe_embed.benchmark import Suite, evaluate, load_suite, measure_average_similarity
from safe_embed.encoders import Encoder, catalogue, load_encoder, weights
from safe_embed.encoders.export import write_export

SCORES = ("Challenging", "Contrast", "Taxonomy")


def variant(directory: Path, target: Path, *, layers: int, pooling: str = "mean") -> Path:
    """The same encoder with its first layers only, or another pooling."""
    target.mkdir()
    for path in directory.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(directory)
            copy.parent.mkdir(exist_ok=True)
            copy.symlink_to(path.resolve())
    config = json.loads((directory / "config.json").read_text())
    (target / "config.json").unlink()
    (target / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}))
    if pooling == "cls":
        (target / "1_Pooling" / "config.json").unlink()
        modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        (target / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    return target


def int8(encoder: Encoder, target: Path) -> Encoder:
    """The encoder with its dense layers in int8."""
    typical = load_suite().baseline
    target.mkdir()
    write_export(encoder, target, int8_texts=(*typical.head, *typical.tail))
    return load_encoder(target, cache=True)


def encoders(folder: Path, minilm: Path, mpnet: Path | None) -> Iterator[tuple[str, Encoder]]:
    yield "fake (word counts)", load_encoder("fake")
    for layers in (1, 3, 6):
        path = variant(minilm, folder / f"minilm-{layers}", layers=layers)
        yield f"minilm, {layers} of 6 layers", load_encoder(path, cache=True)
    yield "minilm, int8", int8(load_encoder(minilm), folder / "minilm-int8")
    cls = variant(minilm, folder / "minilm-cls", layers=6, pooling="cls")
    yield "minilm, cls pooling", load_encoder(cls, cache=True)
    if mpnet is not None:
        for layers in (2, 6, 12):
            path = variant(mpnet, folder / f"mpnet-{layers}", layers=layers)
            yield f"sbert-all, {layers} of 12 layers", load_encoder(path, cache=True)


def scores(encoder: Encoder, suite: Suite) -> list[float]:
    average = measure_average_similarity(encoder, suite.baseline).mean
    tasks = evaluate(encoder, suite, average_similarity=average, n_resamples=10).run.tasks
    assert tasks.safety_challenging is not None
    assert tasks.safety_contrast is not None
    assert tasks.safety_taxonomy is not None
    return [
        tasks.safety_challenging.normalized_similarity,
        tasks.safety_contrast.boundary_similarity,
        tasks.safety_taxonomy.categorical_purity,
    ]


def ranks(values: list[float]) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="the paper's files; fetched when left out")
    parser.add_argument("--mpnet", type=Path, help="directory of all-mpnet-base-v2")
    arguments = parser.parse_args()
    minilm = weights.fetch(catalogue.row("minilm"), report=print)
    core, paper = load_suite("bundled"), load_suite("paper", data_dir=arguments.data_dir)
    table: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("SAFE_EMBED_CACHE_DIR", folder)
        for name, encoder in encoders(Path(folder), minilm, arguments.mpnet):
            table[name] = [scores(encoder, paper), scores(encoder, core)]
            cells = "".join(f"{a:9.3f} {b:6.3f}" for a, b in zip(*table[name], strict=True))
            print(f"{name:<28}{cells}", flush=True)
    print("\ncolumns: paper and core of " + ", ".join(SCORES))
    for column, score in enumerate(SCORES):
        left = ranks([one[0][column] for one in table.values()])
        right = ranks([one[1][column] for one in table.values()])
        print(f"rank correlation of {score:<12} {np.corrcoef(left, right)[0, 1]:.2f}")


if __name__ == "__main__":
    main()
