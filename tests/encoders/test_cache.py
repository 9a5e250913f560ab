from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from safe_embed.encoders.base import Encoder
from safe_embed.encoders.cache import CachedEncoder, EmbeddingCache, text_key
from safe_embed.errors import EncoderError, InputError, StorageError
from safe_embed.files import cache_dir

DIMENSION = 6
FINGERPRINT = "f" * 64


class MoodyEncoder:
    """Gives other vectors each time it is asked, so a test sees whether it was asked again."""

    name = "moody"
    dimension = DIMENSION
    published_average_similarity = 0.25

    def __init__(self, fingerprint: str = FINGERPRINT, seed: int = 0) -> None:
        self.fingerprint = fingerprint
        self.calls: list[list[str]] = []
        self._rng = np.random.default_rng(seed)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        return self._rng.standard_normal((len(texts), DIMENSION), dtype=np.float32)


class ConstantEncoder(MoodyEncoder):
    """Gives what a test writes down, whatever it is asked."""

    def __init__(self, answer: NDArray[np.float32]) -> None:
        super().__init__()
        self.answer = answer

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        return self.answer


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "embeddings")


def stored_keys(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {key for (key,) in connection.execute("SELECT key FROM embeddings")}


# --- results


def test_wraps_without_changing_what_an_encoder_is(cache: EmbeddingCache) -> None:
    wrapped = CachedEncoder(MoodyEncoder(), cache)
    assert isinstance(wrapped, Encoder)
    assert (wrapped.name, wrapped.fingerprint) == ("moody", FINGERPRINT)
    assert (wrapped.dimension, wrapped.published_average_similarity) == (DIMENSION, 0.25)


def test_only_what_is_missing_is_encoded_and_in_one_call(cache: EmbeddingCache) -> None:
    inner = MoodyEncoder()
    encoder = CachedEncoder(inner, cache)
    first = encoder.encode(["a", "b", "a"])
    assert inner.calls == [["a", "b"]]
    second = encoder.encode(["c", "b", "d", "a", "c"])
    assert inner.calls == [["a", "b"], ["c", "d"]]
    assert np.array_equal(second[[3, 1]], first[:2])
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(second[0], second[4])
    assert not np.array_equal(second[0], second[2])


def test_later_process_gets_the_same_bits(cache: EmbeddingCache) -> None:
    first = CachedEncoder(MoodyEncoder(), cache).encode(["x", "y"])
    inner = MoodyEncoder(seed=1)
    again = CachedEncoder(inner, EmbeddingCache(cache.directory)).encode(["y", "x"])
    assert inner.calls == []
    assert again[::-1].tobytes() == first.tobytes()


def test_result_is_an_array_like_any_other(cache: EmbeddingCache) -> None:
    encoder = CachedEncoder(MoodyEncoder(), cache)
    results = [encoder.encode(["x", "y"]) for _ in range(2)]
    for result in results:
        assert result.dtype == np.float32
        assert result.flags.c_contiguous
        np.add(result, 1, out=result)  # writable, and the next result does not see it
    assert np.array_equal(encoder.encode(["x", "y"]) + 1, results[1])


def test_no_texts_give_no_rows_and_no_call(cache: EmbeddingCache) -> None:
    inner = MoodyEncoder()
    assert CachedEncoder(inner, cache).encode([]).shape == (0, DIMENSION)
    assert inner.calls == []
    assert not cache.path(FINGERPRINT).exists()


def test_encoders_do_not_see_each_other(cache: EmbeddingCache) -> None:
    one = CachedEncoder(MoodyEncoder("a" * 64), cache).encode(["x"])
    other = MoodyEncoder("b" * 64, seed=1)
    assert not np.array_equal(CachedEncoder(other, cache).encode(["x"]), one)
    assert other.calls == [["x"]]
    assert len(list(cache.directory.glob("*.sqlite"))) == 2


def test_more_texts_than_one_select_takes(cache: EmbeddingCache) -> None:
    texts = [str(i) for i in range(9_000)]
    encoder = CachedEncoder(MoodyEncoder(), cache)
    first = encoder.encode(texts)
    order = np.random.default_rng(0).permutation(len(texts))
    assert np.array_equal(encoder.encode([texts[i] for i in order]), first[order])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.text(max_size=20), max_size=8))
