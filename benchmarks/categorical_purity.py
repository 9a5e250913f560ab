"""Exact Categorical Purity against a plain exact faiss search of the same size.

    python benchmarks/categorical_purity.py [--sizes 10000 30000 100000] [--dimension 384]

Each size runs in two processes, one after the other, so that peak memory is each one's own.
Needs the extra `bench`. Prints wall time, process CPU time, peak memory, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

K = 10
N_CATEGORIES = 12


def measure(which: str, n: int, dimension: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    categories = [f"category {one}" for one in rng.integers(0, N_CATEGORIES, n)]
    if which == "faiss":
        import faiss

        wall, cpu = time.perf_counter(), time.process_time()
        index = faiss.IndexFlatIP(dimension)
        index.add(vectors)
        _, neighbors = index.search(vectors, K + 1)
        purity = float("nan")
    else:
        from safe_embed.metrics import prompt_purity
        from safe_embed.vectors import nearest_neighbors

        wall, cpu = time.perf_counter(), time.process_time()
        neighbors, _ = nearest_neighbors(vectors, K)
        purity = float(prompt_purity(neighbors, categories).mean())
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "purity": purity,
    }


def in_process(which: str, n: int, dimension: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", which, str(n), str(dimension)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        which, n, dimension = arguments.measure
        print(json.dumps(measure(which, int(n), int(dimension))))
        return
    print("         n   purity: wall    CPU    peak   faiss: wall    CPU    peak   ratio   purity")
    for n in arguments.sizes:
        theirs = in_process("faiss", n, arguments.dimension)
        ours = in_process("purity", n, arguments.dimension)
        print(
            f"{n:>10}      {ours['wall_s']:7.2f} s {ours['cpu_s']:6.1f} {ours['peak_mb']:5.0f} MB"
            f"     {theirs['wall_s']:7.2f} s {theirs['cpu_s']:6.1f} {theirs['peak_mb']:5.0f} MB"
            f"      {ours['wall_s'] / theirs['wall_s']:6.2f}     {ours['purity']:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
