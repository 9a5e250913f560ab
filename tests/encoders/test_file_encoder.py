"""Embeddings that were computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from safe_embed.encoders import Encoder, load_encoder
from safe_embed.encoders.cache import EmbeddingCache
from safe_embed.encoders.file_encoder import FileEncoder
from safe_embed.errors import DataError, InputError, StorageError
from safe_embed.files import sha256_of

TEXTS = ["How do I kill a process?", "how do I kill a process?", "", "東京\n🙂"]
VECTORS = np.array([[3, 4], [1, 0], [0, -2], [1, 1]], dtype=np.float64)
UNIT = np.array([[0.6, 0.8], [1, 0], [0, -1], [0.5**0.5, 0.5**0.5]])


def write(path: Path, texts: list[Any], vectors: list[Any], kind: str = "DOUBLE[]") -> Path:
    if path.suffix == ".npz":
        np.savez(path, texts=np.array(texts), embeddings=np.array(vectors))
        return path
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE t (text VARCHAR, embedding {kind}, other INTEGER)")
        rows = [(text, vector, 7) for text, vector in zip(texts, vectors, strict=True)]
        for row in rows:
            connection.execute("INSERT INTO t VALUES (?, ?, ?)", row)
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    return path


@pytest.fixture(params=["embeddings.parquet", "embeddings.npz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write(tmp_path / request.param, TEXTS, VECTORS.tolist())


def test_embeddings_are_looked_up_and_have_length_1(path: Path):
    encoder = load_encoder(f"file:{path}", cache=True)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dimension) == ("embeddings", 2)
    assert encoder.published_average_similarity is None
    assert encoder.fingerprint == sha256_of(path)
    vectors = encoder.encode([TEXTS[3], TEXTS[0], TEXTS[0], TEXTS[2], TEXTS[1]])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, UNIT[[3, 0, 0, 2, 1]], atol=1e-7)
    assert encoder.encode([]).shape == (0, 2)


def test_a_missing_text_is_named(path: Path):
    with pytest.raises(DataError, match=r"embedding of the text 'bake a cake' and of 1 more"):
        load_encoder(f"file:{path}").encode(["bake a cake", TEXTS[0], "soup", "soup"])
    with pytest.raises(DataError, match=r"of the text 'How do I kill a process\? '; texts are"):
        load_encoder(f"file:{path}").encode(["How do I kill a process? "])


@pytest.mark.parametrize("kind", ["FLOAT[]", "DOUBLE[]", "FLOAT[2]", "INTEGER[]"])
def test_any_list_of_numbers_will_do(tmp_path: Path, kind: str):
    path = write(tmp_path / "e.parquet", TEXTS, VECTORS.tolist(), kind)
    np.testing.assert_allclose(FileEncoder(path).encode(TEXTS), UNIT, atol=1e-7)


def test_many_rows_keep_their_order(tmp_path: Path):
    vectors = np.random.default_rng(0).standard_normal((20_000, 8)).astype(np.float32)
    path = tmp_path / "many.parquet"
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (text VARCHAR, embedding FLOAT[])")
        flat = {"v": vectors.ravel(), "row": np.repeat(np.arange(len(vectors)), 8)}
        connection.register("flat", flat)
        connection.execute(
            "INSERT INTO t SELECT 'text ' || row, list(v) FROM "
            "(SELECT row, v, row_number() OVER () AS n FROM flat ORDER BY n) GROUP BY row"
        )
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 2048)")
    got = FileEncoder(path).encode([f"text {row}" for row in range(len(vectors))])
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("ending", ["parquet", "npz"])
@pytest.mark.parametrize(
    ("texts", "vectors", "message"),
    [
        (["a", "b"], [[1, 2], [float("nan"), 1]], "row 2: embedding holds NaN"),
        (["a", "b"], [[1, 2], [float("inf"), 1]], "row 2: embedding holds NaN"),
        (["a", "b"], [[0, 0], [2, 1]], "row 1: .*all zeros"),
        (["a", "b", "a"], [[1, 0], [0, 1], [0, 1]], "row 3: the text 'a' has another .*record 1"),
    ],
)
def test_embeddings_that_cannot_be_used(
    tmp_path: Path, ending: str, texts: list[str], vectors: list[list[float]], message: str
):
    with pytest.raises(DataError, match=message):
        FileEncoder(write(tmp_path / f"e.{ending}", texts, vectors))


def test_a_text_may_be_there_twice_with_one_direction(tmp_path: Path):
    encoder = FileEncoder(write(tmp_path / "e.npz", ["a", "a"], [[1, 2], [2, 4]]))
    assert encoder.encode(["a"]).shape == (1, 2)


@pytest.mark.parametrize(
    ("texts", "vectors", "message"),
    [
        (["a", "b"], [[1, 2], [1, 2, 3]], "row 2: embedding has 3 values, and the first has 2"),
        (["a", "b"], [[1, 2], None], "row 2: embedding is missing"),
        (["a", "b"], [[], [1]], "row 1: embedding is missing or empty"),
        (["a", None], [[1, 2], [1, 2]], "row 2: text is missing"),
        (["a", "b"], [[1, 2], [1, None]], "row 2: embedding holds NaN"),
        ([], [], "has no embeddings"),
    ],
)
def test_parquet_rows_that_cannot_be_used(
    tmp_path: Path, texts: list[Any], vectors: list[Any], message: str
):
    with pytest.raises(DataError, match=message):
        FileEncoder(write(tmp_path / "e.parquet", texts, vectors))


def test_other_parquet_files(tmp_path: Path):
    path = tmp_path / "other.parquet"
    duckdb.sql("SELECT 'a' AS prompt, [1.5] AS embedding").write_parquet(str(path))
    with pytest.raises(DataError, match=r"must have the columns text .* has prompt \(VARCHAR\)"):
        FileEncoder(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        FileEncoder(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"texts": ["a"]}, "must have the arrays texts and embeddings, has texts"),
        ({"texts": ["a"], "embeddings": [1.0]}, r"must be numbers of shape \(1, d\)"),
        ({"texts": ["a", "b"], "embeddings": [[1.0]]}, r"must be numbers of shape \(2, d\)"),
        ({"texts": ["a"], "embeddings": [["x"]]}, "must be numbers"),
        ({"texts": [1], "embeddings": [[1.0]]}, "texts must be one row of strings"),
        (
            {"texts": np.array(["a"], dtype=object), "embeddings": [[1.0]]},
            "texts must be an array of strings",
        ),
    ],
    ids=str,
)
def test_other_npz_files(tmp_path: Path, arrays: dict[str, Any], message: str):
    np.savez(tmp_path / "e.npz", **{name: np.array(value) for name, value in arrays.items()})
    with pytest.raises(DataError, match=message):
        FileEncoder(tmp_path / "e.npz")


def test_no_npz_at_all(tmp_path: Path):
    (tmp_path / "e.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"not a readable \.npz file"):
        FileEncoder(tmp_path / "e.npz")


def test_files_that_are_not_read(tmp_path: Path):
    with pytest.raises(DataError, match="does not exist"):
        load_encoder(f"file:{tmp_path / 'none.npz'}")
    (tmp_path / "e.csv").write_text("text,embedding\n")
    with pytest.raises(DataError, match=r"\.parquet and \.npz files only"):
        load_encoder(f"file:{tmp_path / 'e.csv'}")
    with pytest.raises(InputError, match="takes no backend"):
        load_encoder(f"file:{tmp_path / 'e.csv'}", backend="onnx")
    with pytest.raises(InputError, match=r"is a file; .* are file:"):
        load_encoder(str(tmp_path / "e.csv"))


def test_nothing_is_cached(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "blocked").touch()
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path / "blocked"))
    assert load_encoder(f"file:{path}", cache=True).encode(TEXTS).shape == (4, 2)
    with pytest.raises(StorageError):  # as a cache would have done
        EmbeddingCache(tmp_path / "blocked").lookup("0" * 64, ["a"], 2)
