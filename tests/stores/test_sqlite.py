"""The SQLite store as a file: other processes, crashes, damage, full disks."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from safe_embed.errors import InputError, StorageError
from safe_embed.stores import schema
from safe_embed.stores.sqlite import SqliteStore
from tests.conftest import REPOSITORY
from tests.stores import killed_writers
from tests.stores.conftest import DIMENSION, FINGERPRINT, exemplar, unit_rows


@pytest.fixture
def store(store_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore.create(store_path, fingerprint=FINGERPRINT, dimension=DIMENSION)
    yield made
    made.close()


def start(script: str, path: Path, *given: str) -> subprocess.Popen[str]:
    """Another process with `store` opened and the helpers at hand."""
    head = f"""
import sys, time, numpy as np
from safe_embed.stores.sqlite import SqliteStore
from tests.stores.conftest import *
store = SqliteStore.open({str(path)!r}, FINGERPRINT)
"""
    return subprocess.Popen(
        [sys.executable, "-c", head + script, *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def is_sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- what is kept


def test_a_store_opened_again_is_the_same(store: SqliteStore, store_path: Path) -> None:
    store.add([exemplar("a"), exemplar("b", "safe")], unit_rows(2))
    store.set_documents({"x": "y"})
    store.close()
    with closing(SqliteStore.open(store_path, FINGERPRINT)) as again:
        assert [one.id for one in again.exemplars()] == ["a", "b"]
        assert again.get_documents(["x"]) == {"x": "y"}
        assert again.search(unit_rows(1), 1, label="unsafe").exemplars[0][0].id == "a"
    assert not store_path.with_name("mine.store.search").exists()  # too small for one


def test_canaries_are_kept(store_path: Path) -> None:
    texts = [f"canary {i}" for i in range(32)]
    with closing(
        SqliteStore.create(
            store_path,
            fingerprint=FINGERPRINT,
            dimension=DIMENSION,
            canaries=(texts, unit_rows(32)),
        )
    ) as store:
        kept, vectors = store.canaries()
        assert kept == texts
        assert vectors.tobytes() == unit_rows(32).tobytes()
        store.reembed(
            "e" * 64,
            lambda given: unit_rows(len(given), 4),
            dimension=4,
            canaries=(texts[:2], unit_rows(2, 4)),
        )
        kept, vectors = store.canaries()
        assert kept == texts[:2]
        assert vectors.tobytes() == unit_rows(2, 4).tobytes()


def test_a_store_may_have_no_canaries(store: SqliteStore) -> None:
    texts, vectors = store.canaries()
    assert texts == []
    assert vectors.shape == (0, DIMENSION)


def test_bad_canaries_make_no_store(store_path: Path) -> None:
    with pytest.raises(InputError, match="shape"):
        SqliteStore.create(
            store_path,
            fingerprint=FINGERPRINT,
            dimension=DIMENSION,
            canaries=(["one"], unit_rows(2)),
        )
    assert not store_path.exists()


def test_equal_vectors_are_stored_once(store: SqliteStore, store_path: Path) -> None:
    store.add([exemplar(str(i)) for i in range(5)], np.repeat(unit_rows(1), 5, axis=0))
    store.mute(["1"])
    store.remove(["2"])
    store.revert(1)
    with closing(sqlite3.connect(store_path)) as connection:
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (1,)


def test_diff_reads_the_version_indexes(store: SqliteStore, store_path: Path) -> None:
    from safe_embed.stores import sqlite_versions

    store.add([exemplar("a")], unit_rows(1))
    with closing(sqlite3.connect(store_path)) as connection:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN {sqlite_versions._TOUCHED}", {"low": 0, "high": 1}
        ).fetchall()
    steps = " ".join(row[3] for row in plan)
    assert "USING COVERING INDEX started" in steps
    assert "INDEX ended" in steps
    assert "SCAN exemplars" not in steps


def test_the_file_is_durable_by_its_settings(store: SqliteStore) -> None:
    with store._file.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)


# --- other processes


def test_a_reader_sees_what_another_process_changed(store: SqliteStore, store_path: Path) -> None:
    store.add([exemplar("a")], unit_rows(1))
    query = unit_rows(1, seed=5)
    assert len(store.search(query, 3, label="unsafe").exemplars[0]) == 1
    other = start(
        """