def test_any_text_is_found_again(cache: EmbeddingCache, texts: list[str]) -> None:
    inner = MoodyEncoder()
    encoder = CachedEncoder(inner, cache)
    first = encoder.encode(texts)
    inner.calls.clear()
    again = encoder.encode(texts)
    assert inner.calls == []
    assert again.tobytes() == first.tobytes()
    rows = dict(zip(texts, map(bytes, first), strict=True))
    assert [rows[text] for text in texts] == [bytes(row) for row in first]


@given(st.sets(st.text(max_size=6), max_size=30))
def test_different_texts_have_different_keys(texts: set[str]) -> None:
    # Neither case nor composition is folded: a tokenizer may tell such texts apart.
    assert len({text_key(text) for text in texts}) == len(texts)


def test_values_that_are_easily_lost_are_kept(cache: EmbeddingCache) -> None:
    tiny = np.array([[-0.0, 1e-45, np.float32(0.1), -3.4e38, 1, 0]], dtype=np.float32)
    first = CachedEncoder(ConstantEncoder(tiny), cache).encode(["x"])
    again = CachedEncoder(MoodyEncoder(), cache).encode(["x"])
    assert first.tobytes() == again.tobytes() == tiny.tobytes()


# --- what is refused


@pytest.mark.parametrize("text", ["\ud800", "half \udfff of it"])
def test_lone_surrogate_is_refused(cache: EmbeddingCache, text: str) -> None:
    inner = MoodyEncoder()
    with pytest.raises(InputError, match="surrogate"):
        CachedEncoder(inner, cache).encode(["fine", text])
    assert inner.calls == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_never_stored(
    cache: EmbeddingCache, value: np.float32
) -> None:
    answer = np.ones((3, DIMENSION), dtype=np.float32)
    answer[1, 4] = value
    with pytest.raises(EncoderError, match="embedding 1 of 3 holds NaN or infinity"):
        CachedEncoder(ConstantEncoder(answer), cache).encode(["a", "b", "c"])
    assert cache.lookup(FINGERPRINT, [text_key(text) for text in "abc"], DIMENSION) == {}


@pytest.mark.parametrize("shape", [(1, DIMENSION), (2, DIMENSION + 1), (2,), (3, DIMENSION)])
def test_wrong_shape_is_refused(cache: EmbeddingCache, shape: tuple[int, ...]) -> None:
    inner = ConstantEncoder(np.ones(shape, dtype=np.float32))
    with pytest.raises(EncoderError, match=r"moody must return an array of shape \(2, 6\)"):
        CachedEncoder(inner, cache).encode(["a", "b"])
    with pytest.raises(EncoderError, match="2 texts gave"):
        cache.store(FINGERPRINT, ["a", "b"], np.ones((3, DIMENSION), dtype=np.float32))


# --- damage

Filled = tuple[EmbeddingCache, list[str], dict[str, bytes]]


@pytest.fixture
def filled(cache: EmbeddingCache) -> Filled:
    texts = [f"text {i}" for i in range(40)]
    keys = [text_key(text) for text in texts]
    CachedEncoder(MoodyEncoder(), cache).encode(texts)
    return cache, texts, cache.lookup(FINGERPRINT, keys, DIMENSION)


