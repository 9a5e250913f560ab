"""What every store promises, on each implementation."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from safe_embed.errors import InputError, SafeEmbedError, UnknownNameError
from safe_embed.stores.base import Diff, Exemplar, ExemplarStore, Filter
from safe_embed.stores.ids import content_id
from safe_embed.stores.memory import MemoryStore
from safe_embed.stores.sqlite import SqliteStore
from tests.stores.conftest import DIMENSION, FINGERPRINT, exemplar, unit_rows

NOTHING = Diff(added=(), removed=(), changed=())


def test_is_an_exemplar_store(store: ExemplarStore) -> None:
    assert isinstance(store, ExemplarStore)
    assert (store.fingerprint, store.dimension, store.version) == (FINGERPRINT, DIMENSION, 0)


def test_empty_store_answers(store: ExemplarStore) -> None:
    found = store.search(unit_rows(2), 3, label="unsafe")
    assert found.exemplars == ((), ())
    assert found.similarities.shape == (2, 3)
    assert np.isneginf(found.similarities).all()
    assert store.exemplars() == []
    assert store.history() == []
    assert store.embeddings([]).shape == (0, DIMENSION)
    assert store.diff(0, 0) == NOTHING
    assert store.revert(0) == 0
    assert store.add([], np.empty((0, DIMENSION), dtype=np.float32)) == 0
    assert store.remove([]) == 0
    assert store.search(unit_rows(2)[:0], 3, label="safe").similarities.shape == (0, 3)


def test_finds_the_nearest_of_one_label_first(store: ExemplarStore) -> None:
    rows = unit_rows(40)
    labels = ["unsafe" if i % 2 else "safe" for i in range(40)]
    store.add([exemplar(f"{i:02}", labels[i]) for i in range(40)], rows)  # type: ignore[arg-type]
    queries = unit_rows(5, seed=1)
    found = store.search(queries, 4, label="unsafe")
    odd = np.arange(1, 40, 2)
    for i, query in enumerate(queries):
        cosines = rows[odd] @ query
        best = odd[np.argsort(-cosines)[:4]]
        assert [one.id for one in found.exemplars[i]] == [f"{j:02}" for j in best]
        assert found.similarities[i] == pytest.approx(np.sort(cosines)[::-1][:4], abs=1e-6)
    assert found.similarities.dtype == np.float32


def test_fewer_than_k_leave_the_rest_at_minus_infinity(store: ExemplarStore) -> None:
    store.add([exemplar("a"), exemplar("b", "safe")], unit_rows(2))
    found = store.search(unit_rows(1), 3, label="safe")
    assert [one.id for one in found.exemplars[0]] == ["b"]
    assert np.isneginf(found.similarities[0, 1:]).all()


def test_equal_ones_come_in_the_order_of_their_ids(store: ExemplarStore) -> None:
    row = unit_rows(1)
    for name in "dbeca":
        store.add([exemplar(name)], row)
    store.add([exemplar(f"z{i}") for i in range(30)], unit_rows(30, seed=3))
    found = store.search(np.repeat(row, 2, axis=0), 3, label="unsafe")
    for i in range(2):
        assert [one.id for one in found.exemplars[i]] == ["a", "b", "c"]
        assert len(set(found.similarities[i].tolist())) == 1


def test_a_batch_and_single_queries_agree_bit_for_bit(store: ExemplarStore) -> None:
    store.add([exemplar(str(i)) for i in range(300)], unit_rows(300))
    queries = unit_rows(20, seed=1)
    batch = store.search(queries, 5, label="unsafe")
    for i in range(20):
        single = store.search(queries[i : i + 1], 5, label="unsafe")
        assert single.exemplars[0] == batch.exemplars[i]
        assert single.similarities[0].tobytes() == batch.similarities[i].tobytes()


def test_filters(store: ExemplarStore) -> None:
    store.add(
        [
            exemplar("a", category="violence", source="one", tenant="x"),
            exemplar("b", category="fraud", source="one"),
            exemplar("c", source="two", tenant="x"),
            exemplar("d", "safe", source="one"),
        ],
        unit_rows(4),
    )

    def found(**wanted: Sequence[str]) -> set[str]:
        only = Filter(**{name: frozenset(names) for name, names in wanted.items()})
        (answer,) = store.search(unit_rows(1), 9, label="unsafe", only=only).exemplars
        listed = [one.id for one in store.exemplars(label="unsafe", only=only)]
        assert listed == sorted(one.id for one in answer)
        return set(listed)

    assert found() == {"a", "b", "c"}
    assert found(categories=["violence"]) == {"a"}
    assert found(categories=["violence", "fraud"]) == {"a", "b"}
    assert found(sources=["one"]) == {"a", "b"}
    assert found(sources=["one"], tenants=["x"]) == {"a"}
    assert found(tenants=[""]) == {"b"}
    assert found(categories=[]) == set()
    assert found(sources=["nowhere"]) == set()


def test_muted_ones_are_listed_and_not_found(store: ExemplarStore) -> None:
    store.add([exemplar("a"), exemplar("b")], unit_rows(2))
    assert store.mute(["a"], note="a false alarm") == 2
    assert [one.muted for one in store.exemplars()] == [True, False]
    assert [one.id for one in store.search(unit_rows(1), 2, label="unsafe").exemplars[0]] == ["b"]
    assert store.mute(["a"]) == 2  # nothing to do
    assert store.stats().n_muted == 1
    assert store.mute(["a"], muted=False) == 3
    assert len(store.search(unit_rows(1), 2, label="unsafe").exemplars[0]) == 2
    assert [change.kind for change in store.history()] == ["add", "mute", "unmute"]


def test_adding_again_changes_nothing(store: ExemplarStore) -> None:
    many = [exemplar("a"), exemplar("b", category="fraud")]
    assert store.add(many, unit_rows(2)) == 1
    assert store.add(many, unit_rows(2, seed=9)) == 1
    assert store.embeddings(["b", "a"]) == pytest.approx(unit_rows(2)[::-1])
    assert store.add([many[0], exemplar("c")], unit_rows(2, seed=1)) == 2
    assert store.history()[-1].n == 1
    store.mute(["a"])
    assert store.add([many[0]], unit_rows(1)) == 3  # stays muted
    assert store.exemplars()[0].muted


@pytest.mark.parametrize("change", ["text", "label", "category", "source", "tenant"])
def test_an_id_with_other_contents_is_replaced(store: ExemplarStore, change: str) -> None:
    old = exemplar("a", category="fraud", source="s", tenant="t")
    fields = {"text": "another", "label": "safe", "category": None, "source": "", "tenant": ""}
    new = Exemplar(
        **{name: getattr(old, name) for name in ("id", *fields)} | {change: fields[change]}
    )
    store.add([old, exemplar("b")], unit_rows(2))
    assert store.add([new], unit_rows(1, seed=5)) == 2
    assert store.exemplars()[0] == new
    assert store.embeddings(["a"]) == pytest.approx(unit_rows(1, seed=5))
    assert store.diff(1, 2) == Diff(added=(), removed=(), changed=((old, new),))
    found = store.search(unit_rows(1, seed=5), 3, label=new.label).exemplars[0]
    assert found[0] == new
    assert len(found) == (1 if change == "label" else 2)


def test_history_diff_and_revert(store: ExemplarStore) -> None:
    before = datetime.now(UTC)
    a, b, c = exemplar("a"), exemplar("b"), exemplar("c", "safe")
    store.add([a, b], unit_rows(2), note="first")
    store.remove(["a"])
    store.add([c], unit_rows(1, seed=1))
    assert store.exemplars(version=1) == [a, b]
    assert store.exemplars(version=0) == []
    assert store.diff(1, 3) == Diff(added=(c,), removed=(a,), changed=())
    assert store.diff(3, 1) == Diff(added=(a,), removed=(c,), changed=())
    assert store.diff(2, 2) == NOTHING
    assert store.revert(1, note="back") == 4
    assert store.revert(1) == 4  # nothing to do
    assert store.exemplars() == [a, b]
    assert store.diff(1, 4) == NOTHING
    assert store.embeddings(["a", "b"]) == pytest.approx(unit_rows(2))
    assert len(store.search(unit_rows(1), 5, label="unsafe").exemplars[0]) == 2
    assert store.search(unit_rows(1), 5, label="safe").exemplars == ((),)
    changes = store.history()
    assert [(one.version, one.kind, one.n, one.note) for one in changes] == [
        (1, "add", 2, "first"),
        (2, "remove", 1, ""),
        (3, "add", 1, ""),
        (4, "revert", 2, "back"),
    ]
    assert before <= changes[0].time <= changes[-1].time <= datetime.now(UTC)


def test_revert_brings_back_an_embedding_too(store: ExemplarStore) -> None:
    store.add([exemplar("a")], unit_rows(1))
    store.remove(["a"])
    store.add([exemplar("a")], unit_rows(1, seed=1))
    assert store.diff(1, 3) == NOTHING
    assert store.revert(1) == 4
    assert store.embeddings(["a"]) == pytest.approx(unit_rows(1))


def test_reembed_replaces_all_vectors_and_keeps_the_past(
    store: MemoryStore | SqliteStore,
) -> None:
    store.add([exemplar("a"), exemplar("b"), exemplar("gone")], unit_rows(3))
    store.remove(["gone"])
    asked: list[str] = []

    def embed(texts: Sequence[str]) -> np.ndarray:
        asked.extend(texts)
        return unit_rows(len(asked), 4, seed=7)[-len(texts) :]

    assert store.reembed("e" * 64, embed, dimension=4, note="larger") == 3
    assert sorted(asked) == ["prompt a", "prompt b", "prompt gone"]
    assert (store.fingerprint, store.dimension) == ("e" * 64, 4)
    of_text = dict(zip(asked, unit_rows(3, 4, seed=7), strict=True))
    assert store.embeddings(["b"])[0] == pytest.approx(of_text["prompt b"])
    query = of_text["prompt b"][None]
    assert store.search(query, 1, label="unsafe").exemplars[0][0].id == "b"
    store.revert(1)
    assert store.embeddings(["gone"])[0] == pytest.approx(of_text["prompt gone"])
    assert (store.history()[2].kind, store.history()[2].n) == ("reembed", 2)


def test_reembed_that_fails_changes_nothing(store: MemoryStore | SqliteStore) -> None:
    store.add([exemplar("a")], unit_rows(1))
    with pytest.raises(InputError, match="length 1"):
        store.reembed("e" * 64, lambda texts: np.zeros((len(texts), 4), np.float32), dimension=4)
    assert (store.fingerprint, store.dimension, store.version) == (FINGERPRINT, DIMENSION, 1)
    assert store.embeddings(["a"]) == pytest.approx(unit_rows(1))


def test_reembed_of_an_empty_store(store: MemoryStore | SqliteStore) -> None:
    assert store.reembed("e" * 64, lambda texts: unit_rows(len(texts), 4), dimension=4) == 1
    assert store.add([exemplar("a")], unit_rows(1, 4)) == 2
    assert store.search(unit_rows(1, 4), 1, label="unsafe").exemplars[0][0].id == "a"


def test_stats_and_documents(store: ExemplarStore) -> None:
    store.add(
        [
            exemplar("a", category="fraud", source="s"),
            exemplar("b", category="fraud"),
            exemplar("c", "safe", source="s"),
        ],
        unit_rows(3),
    )
    store.mute(["a"])
    stats = store.stats()
    assert (stats.version, stats.n_unsafe, stats.n_safe, stats.n_muted) == (2, 2, 1, 1)
    assert (stats.by_category, stats.by_source) == ({"fraud": 2}, {"s": 2})
    assert (stats.fingerprint, stats.dimension) == (FINGERPRINT, DIMENSION)
    assert store.get_documents(["calibration"]) == {}
    store.set_documents({"calibration": "{}", "head": "1"})
    store.set_documents({"calibration": '{"é": "\0"}'})
    assert store.get_documents(["head", "none"]) == {"head": "1"}
    assert store.get_documents(["calibration"]) == {"calibration": '{"é": "\0"}'}
    assert store.version == 2


def test_documents_are_set_all_or_none(store: ExemplarStore) -> None:
    store.set_documents({"calibration": "old", "head": "old"})
    with pytest.raises(InputError, match="the document 'head' holds a lone surrogate"):
        store.set_documents({"calibration": "new", "head": "\ud800"})
    assert store.get_documents(["calibration", "head"]) == {"calibration": "old", "head": "old"}


def test_a_reader_never_sees_half_of_the_documents(store: ExemplarStore) -> None:
    keys = ["calibration", "head"]
    store.set_documents(dict.fromkeys(keys, "0"))
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(
            lambda: [store.set_documents(dict.fromkeys(keys, str(i))) for i in range(100)]
        )
        while not writing.done():
            assert len(set(store.get_documents(keys).values())) == 1
        writing.result()
    assert store.get_documents(keys) == dict.fromkeys(keys, "99")


def test_texts_of_all_kinds_come_back_as_they_were(store: ExemplarStore) -> None:
    texts = ["a\0b", "日本語 🎉", "'; DROP TABLE exemplars; --", "x" * 100_000, " spaces "]
    many = [exemplar(content_id(text, "safe"), "safe", text) for text in texts]
    store.add(many, unit_rows(len(many)))
    assert {one.text for one in store.exemplars()} == set(texts)
    assert {one.text for one in store.search(unit_rows(1), 9, label="safe").exemplars[0]} == set(
        texts
    )
    store.add([exemplar("é ' \" %"), exemplar("ß")], unit_rows(2))
    assert store.remove(["é ' \" %"]) == 3
    assert {one.id for one in store.exemplars(label="unsafe")} == {"ß"}


BAD_ROWS = [
    ("shape", unit_rows(2)),
    ("shape", unit_rows(1, 7)),
    ("shape", unit_rows(1)[0]),
    ("length 1", np.zeros((1, DIMENSION), np.float32)),
    ("length 1", np.full((1, DIMENSION), np.nan, np.float32)),
    ("length 1", unit_rows(1) * 2),
]


@pytest.mark.parametrize(("says", "rows"), BAD_ROWS)
def test_bad_embeddings_are_refused(store: ExemplarStore, says: str, rows: np.ndarray) -> None:
    with pytest.raises(InputError, match=says):
        store.add([exemplar("a")], rows)
    if len(rows) == 1:
        with pytest.raises(InputError, match=says):
            store.search(rows, 1, label="safe")
    assert store.version == 0


@pytest.mark.parametrize(
    ("says", "bad"),
    [
        ("id of", exemplar("")),
        ("NUL", exemplar("a\0b")),
        ("text of", exemplar("b", text=" ")),
        ("text of", exemplar("b", text="\ud800")),
        ("must be unsafe or safe", exemplar("b", label="harmful")),  # type: ignore[arg-type]
        ("surrogate", exemplar("b", source="\udfff")),
        ("surrogate", exemplar("b", category="\ud800")),
        ("there twice", exemplar("a")),
    ],
)
def test_bad_exemplars_are_refused_all_or_none(
    store: ExemplarStore, says: str, bad: Exemplar
) -> None:
    with pytest.raises(InputError, match=says):
        store.add([exemplar("a"), bad], unit_rows(2))
    assert store.exemplars() == []


def test_bad_calls_are_refused(store: ExemplarStore) -> None:
    with pytest.raises(UnknownNameError, match="the store is empty"):
        store.remove(["a"])
    store.add([exemplar(f"known-{i}") for i in range(9)], unit_rows(9))
    calls = [store.remove, store.mute, store.embeddings]
    for call in calls:
        with pytest.raises(UnknownNameError, match="did you mean known-1"):
            call(["known-3", "known-11"])
        with pytest.raises(UnknownNameError, match="The store has 9"):
            call(["zzz"])
    for twice in (store.remove, store.mute):
        with pytest.raises(InputError, match="there twice"):
            twice(["known-1", "known-1"])
    for version in (-1, 2):
        with pytest.raises(InputError, match="versions 0 to 1"):
            store.revert(version)
        with pytest.raises(InputError, match="versions 0 to 1"):
            store.diff(0, version)
        with pytest.raises(InputError, match="versions 0 to 1"):
            store.exemplars(version=version)
    with pytest.raises(InputError, match="k must be"):
        store.search(unit_rows(1), 0, label="safe")
    assert store.version == 1


def test_given_arrays_may_be_changed_afterwards(store: ExemplarStore) -> None:
    rows = unit_rows(1)
    store.add([exemplar("a")], rows)
    rows[:] = 0
    got = store.embeddings(["a"])
    assert got == pytest.approx(unit_rows(1))
    got[:] = 0  # writable, and nobody else's
    assert store.embeddings(["a"]) == pytest.approx(unit_rows(1))


def test_threads_may_share_a_store(store: ExemplarStore) -> None:
    rows = unit_rows(60)

    def work(i: int) -> int:
        store.add([exemplar(str(i))], rows[i : i + 1])
        (found,) = store.search(rows[i : i + 1], 1, label="unsafe").exemplars
        assert found[0].id == str(i)
        return i

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(work, range(60))) == list(range(60))
    assert store.version == 60
    assert len(store.exemplars()) == 60


def test_content_id_follows_from_text_and_label() -> None:
    assert content_id("a", "safe") == content_id("a", "safe")
    ids = {content_id(text, label) for text in "ab" for label in ("safe", "unsafe")}  # type: ignore[arg-type]
    assert len(ids) == 4
    assert all(len(one) == 32 for one in ids)
    with pytest.raises(InputError, match="character 2"):
        content_id("a\ud800", "safe")


class BothStores(RuleBasedStateMachine):
    """Does the same to both stores, and to a second view of the file, and compares."""

    ids = st.sampled_from([f"id-{i}" for i in range(6)])
    fields = st.tuples(
        ids,
        st.sampled_from(["unsafe", "safe"]),
        st.sampled_from([None, "fraud", "violence"]),
        st.sampled_from(["", "one"]),
        st.booleans(),
        st.integers(0, 3),
    )

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name) / "a.store"
        self.memory = MemoryStore(FINGERPRINT, DIMENSION)
        self.sqlite = SqliteStore.create(path, fingerprint=FINGERPRINT, dimension=DIMENSION)
        self.other = SqliteStore.open(path, FINGERPRINT)
        self.rows = unit_rows(4)

    def teardown(self) -> None:
        self.sqlite.close()
        self.other.close()
        self.directory.cleanup()

    def both(self, call: str, *given: object, **named: object) -> None:
        results = []
        for one in (self.memory, self.sqlite):
            try:
                results.append(getattr(one, call)(*given, **named))
            except SafeEmbedError as error:
                results.append(f"{type(error).__name__}: {error}"[:40])
        assert results[0] == results[1]

    @rule(many=st.lists(fields, max_size=4, unique_by=lambda one: one[0]))
    def add(self, many: list[tuple]) -> None:
        exemplars = [
            exemplar(id_, label, f"text {row}", category=category, source=source, muted=muted)
            for id_, label, category, source, muted, row in many
        ]
        rows = self.rows[[one[-1] for one in many]].reshape(-1, DIMENSION)
        self.both("add", exemplars, rows)

    @rule(some=st.lists(ids, max_size=3, unique=True))
    def remove(self, some: list[str]) -> None:
        self.both("remove", some)

    @rule(some=st.lists(ids, max_size=3, unique=True), muted=st.booleans())
    def mute(self, some: list[str], *, muted: bool) -> None:
        self.both("mute", some, muted=muted)

    @precondition(lambda self: self.memory.version)
    @rule(share=st.floats(0, 1))
    def revert(self, share: float) -> None:
        self.both("revert", round(share * self.memory.version), note="back")

    @rule(share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
    def diff(self, share: tuple[float, float]) -> None:
        old, new = (round(one * self.memory.version) for one in share)
        self.both("diff", old, new)
        self.both("exemplars", version=old)

    @rule(seed=st.integers(0, 3))
    def reembed(self, seed: int) -> None:
        table = {f"text {i}": row for i, row in enumerate(unit_rows(4, seed=seed))}
        for one in (self.memory, self.sqlite):
            one.reembed(
                FINGERPRINT, lambda texts: np.stack([table[t] for t in texts]), dimension=DIMENSION
            )
        self.other.close()
        self.other = SqliteStore.open(self.sqlite.path, FINGERPRINT)

    @invariant()
    def are_equal(self) -> None:
        queries = np.concatenate([self.rows[:2], unit_rows(2, seed=4)])
        only = Filter(categories=frozenset({"fraud"}))
        for one in (self.sqlite, self.other):
            assert one.version == self.memory.version
            assert one.stats() == self.memory.stats()
            assert one.exemplars() == self.memory.exemplars()
            assert [(c.kind, c.n) for c in one.history()] == [
                (c.kind, c.n) for c in self.memory.history()
            ]
            ids = [known.id for known in one.exemplars()]
            assert one.embeddings(ids).tobytes() == self.memory.embeddings(ids).tobytes()
            for label in ("unsafe", "safe"):
                for filter_ in (None, only):
                    mine = one.search(queries, 3, label=label, only=filter_)  # type: ignore[arg-type]
                    theirs = self.memory.search(queries, 3, label=label, only=filter_)  # type: ignore[arg-type]
                    assert mine.exemplars == theirs.exemplars
                    assert mine.similarities.tobytes() == theirs.similarities.tobytes()


BothStores.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
TestBothStores = BothStores.TestCase