store.add([exemplar("new")], unit_rows(1, seed=5)); print("added", flush=True); input()
store.mute(["a"]); print("muted", flush=True); input()
store.remove(["new"]); print("removed", flush=True)
""",
        store_path,
    )
    assert other.stdout is not None
    assert other.stdin is not None
    assert other.stdout.readline() == "added\n"
    assert [one.id for one in store.search(query, 3, label="unsafe").exemplars[0]] == ["new", "a"]
    other.stdin.write("\n")
    other.stdin.flush()
    assert other.stdout.readline() == "muted\n"
    assert [one.id for one in store.search(query, 3, label="unsafe").exemplars[0]] == ["new"]
    other.communicate("\n")
    assert store.search(query, 3, label="unsafe").exemplars == ((),)
    assert store.version == 4


def test_only_rows_of_newer_versions_are_read(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add([exemplar(str(i)) for i in range(50)], unit_rows(50))
    store.search(unit_rows(1), 1, label="unsafe")
    read: list[int] = []
    chunks = store._indexes._chunks

    def counted(rows, dimension):
        for chunk in chunks(rows, dimension):
            read.append(len(chunk.numbers))
            yield chunk

    monkeypatch.setattr(store._indexes, "_chunks", counted)
    store.add([exemplar("new")], unit_rows(1, seed=5))
    store.search(unit_rows(1), 1, label="unsafe")
    store.search(unit_rows(1), 1, label="safe")
    assert read == [1]


def test_two_writers_lose_nothing(store: SqliteStore, store_path: Path) -> None:
    script = """
name = sys.argv[1]
rows = unit_rows(40, seed=ord(name))
for i in range(40):
    store.add([exemplar(f"{name}{i}"), exemplar(f"shared{i}")], rows[[i, i]])