@pytest.mark.parametrize("how", ["garbage", "header", "truncated", "half", "other table"])
def test_damaged_file_is_told_with_the_remedy(filled: Filled, how: str) -> None:
    cache, texts, _ = filled
    path = cache.path(FINGERPRINT)
    content = path.read_bytes()
    if how == "garbage":
        path.write_bytes(random.Random(0).randbytes(len(content)))  # noqa: S311
    elif how == "header":
        path.write_bytes(b"SQLITE" + content[6:])
    elif how == "truncated":
        path.write_bytes(content[:-100])
    elif how == "half":
        path.write_bytes(content[: len(content) // 2])
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("ALTER TABLE embeddings RENAME TO others")
    with pytest.raises(StorageError, match="is damaged") as caught:
        CachedEncoder(MoodyEncoder(), cache).encode(texts)
    message = str(caught.value)
    assert str(path) in message
    assert "delete the file" in message
    assert "--no-cache" in message
    assert "\n" not in message
    path.unlink()
    CachedEncoder(MoodyEncoder(), cache).encode(texts)


def test_flipped_byte_never_gives_a_wrong_vector(filled: Filled) -> None:
    cache, _, vectors = filled
    path = cache.path(FINGERPRINT)
    content = bytearray(path.read_bytes())
    rng = random.Random(1)  # noqa: S311
    first = content.index(next(iter(vectors.values())))
    places = [first, *rng.choices(range(100), k=40), *rng.choices(range(len(content)), k=300)]
    refused = 0
    for place in places:
        flip = 1 << rng.randrange(8)
        content[place] ^= flip
        path.write_bytes(content)
        try:
            found = cache.lookup(FINGERPRINT, list(vectors), DIMENSION)
        except StorageError:
            refused += 1
        else:
            assert found.items() <= vectors.items()
        content[place] ^= flip
    assert refused > 20


def test_vector_of_another_length_is_damage(filled: Filled) -> None:
    cache, _, vectors = filled
    with pytest.raises(StorageError, match="does not match its checksum"):
        cache.lookup(FINGERPRINT, list(vectors), DIMENSION + 1)


def test_file_of_a_later_version_is_left_alone(filled: Filled) -> None:
    cache, texts, _ = filled
    path = cache.path(FINGERPRINT)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StorageError, match="has format 2"):
        CachedEncoder(MoodyEncoder(), cache).encode(texts)


# --- places that cannot be written


def test_unwritable_place_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path / "file" / "cache"))
    inner = MoodyEncoder()
    with pytest.raises(StorageError, match=r"SAFE_EMBED_CACHE_DIR .* --no-cache") as caught:
        CachedEncoder(inner, EmbeddingCache(cache_dir() / "embeddings")).encode(["a"])
    assert "\n" not in str(caught.value)
    assert inner.calls == []


CHILD = """
import os, sys
from pathlib import Path
import numpy as np
from safe_embed.encoders.cache import CachedEncoder, EmbeddingCache
from safe_embed.errors import SafeEmbedError

class Encoder:
    name, fingerprint, dimension, published_average_similarity = "child", "f" * 64, 384, None
    def encode(self, texts):
        # The vector tells its text, so that a torn or swapped one is noticed.
        return np.array([[int(t) + i / 1024 for i in range(384)] for t in texts], dtype=np.float32)

encoder = CachedEncoder(Encoder(), EmbeddingCache(Path(sys.argv[1])))
def run():
    try:
        main()
    except SafeEmbedError as error:
        sys.exit(f"{type(error).__name__}: {error}")
"""


def child(main: str, directory: Path, *arguments: str) -> subprocess.Popen[str]:
    code = f"{CHILD}\ndef main():\n    {main.strip()}\nrun()\n"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, str(directory), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_true_vectors(directory: Path, numbers: Sequence[int]) -> set[int]:
    """Checks each stored vector of these texts, and returns which are stored."""
    keys = {text_key(str(number)): number for number in numbers}
    found = EmbeddingCache(directory).lookup(FINGERPRINT, list(keys), 384)
    for key, vector in found.items():
        expected = keys[key] + np.arange(384, dtype=np.float64) / 1024
        assert np.array_equal(np.frombuffer(vector, "<f4"), expected.astype(np.float32))
    return {keys[key] for key in found}


