"""Large stores: the fast index, the search file beside the store, filters and muted rows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safe_embed.records import Label
from safe_embed.stores import blocks, sidecar, sqlite_index, sqlite_reader
from safe_embed.stores.base import Exemplar, Filter
from safe_embed.stores.blocks import Block
from safe_embed.stores.fast_search import FastIndex
from safe_embed.stores.row_data import Names, row_checksums
from safe_embed.stores.sqlite import SqliteStore
from tests.stores.conftest import FINGERPRINT, exemplar

D = 32
N = 3000  # of each label
LABELS: tuple[Label, ...] = ("unsafe", "safe")

needs_faiss = pytest.mark.skipif(
    not sqlite_index.can_index(D), reason="faiss is not installed: pip install faiss-cpu"
)


def clustered(n: int, dimension: int = D, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors in groups, as prompts are."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((50, dimension))
    rows = centers[rng.integers(50, size=n)] + 0.7 * rng.standard_normal((n, dimension))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def some_exemplars(n: int, label: Label) -> list[Exemplar]:
    return [
        exemplar(
            f"{label}-{i:05}",
            label,
            category=("fraud", "violence", None)[i % 3],
            source=f"source {i % 40}",
        )
        for i in range(n)
    ]


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a few thousand rows as large as tens of thousands are."""
    monkeypatch.setattr(sqlite_index, "EXACT_ROWS", 1000)


@pytest.fixture(params=[pytest.param("faiss", marks=needs_faiss), "exact"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "exact":
        for module in (sqlite_index, sidecar):
            monkeypatch.setattr(module, "can_index", lambda _: False)
    return str(request.param)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(engine: str, store_path: Path, told: list[str]) -> Iterator[SqliteStore]:
    made = SqliteStore.create(store_path, fingerprint=FINGERPRINT, dimension=D, report=told.append)
    for seed, label in enumerate(LABELS):
        made.add(some_exemplars(N, label), clustered(N, seed=seed))
    yield made
    made.close()


def found_ids(
    store: SqliteStore, queries: NDArray[np.float32], k: int = 20, label: Label = "unsafe", **given
) -> list[list[str]]:
    answer = store.search(queries, k, label=label, **given)
    assert (answer.similarities[:, 1:] <= answer.similarities[:, :-1]).all()
    return [[one.id for one in part] for part in answer.exemplars]


def recall(found: list[list[str]], true: list[list[str]]) -> float:
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, true, strict=True))
    return hits / sum(map(len, true))


def base_of(store: SqliteStore, label: Label = "unsafe") -> Block:
    return store._indexes.of(label)[0].base


def test_recall_is_what_is_promised(store: SqliteStore, engine: str, told: list[str]) -> None:
    queries = clustered(100, seed=7)
    for label in LABELS:
        found = found_ids(store, queries, label=label)
        assert (base_of(store, label).fast is not None) == (engine == "faiss")
        true = found_ids(store, queries, label=label, exact=True)
        assert recall(found, true) >= 0.999
        assert [one[0] for one in found] == [one[0] for one in true]
    rows = store.embeddings([one.id for one in store.exemplars(label="unsafe")])
    best = np.argsort(-(queries @ rows.T), axis=1)[:, :20]
    expected = [[f"unsafe-{i:05}" for i in row] for row in best]
    assert recall(found_ids(store, queries, exact=True), expected) == 1
    assert len([line for line in told if "faiss is not installed" in line]) == (engine == "exact")


@needs_faiss
def test_recall_at_the_width_of_minilm(store_path: Path) -> None:
    with closing(SqliteStore.create(store_path, fingerprint="f", dimension=384)) as wide:
        wide.add(some_exemplars(N, "safe"), clustered(N, 384))
        queries = clustered(100, 384, seed=7)
        found = found_ids(wide, queries, label="safe")
        assert base_of(wide, "safe").fast is not None
        assert recall(found, found_ids(wide, queries, label="safe", exact=True)) >= 0.999