"""
    writers = [start(script, store_path, name) for name in "ab"]
    for one in writers:
        one.communicate()
    assert [one.returncode for one in writers] == [0, 0]
    assert len(store.exemplars()) == 120
    changes = store.history()
    assert [one.version for one in changes] == list(range(1, 81))
    assert sum(one.n for one in changes) == 120


def test_a_writer_that_waits_too_long_is_told(
    store: SqliteStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_BUSY_TIMEOUT_S", 0.05)
    with (
        closing(SqliteStore.open(store_path)) as second,
        closing(sqlite3.connect(store_path, isolation_level=None)) as holder,
    ):
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process has been writing") as caught:
            second.add([exemplar("a")], unit_rows(1))
        assert "\n" not in str(caught.value)
        assert second.exemplars() == []  # reading goes on
        holder.execute("ROLLBACK")
        assert second.add([exemplar("a")], unit_rows(1)) == 1


def test_100_kills_lose_no_acknowledged_row_and_double_none(
    store: SqliteStore, store_path: Path
) -> None:
    store.close()
    command = [sys.executable, "-m", "tests.stores.killed_writers", str(store_path), "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    told = json.loads(done.stdout)
    # An add that was cut off is there as a whole or not at all.
    assert sum(told["unacknowledged"].values()) == 100
    assert set(told["unacknowledged"]) <= {"none", "whole"}
    with closing(SqliteStore.open(store_path)) as again:
        again.add(*killed_writers.batch(told["acknowledged"] + 1))  # the last one is repeated
        batches = [killed_writers.batch(number) for number in range(told["acknowledged"] + 2)]
        wanted = [one for exemplars, _ in batches for one in exemplars]
        assert again.exemplars() == wanted
        vectors = again.embeddings([one.id for one in wanted])
        assert np.array_equal(vectors, np.concatenate([rows for _, rows in batches]))
        changes = again.history()
        assert [one.version for one in changes] == list(range(1, len(batches) + 1))
        assert {one.n for one in changes} == {killed_writers.ROWS_PER_ADD}
    with closing(sqlite3.connect(store_path)) as connection:
        rows = connection.execute("SELECT id, valid_from, valid_to FROM exemplars ORDER BY number")
        assert rows.fetchall() == [
            (one.id, version, None)
            for version, (exemplars, _) in enumerate(batches, 1)
            for one in exemplars
        ]
    assert is_sound(store_path)


def test_a_forked_process_may_use_the_store(store: SqliteStore) -> None:
    store.add([exemplar("a")], unit_rows(1))
    parents = store._file._connection
    child = os.fork()
    if child == 0:  # pragma: no cover - not in this process
        try:
            store.add([exemplar("child")], unit_rows(1, seed=1))
            own = store._file._connection is not parents
            os._exit(0 if own and len(store.exemplars()) == 2 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    store.add([exemplar("parent")], unit_rows(1, seed=2))
    assert [one.id for one in store.exemplars()] == ["a", "child", "parent"]
    assert len(store.search(unit_rows(1), 5, label="unsafe").exemplars[0]) == 3


def test_a_store_that_another_process_embedded_anew_is_told(
    store: SqliteStore, store_path: Path
) -> None:
    store.add([exemplar("a")], unit_rows(1))
    store.search(unit_rows(1), 1, label="unsafe")
    with closing(SqliteStore.open(store_path)) as other:
        other.reembed("e" * 64, lambda texts: unit_rows(len(texts), seed=3), dimension=DIMENSION)
    for call in (
        lambda: store.search(unit_rows(1), 1, label="unsafe"),
        lambda: store.search(unit_rows(1), 1, label="unsafe"),
        lambda: store.add([exemplar("b")], unit_rows(1)),
        store.exemplars,
    ):
        with pytest.raises(StorageError, match="embedded anew by another process; open it again"):
            call()


# --- files that cannot be used


def test_another_encoders_store_is_refused(store: SqliteStore, store_path: Path) -> None:
    with pytest.raises(StorageError, match=r"another encoder .*ffffffffffff.*eeeeeeeeeeee.*anew"):
        SqliteStore.open(store_path, "e" * 64)


def test_create_replaces_nothing(store: SqliteStore, store_path: Path) -> None:
    store.add([exemplar("a")], unit_rows(1))
    with pytest.raises(StorageError, match="exists already"):
        SqliteStore.create(store_path, fingerprint=FINGERPRINT, dimension=DIMENSION)
    assert len(store.exemplars()) == 1
    assert list(store_path.parent.glob(".mine*")) == []


def test_create_that_loses_a_race_replaces_nothing(
    store: SqliteStore, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)  # it was not there when we looked
    with pytest.raises(StorageError, match="exists already"):
        SqliteStore.create(store_path, fingerprint=FINGERPRINT, dimension=DIMENSION)


@pytest.mark.parametrize(
    ("says", "make"),
    [
        ("is a directory", lambda path: path.mkdir()),
        ("there is no store", lambda _: None),
        ("is no safe-embed store", lambda path: path.write_bytes(b"")),
        ("is no safe-embed store", lambda path: path.write_bytes(b"not a database " * 1000)),
        ("is no safe-embed store", lambda path: sqlite3.connect(path).execute("VACUUM").close()),
    ],
)
def test_what_is_no_store_is_told(says: str, make, tmp_path: Path) -> None:
    path = tmp_path / "it"
    make(path)
    with pytest.raises(StorageError, match=says) as caught:
        SqliteStore.open(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_told(store: SqliteStore, store_path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(store_path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    with pytest.raises(StorageError, match="format 2, and this safe-embed reads 1: upgrade"):
        SqliteStore.open(store_path)


def test_a_store_that_does_not_say_whose_is_damaged(store: SqliteStore, store_path: Path) -> None:
    store.close()
    with closing(sqlite3.connect(store_path)) as connection, connection:
        connection.execute("DELETE FROM store")
    with pytest.raises(StorageError, match="is damaged"):
        SqliteStore.open(store_path)


def test_a_damaged_page_is_told(store: SqliteStore, store_path: Path) -> None:
    for i in range(20):
        store.add([exemplar(f"{i}-{j}") for j in range(20)], unit_rows(20, seed=i))
    store.close()
    data = bytearray(store_path.read_bytes())
    for start_ in range(8192, len(data), 8192):
        data[start_ : start_ + 2000] = b"\xaa" * 2000
    store_path.write_bytes(data)
    with (
        pytest.raises(StorageError, match=r"damaged.*restore it from a copy"),
        closing(SqliteStore.open(store_path)) as again,
    ):
        again.exemplars()


def test_a_damaged_vector_is_told_and_not_searched(store: SqliteStore, store_path: Path) -> None:
    store.add([exemplar("a")], unit_rows(1))
    store.close()
    with closing(sqlite3.connect(store_path)) as connection, connection:
        connection.execute("UPDATE vectors SET vector = zeroblob(32)")
    with closing(SqliteStore.open(store_path)) as again:
        for _ in range(2):
            with pytest.raises(StorageError, match="is damaged"):
                again.search(unit_rows(1), 1, label="unsafe")
        with pytest.raises(StorageError, match="is damaged"):
            again.embeddings(["a"])


@pytest.mark.parametrize(
    ("change", "call"),
    [
        ("UPDATE vectors SET vector = 7", "search"),
        ("UPDATE vectors SET vector = 7", "embeddings"),
        ("UPDATE exemplars SET text = x'00'", "exemplars"),
        ("UPDATE exemplars SET label = 'harmful'", "exemplars"),
        ("UPDATE exemplars SET source = x'00'", "diff"),
        ("UPDATE versions SET time = 'soon'", "history"),
        ("UPDATE versions SET time = 4", "history"),
        ("UPDATE store SET fingerprint = x'00'", "open"),
        ("UPDATE store SET dimension = 'eight'", "open"),
        ("INSERT INTO store SELECT * FROM store", "open"),
    ],
)
def test_values_of_another_kind_are_damage(
    store: SqliteStore, store_path: Path, change: str, call: str
) -> None:
    """SQLite takes any value in any column, and has no checksums."""
    store.add([exemplar("a")], unit_rows(1))
    store.close()
    with closing(sqlite3.connect(store_path)) as connection, connection:
        connection.execute(change)
    calls = {
        "search": lambda again: again.search(unit_rows(1), 1, label="unsafe"),
        "embeddings": lambda again: again.embeddings(["a"]),
        "exemplars": lambda again: again.exemplars(),
        "diff": lambda again: again.diff(0, 1),
        "history": lambda again: again.history(),
        "open": lambda _: None,
    }
    with (
        pytest.raises(StorageError, match="is damaged"),
        closing(SqliteStore.open(store_path)) as again,
    ):
        calls[call](again)


def test_a_row_that_is_gone_is_damage(store: SqliteStore, store_path: Path) -> None:
    store.add([exemplar("a")], unit_rows(1))
    store._nearest(unit_rows(1), 1, "unsafe", None, exact=False)  # the search structure has it
    with closing(sqlite3.connect(store_path)) as connection, connection:
        connection.execute("DELETE FROM exemplars")
    with pytest.raises(StorageError, match="an exemplar that was there is missing"):
        store.search(unit_rows(1), 1, label="unsafe")


def test_a_closed_store_is_told(store: SqliteStore) -> None:
    store.close()
    with pytest.raises(StorageError, match="was closed"):
        store.search(unit_rows(1), 1, label="safe")
    store.close()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everything")
def test_a_read_only_store_can_be_read_by_its_rights(store: SqliteStore, store_path: Path) -> None:
    store.add([exemplar("a")], unit_rows(1))
    store.close()
    store_path.chmod(0o444)
    store_path.parent.chmod(0o555)
    try:
        reads_only(store_path)
    finally:
        store_path.parent.chmod(0o755)


@pytest.mark.parametrize("denied", [{"file"}, {"directory"}, {"file", "directory"}])
def test_a_read_only_store_can_be_read(
    store: SqliteStore, store_path: Path, monkeypatch: pytest.MonkeyPatch, denied: set[str]
) -> None:
    store.add([exemplar("a")], unit_rows(1))
    store.close()
    monkeypatch.setattr(
        schema.os,
        "access",
        lambda path, _: ("file" if path == store_path else "directory") not in denied,
    )
    reads_only(store_path)


def reads_only(path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        assert store.search(unit_rows(1), 1, label="unsafe").exemplars[0][0].id == "a"
        with pytest.raises(StorageError, match="may only be read; give this user the right"):
            store.add([exemplar("b")], unit_rows(1))
        assert [one.id for one in store.exemplars()] == ["a"]


def test_a_full_disk_is_told_and_undone(store: SqliteStore, store_path: Path) -> None:
    """A limit on the size of files stands in for the disk."""
    store.add([exemplar("a")], unit_rows(1))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    many = [exemplar(f"many-{i}", text="long " * 400) for i in range(2000)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limit[1]))
    try:
        with pytest.raises(StorageError, match="nothing of this change was kept") as caught:
            store.add(many, unit_rows(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "\n" not in str(caught.value)
    assert [one.id for one in store.exemplars()] == ["a"]
    assert store.add(many, unit_rows(2000)) == 2
    assert len(store.search(unit_rows(1), 3, label="unsafe").exemplars[0]) == 3
    store.close()
    assert is_sound(store_path)


def test_a_full_disk_while_a_store_is_made_leaves_nothing(store_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
    try:
        with pytest.raises(StorageError, match="cannot be used"):
            SqliteStore.create(store_path, fingerprint=FINGERPRINT, dimension=DIMENSION)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(store_path.parent.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"cannot be used.*check the path"):
        SqliteStore.create(tmp_path / "file" / "s", fingerprint=FINGERPRINT, dimension=DIMENSION)


def test_a_note_that_is_no_unicode_is_refused(store: SqliteStore) -> None:
    with pytest.raises(InputError, match="the note holds a lone surrogate"):
        store.add([exemplar("a")], unit_rows(1), note="\ud800")
    assert store.version == 0


def test_a_copy_of_the_file_is_a_store(store: SqliteStore, store_path: Path) -> None:
    store.add([exemplar("a")], unit_rows(1))
    store.close()  # the log is taken into the file
    copy = store_path.with_name("copy.store")
    shutil.copy(store_path, copy)
    with closing(SqliteStore.open(copy)) as again:
        assert len(again.exemplars()) == 1
