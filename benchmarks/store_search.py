"""How fast a store finds neighbours, beside a plain numpy product of the same run.

    python benchmarks/store_search.py [--largest 1000000] [--dimension 384] [--threads 1]

Sizes grow tenfold from 1,000 to the largest (100,000 unless told), and a table shows how figures
grow with them.

Exemplars are clustered random vectors, half unsafe and half safe; the queries come from the same
clusters and are none of them. A search is of both labels, k = 20, one query at a time. Yardstick:
the product of the query with the same rows in one float32 matrix and `argpartition`, in alternation
with the store, so that each finds the other's data in the processor's caches and not its own.
Each size is built in a process of its own and searched in another, so memory and
the time to open are those of a start. 1,000,000 takes minutes, some 6 GB of disk and, for the
yardstick's matrix, 4 GB of memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

K = 20
CLUSTERS = 1000
ROWS_OF = 10_000  # rows in one add
QUERIES = 200


def clustered(n: int, dimension: int, seed: int) -> Any:
    import numpy as np

    centers = np.random.default_rng(99).standard_normal((CLUSTERS, dimension), dtype=np.float32)
    rng = np.random.default_rng(seed)
    rows = centers[rng.integers(CLUSTERS, size=n)]
    rows += 0.7 * rng.standard_normal((n, dimension), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def chunks(n: int, dimension: int) -> Any:
    for seed, start in enumerate(range(0, n, ROWS_OF)):
        yield start, clustered(min(ROWS_OF, n - start), dimension, seed)


def resident_mb() -> float:
    """Memory of this process now, mapped pages of files included."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def build(path: Path, n: int, dimension: int) -> dict[str, float]:
    from safe_embed.stores.base import Exemplar
    from safe_embed.stores.sqlite import SqliteStore

    store = SqliteStore.create(path, fingerprint="f", dimension=dimension, report=print)
    adding = 0.0
    for start, rows in chunks(n, dimension):
        many = [
            Exemplar(
                id=f"{i:09}",
                text=f"How would somebody make thing number {i} in {i % 97} steps?",
                label="unsafe" if i % 2 else "safe",
                source=f"source {i % 100}",
            )
            for i in range(start, start + len(rows))
        ]
        begin = time.perf_counter()
        store.add(many, rows)
        adding += time.perf_counter() - begin
    del many, rows
    before = resident_mb()
    begin = time.perf_counter()
    store.search(clustered(1, dimension, -1 % 2**32), K, label="safe")
    indexing = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    store.close()
    return {"add_s": adding, "index_s": indexing, "peak_mb": peak, "before_mb": before}


def search(path: Path, n: int, dimension: int) -> dict[str, float]:
    import numpy as np

    from safe_embed.stores.base import Filter
    from safe_embed.stores.sqlite import SqliteStore

    queries = clustered(QUERIES, dimension, 12345)
    others = clustered(QUERIES, dimension, 54321)  # so that what is timed was not found before
    SqliteStore.open(path).close()  # imports
    before = resident_mb()
    begin = time.perf_counter()
    store = SqliteStore.open(path)
    opened = time.perf_counter() - begin
    store.search(queries[:1], K, label="unsafe")
    first = time.perf_counter() - begin
    for label in ("unsafe", "safe"):
        for i in range(QUERIES):
            store.search(others[i : i + 1], K, label=label)
    used = resident_mb() - before

    rows = [part for _, part in chunks(n, dimension)]
    matrix = np.concatenate(rows)
    del rows
    labels = {"unsafe": np.arange(1, n, 2), "safe": np.arange(0, n, 2)}
    only = Filter(sources=frozenset({"source 3", "source 4"}))
    times: dict[str, list[float]] = {"store": [], "numpy": [], "exact": [], "filter": []}
    hits = nearest = total = 0
    for i in range(QUERIES):
        query = queries[i : i + 1]
        begin = time.perf_counter()
        found = {label: store.search(query, K, label=label) for label in labels}
        times["store"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        cosines = matrix @ query[0]
        np.argpartition(-cosines, K)[:K]
        times["numpy"].append(time.perf_counter() - begin)
        if i % 4 == 0:
            for name, given in (("exact", {"exact": True}), ("filter", {"only": only})):
                begin = time.perf_counter()
                for label in labels:
                    store.search(query, K, label=label, **given)
                times[name].append(time.perf_counter() - begin)
        for label, members in labels.items():
            own = cosines[members]
            best = members[np.argsort(-own)[:K]]
            ids = [int(one.id) for one in found[label].exemplars[0]]
            hits += len(set(ids) & set(best.tolist()))
            nearest += ids[0] == best[0]
            total += K
    begin = time.perf_counter()
    for label in labels:
        store.search(queries, K, label=label)
    batch = (time.perf_counter() - begin) / QUERIES
    medians = {name: statistics.median(values) for name, values in times.items()}
    return medians | {
        "batch": batch,
        "opened": opened,
        "first": first,
        "used_mb": used,
        "recall": hits / total,
        "nearest": nearest / (total / K),
    }


def row_of(n: int, figures: dict[str, float]) -> str:
    """A row of the table of growth."""
    ratio = figures["store"] / figures["numpy"]
    return (
        f"| {n:,} | {figures['store'] * 1e3:.2f} ms | {figures['batch'] * 1e3:.2f} ms "
        f"| {figures['numpy'] * 1e3:.2f} ms | {ratio:.3f} | {figures['recall']:.5f} "
        f"| {figures['used_mb'] / figures['vectors_mb']:.2f} x ({figures['used_mb']:.0f} MB) "
        f"| {figures['opened'] * 1e3:.0f} ms | {figures['first'] * 1e3:.0f} ms |"
    )


def measured(n: int, dimension: int) -> dict[str, float]:
    """Builds and searches a store of n exemplars, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    vectors_mb = n * dimension * 4 / 1e6
    with tempfile.TemporaryDirectory() as name:
        given = (Path(name) / "a.store", n, dimension)
        with context.Pool(1) as pool:
            built = pool.apply(build, given)
        with context.Pool(1) as pool:
            figures = pool.apply(search, given)
        disk = {file.suffix: file.stat().st_size / 1e6 for file in Path(name).iterdir()}
    print(f"{n} exemplars x {dimension}, the vectors alone {vectors_mb:.1f} MB")
    print(f"  added in {built['add_s']:.2f} s, indexed in {built['index_s']:.2f} s")
    print(
        f"  peak while building {built['peak_mb']:.0f} MB; opened and searched "
        f"{figures['used_mb']:.0f} MB, {figures['used_mb'] / vectors_mb:.2f} x the vectors"
    )
    print(f"  on disk: {', '.join(f'{k} {v:.1f} MB' for k, v in sorted(disk.items()))}")
    print(
        f"  open {figures['opened'] * 1e3:.1f} ms, with the first search "
        f"{figures['first'] * 1e3:.1f} ms"
    )
    for what in ("store", "exact", "filter", "batch", "numpy"):
        ratio = figures[what] / figures["numpy"]
        print(f"  {what:7} {figures[what] * 1e3:8.3f} ms a query  {ratio:6.3f} x numpy")
    print(
        f"  recall@{K} {figures['recall']:.5f}, nearest found {figures['nearest']:.5f}", flush=True
    )
    return figures | {"vectors_mb": vectors_mb}


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the search of a store.")
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(options.threads)

    sizes = [10**power for power in range(3, 10) if 10**power <= options.largest]
    rows = [row_of(n, measured(n, options.dimension)) for n in sizes]
    print("| exemplars | store | in a batch | numpy | ratio | recall@20 | memory | open | first |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