def test_full_disk_is_told_in_one_line_and_harms_nothing(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000)); "
    batches = "[encoder.encode([str(i) for i in range(s, s + 100)]) for s in range(0, 9000, 100)]"
    _, err = child(limit + batches, tmp_path).communicate(timeout=60)
    assert err.startswith("StorageError: the embedding cache")
    assert err.count("\n") == 1
    assert "--no-cache" in err
    kept = assert_true_vectors(tmp_path, range(9000))
    assert 100 <= len(kept) < 9000
    assert len(kept) % 100 == 0, "a batch is there as a whole or not at all"
    _, err = child(batches, tmp_path).communicate(timeout=60)
    assert err == ""
    assert len(assert_true_vectors(tmp_path, range(9000))) == 9000


def test_read_only_cache_serves_what_it_has() -> None:
    # Root writes everywhere, so the child gives its rights away.
    drop = "os.geteuid() == 0 and os.setuid(65534); "
    read = "encoder.encode(['1', '2']); print('served'); encoder.encode(['3'])"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "embeddings"
        assert child("encoder.encode(['1', '2'])", directory).communicate(timeout=60)[1] == ""
        Path(name).chmod(0o755)
        directory.chmod(0o555)
        out, err = child(drop + read, directory).communicate(timeout=60)
        directory.chmod(0o755)
    assert out == "served\n"
    assert err.startswith("StorageError: the embedding cache")
    assert err.count("\n") == 1


# --- other processes


def test_killed_writer_leaves_whole_batches(tmp_path: Path) -> None:
    forever = "[encoder.encode([str(i) for i in range(s, s + 50)]) for s in range(0, 10**6, 50)]"
    rng = random.Random(2)  # noqa: S311
    numbers = range(60_000)
    kept: set[int] = set()
    for _ in range(6):
        writer = child(forever, tmp_path)
        deadline = time.monotonic() + 30
        while len(assert_true_vectors(tmp_path, numbers)) <= len(kept):
            assert time.monotonic() < deadline
        time.sleep(rng.uniform(0, 0.1))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        now = assert_true_vectors(tmp_path, numbers)
        assert now > kept
        assert now == set(range(len(now)))
        assert len(now) % 50 == 0
        kept = now
    assert len(stored_keys(EmbeddingCache(tmp_path).path(FINGERPRINT))) == len(kept)


def test_processes_write_the_same_file_at_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    task = (
        "print(flush=True); exec('import time\\nwhile not os.path.exists(sys.argv[2]): "
        "time.sleep(0.001)'); "
        "[encoder.encode([str(i) for i in range(s, s + 40)]) for s in range(0, 800, 20)]"
    )
    writers = [child(task, tmp_path / "cache", str(gate)) for _ in range(4)]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    gate.touch()  # all of them create the file in the same moment
    assert [writer.communicate(timeout=60)[1] for writer in writers] == [""] * 4
    assert len(assert_true_vectors(tmp_path / "cache", range(820))) == 820


def test_threads_share_a_cache(cache: EmbeddingCache) -> None:
    encoder = CachedEncoder(MoodyEncoder(), cache)
    texts = [str(i) for i in range(100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(encoder.encode, [texts[i : i + 20] for i in range(81)]))
    inner = MoodyEncoder()
    CachedEncoder(inner, cache).encode(texts)
    assert inner.calls == []


def test_file_may_be_deleted_while_it_is_in_use(filled: Filled) -> None:
    cache, texts, _ = filled
    encoder = CachedEncoder(MoodyEncoder(), cache)
    for path in list(cache.directory.iterdir()):
        os.unlink(path)  # noqa: PTH108
    encoder.encode(texts)
    assert len(stored_keys(cache.path(FINGERPRINT))) == len(texts)