def test_many_neighbors_are_exact(store: SqliteStore, engine: str) -> None:
    queries = clustered(3, seed=7)
    assert found_ids(store, queries, k=N + 5) == found_ids(store, queries, k=N + 5, exact=True)
    assert [len(one) for one in found_ids(store, queries, k=N + 5)] == [N] * 3


@pytest.mark.parametrize(
    "only",
    [
        Filter(categories=frozenset({"fraud"})),
        Filter(sources=frozenset({"source 3"})),
        Filter(sources=frozenset({f"source {i}" for i in range(8)})),
        Filter(categories=frozenset({"fraud"}), sources=frozenset({"source 3"})),
        Filter(tenants=frozenset({""})),
        Filter(tenants=frozenset({"nobody"})),
    ],
)
def test_filters_broad_and_narrow(store: SqliteStore, only: Filter) -> None:
    queries = clustered(50, seed=7)
    allowed = {one.id for one in store.exemplars(label="unsafe", only=only)}
    for _ in range(2):  # the second time from a copy
        found = found_ids(store, queries, only=only)
        assert {id_ for part in found for id_ in part} <= allowed
        assert [len(part) for part in found] == [min(20, len(allowed))] * 50
        true = found_ids(store, queries, only=only, exact=True)
        assert not allowed or recall(found, true) >= 0.999


def test_narrow_filters_keep_few_copies(store: SqliteStore) -> None:
    for i in range(6):
        found_ids(store, clustered(1, seed=7), only=Filter(sources=frozenset({f"source {i}"})))
    copies = base_of(store).copies
    assert len(copies.values()) == blocks._COPIES_KEPT
    assert sum(len(rows) for rows, _ in copies.values()) < 0.2 * N


@needs_faiss
def test_a_filter_far_from_the_query_is_answered_exactly(store_path: Path) -> None:
    """The nearest candidates all fail the filter, though it lets half of the rows through."""
    near, far = clustered(1500), -clustered(1500)
    query = near.mean(axis=0, keepdims=True)
    query /= np.linalg.norm(query)
    with closing(SqliteStore.create(store_path, fingerprint="f", dimension=D)) as store:
        store.add([exemplar(f"n{i}", source="near") for i in range(1500)], near)
        store.add([exemplar(f"f{i}", source="far") for i in range(1500)], far)
        only = Filter(sources=frozenset({"far"}))
        found = found_ids(store, query, only=only)
        assert base_of(store).fast is not None
        assert found == found_ids(store, query, only=only, exact=True)


def test_muted_and_removed_rows_of_the_base_are_not_found(store: SqliteStore) -> None:
    query = clustered(1, seed=7)
    (first,) = found_ids(store, query)
    store.mute(first[:5])
    store.remove(first[5:10])
    (second,) = found_ids(store, query)
    assert len(second) == 20
    assert second[:10] == first[10:]
    assert found_ids(store, query, exact=True) == [second]
    store.mute(first[:5], muted=False)
    (third,) = found_ids(store, query)
    assert third[:5] == first[:5]
    store.revert(2)
    assert found_ids(store, query) == [first]


def test_new_rows_are_found_before_the_next_build(store: SqliteStore) -> None:
    query = clustered(1, seed=7)
    (first,) = found_ids(store, query)
    base = base_of(store).matrix
    store.add([exemplar("new")], query)
    assert found_ids(store, query) == [["new", *first[:-1]]]
    assert base_of(store).matrix is base
    more = clustered(1100, seed=8)
    store.add([exemplar(f"more-{i}") for i in range(1100)], more)
    assert found_ids(store, query)[0][0] == "new"
    assert len(base_of(store).numbers) == N + 1101
    found = found_ids(store, more[:50], k=5)
    assert [one[0] for one in found] == [f"more-{i}" for i in range(50)]


def test_many_dead_rows_bring_a_new_build(store: SqliteStore) -> None:
    query = clustered(1, seed=7)
    found_ids(store, query)
    store.remove([f"unsafe-{i:05}" for i in range(N // 2)])
    assert found_ids(store, query) == found_ids(store, query, exact=True)
    assert len(base_of(store).numbers) == N // 2


# --- the search file


def sidecar_path(store_path: Path) -> Path:
    return store_path.with_name(f"{store_path.name}.search")


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Versions of which a search file was built."""
    done: list[int] = []
    build = sqlite_index.SearchIndexes._build

    def counted(self, connection, identity, newest, time):
        done.append(newest)
        build(self, connection, identity, newest, time)

    monkeypatch.setattr(sqlite_index.SearchIndexes, "_build", counted)
    return done


def test_the_search_file_is_used_again(
    store: SqliteStore, store_path: Path, builds: list[int]
) -> None:
    queries = clustered(5, seed=7)
    first = found_ids(store, queries)
    assert builds == [2]
    store.add([exemplar("new")], queries[:1])
    store.close()
    with closing(SqliteStore.open(store_path)) as again:
        found = found_ids(again, queries)
        assert found[0] == ["new", *first[0][:-1]]
        assert found[1:] == first[1:]
        only = Filter(categories=frozenset({"fraud"}))
        assert {one.id for one in again.exemplars(label="unsafe", only=only)} >= {
            id_ for part in found_ids(again, queries, only=only) for id_ in part
        }
    assert builds == [2]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def ruin_end(path: Path) -> None:
    flip(path, path.stat().st_size - 40)


def ruin_length(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def ruin_numbers(path: Path) -> None:
    flip(path, N * D * 4 + 10)


def ruin_codes(path: Path) -> None:
    flip(path, N * D * 4 + N * 8 + 12 * 100)  # the category of a row, which only a filter reads


def ruin_magic(path: Path) -> None:
    flip(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "ruin", [ruin_end, ruin_length, ruin_numbers, ruin_codes, ruin_magic, empty]
)
def test_a_search_file_that_does_not_fit_is_built_again(
    store: SqliteStore, store_path: Path, builds: list[int], ruin: Callable[[Path], None]
) -> None:
    queries = clustered(5, seed=7)
    first = found_ids(store, queries)
    store.close()
    ruin(sidecar_path(store_path))
    with closing(SqliteStore.open(store_path)) as again:
        assert found_ids(again, queries) == first
    assert builds == [2, 2]


@pytest.mark.parametrize("exact", [True, False])
def test_a_damaged_mapped_row_is_noticed_when_it_is_read(
    store: SqliteStore, store_path: Path, builds: list[int], *, exact: bool
) -> None:
    query = clustered(1, seed=7)
    first = found_ids(store, query, exact=exact)
    store.close()
    nearest = int(first[0][0].split("-")[1])
    flip(sidecar_path(store_path), nearest * D * 4 + 3)
    lines: list[str] = []
    with closing(SqliteStore.open(store_path, report=lines.append)) as again:
        assert found_ids(again, query, exact=exact) == first
    assert builds == [2, 2]
    assert "is damaged; it is built again" in " ".join(lines)


def test_the_file_of_another_past_is_not_taken(
    store: SqliteStore, store_path: Path, builds: list[int]
) -> None:
    """A restored copy may reach the same version number by other changes."""
    found_ids(store, clustered(1, seed=7))
    store.close()
    with closing(sqlite3.connect(store_path)) as connection, connection:
        connection.execute("UPDATE versions SET time = '2020-01-01T00:00:00+00:00'")
    with closing(SqliteStore.open(store_path)) as again:
        found_ids(again, clustered(1, seed=7))
    assert builds == [2, 2]


def test_embedding_anew_makes_the_file_useless(
    store: SqliteStore, store_path: Path, builds: list[int]
) -> None:
    query = clustered(1, seed=7)
    found_ids(store, query)
    asked: list[str] = []

    def embed(texts):
        asked.extend(texts)
        return clustered(len(asked), seed=11)[-len(texts) :]

    store.reembed("e" * 64, embed, dimension=D)
    rows = store.embeddings(["unsafe-00042"])
    assert found_ids(store, rows, k=1) == [["unsafe-00042"]]
    assert builds == [2, 3]


def test_where_the_file_cannot_be_written_the_index_stays_in_memory(
    store: SqliteStore, store_path: Path, told: list[str]
) -> None:
    sidecar_path(store_path).mkdir()  # so that nothing can be renamed to it
    queries = clustered(20, seed=7)
    found = found_ids(store, queries)
    assert recall(found, found_ids(store, queries, exact=True)) >= 0.999
    assert len([line for line in told if "stays in memory" in line]) == 1
    assert [one.name for one in store_path.parent.glob(".*.tmp")] == []


def test_row_checksums_tell_bits_words_and_rows_apart() -> None:
    for dimension in (6, 7):
        rows = clustered(4, dimension)
        numbers = np.arange(4)
        sums = row_checksums(rows, numbers)
        assert len(set(sums.tolist())) == 4
        for bit in range(dimension * 32):
            bad = rows.copy()
            bad.view(np.uint32)[1, bit // 32] ^= np.uint32(1 << bit % 32)
            assert (row_checksums(bad, numbers) != sums).tolist() == [False, True, False, False]
        swapped = np.roll(rows, 2, axis=1)
        assert (row_checksums(swapped, numbers) != sums).all()
        assert (row_checksums(rows[::-1].copy(), numbers) != sums).all()


def test_names_have_numbers() -> None:
    names = Names()
    assert [names.number(name) for name in ("a", None, "b", "a", None)] == [0, 1, 2, 0, 1]
    assert names.numbers(frozenset({"b", "unseen"})).tolist() == [2]


@needs_faiss
def test_the_fast_index_survives_its_bytes() -> None:
    rows = clustered(2000)
    index = FastIndex.train(rows)
    for start in range(0, 2000, 700):
        index.add(rows[start : start + 700])
    again = FastIndex.from_bytes(index.to_bytes())
    queries = clustered(5, seed=3)
    assert np.array_equal(index.candidates(queries, 50), again.candidates(queries, 50))
    assert sorted(again.candidates(queries[:1], 2100)[0])[:100] == [-1] * 100


def test_the_second_search_reads_all_exemplars_of_a_small_label(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    really = sqlite_reader.exemplars_by_number

    def counted(connection: sqlite3.Connection, numbers: set[int]) -> dict[int, Exemplar]:
        read.append(len(numbers))
        return really(connection, numbers)

    monkeypatch.setattr(sqlite_reader, "exemplars_by_number", counted)
    with closing(SqliteStore.create(store_path, fingerprint="f", dimension=D)) as small:
        small.add(some_exemplars(900, "safe"), clustered(900))
        queries = clustered(50, seed=7)
        for i in range(50):
            found_ids(small, queries[i : i + 1], label="safe")
        assert read[0] == 20
        assert sum(read) == 900
        assert len(read) == 2
        small.add([exemplar("new", "safe")], queries[:1])
        assert found_ids(small, queries[:1], k=1, label="safe") == [["new"]]
        assert sum(read) == 901
        monkeypatch.setattr(sqlite_reader, "_EXEMPLARS_KEPT", 900)
        small.add([exemplar("newer", "safe")], queries[1:2])
        assert found_ids(small, queries[1:2], k=1, label="safe") == [["newer"]]
        assert len(small._found) == 1


def test_a_large_label_reads_what_it_finds(store: SqliteStore) -> None:
    for i in range(3):
        found_ids(store, clustered(1, seed=i))
    assert len(store._found) <= 60


@needs_faiss
def test_more_rows_have_more_candidates(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    really = FastIndex.candidates

    def noted(index: FastIndex, queries: NDArray[np.float32], n: int) -> NDArray[np.int64]:
        asked.append(n)
        return really(index, queries, n)

    monkeypatch.setattr(FastIndex, "candidates", noted)
    with closing(SqliteStore.create(store_path, fingerprint="f", dimension=D)) as large:
        large.add(some_exemplars(N, "safe"), clustered(N))
        for rows_per_candidate, most in ((500, 2048), (6, 2048), (6, 300)):
            monkeypatch.setattr(blocks, "_ROWS_PER_CANDIDATE", rows_per_candidate)
            monkeypatch.setattr(blocks, "_MOST_FOR_ROWS", most)
            found_ids(large, clustered(1, seed=7), label="safe")
    assert asked == [200, 500, 300]
