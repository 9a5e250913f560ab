"""The engine from a directory to embeddings: like the reference, and whatever the batch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from safe_embed.encoders import onnx_session
from safe_embed.encoders.base import Encoder
from safe_embed.encoders.modeldir import ModelDir, read_model_dir
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.onnx_graph import build_graph
from safe_embed.errors import EncoderError, InputError
from safe_embed.files import cache_dir
from tests.encoders.tiny_models import (
    HIDDEN,
    PROMPTS,
    WORDS,
    write_model,
    write_transformers_model,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def model(directory: Path) -> ModelDir:
    return read_model_dir(directory)


@pytest.fixture
def encoder(model: ModelDir) -> OnnxEncoder:
    return OnnxEncoder(model, name="tiny", threads=1)


def some_texts(n: int, seed: int = 0) -> list[str]:
    """Texts of 0 to 30 words, many of the same length."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(0, 31))) for _ in range(n)]


def test_keeps_the_contract(encoder: OnnxEncoder) -> None:
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dimension) == ("tiny", HIDDEN)
    assert encoder.published_average_similarity is None
    embeddings = encoder.encode(PROMPTS)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (len(PROMPTS), HIDDEN)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert len({row.tobytes() for row in embeddings}) == len(PROMPTS)


def test_no_texts(encoder: OnnxEncoder) -> None:
    embeddings = encoder.encode([])
    assert embeddings.shape == (0, HIDDEN)
    assert embeddings.dtype == np.float32


@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_an_embedding_does_not_depend_on_its_batch(
    tmp_path: Path, model_type: str, pooling: Any
) -> None:
    model = read_model_dir(write_model(tmp_path, model_type), pooling=pooling)
    encoder = OnnxEncoder(model, name="tiny", threads=2)
    texts = some_texts(50)
    together = encoder.encode(texts)
    for text, embedding in zip(texts, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([text])[0], embedding)
    order = np.random.default_rng(2).permutation(len(texts))
    np.testing.assert_array_equal(encoder.encode([texts[i] for i in order]), together[order])
    other_options: list[dict[str, Any]] = [
        {"tokens_per_batch": 1},
        {"tokens_per_batch": 10_000},
        {"batch_size": 3},
    ]
    for options in other_options:
        other = OnnxEncoder(model, name="tiny", threads=1, **options)
        np.testing.assert_array_equal(other.encode(texts), together)


def test_batches_hold_one_length_and_no_more_than_allowed(model: ModelDir) -> None:
    encoder = OnnxEncoder(model, name="tiny", tokens_per_batch=20, batch_size=3)
    lengths = [5, 4, 5, 5, 5, 25, 4, 25, 5, 0]
    batches = list(encoder._batches(lengths))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len({lengths[row] for row in batch}) == 1
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= 20
        assert len(batch) <= 3


def test_order_and_duplicates_are_kept_and_computed_once(
    encoder: OnnxEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["bake a cake", "kill a process", "bake a cake", " bake a cake\n", "make a bomb"]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    rows: list[int] = []
    run = encoder._run

    def counted(batch: NDArray[np.int64]) -> NDArray[np.float32]:
        rows.append(len(batch))
        return run(batch)

    monkeypatch.setattr(encoder, "_run", counted)
    np.testing.assert_array_equal(encoder.encode(texts), alone)
    assert sum(rows) == 3
    assert (alone[0] != alone[1]).any()


def test_a_text_is_cut_at_max_tokens(model: ModelDir) -> None:
    encoder = OnnxEncoder(replace(model, max_tokens=10), name="tiny")
    first_eight, ninth = " ".join(WORDS[:8]), WORDS[8]
    cut, whole = encoder.encode([f"{first_eight} {ninth}", first_eight])
    np.testing.assert_array_equal(cut, whole)
    shorter = encoder.encode([" ".join(WORDS[:7])])[0]
    assert (shorter != whole).any()


def test_a_megabyte_of_text(encoder: OnnxEncoder) -> None:
    text = "kill the process " * 62_000
    beginning = "kill the process " * 80
    np.testing.assert_array_equal(*encoder.encode([text, beginning]))
    assert np.isfinite(encoder.encode(["x" * 1_000_000])).all()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("kill", "texts must be a list of strings, got one string"),
        (["ok", 3], r"texts\[1\] must be a string, got int"),
        ([None], r"texts\[0\] must be a string, got NoneType"),
        (["ok", "half \ud83d"], r"texts\[1\] has a lone surrogate, U\+D83D, at character 5"),
    ],
)
def test_texts_that_cannot_be_encoded(encoder: OnnxEncoder, texts: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder.encode(texts)


def test_lower_case_and_prompt(tmp_path: Path) -> None:
    model = read_model_dir(write_model(tmp_path, lower_case=False))
    plain = OnnxEncoder(model, name="tiny").encode(["KILL a process", "kill a process"])
    assert (plain[0] != plain[1]).any()
    lowered = OnnxEncoder(replace(model, lower_case=True), name="tiny")
    np.testing.assert_array_equal(lowered.encode(["KILL a process"])[0], plain[1])
    prompted = OnnxEncoder(replace(model, prompt="kill "), name="tiny")
    np.testing.assert_array_equal(prompted.encode(["a process"])[0], plain[1])


def test_threads_share_an_encoder(encoder: OnnxEncoder) -> None:
    lists = [some_texts(40, seed) for seed in range(6)]
    expected = [encoder.encode(texts) for texts in lists]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            for got, want in zip(pool.map(encoder.encode, lists), expected, strict=True):
                np.testing.assert_array_equal(got, want)


def test_fingerprint_changes_with_what_changes_an_embedding(
    tmp_path: Path, model: ModelDir
) -> None:
    fingerprint = OnnxEncoder(model, name="tiny").fingerprint
    assert len(fingerprint) == 64
    assert int(fingerprint, 16) >= 0
    same = OnnxEncoder(read_model_dir(model.path), name="other", batch_size=1, threads=2)
    assert same.fingerprint == fingerprint
    others = [
        replace(model, pooling="cls"),
        replace(model, max_tokens=12),
        replace(model, lower_case=True),
        replace(model, prompt="query: "),
        replace(model, tokenizer_digest="0" * 64),
        replace(model, config={**model.config, "layer_norm_eps": 1e-5}),
        read_model_dir(write_model(tmp_path, seed=1)),
    ]
    fingerprints = {OnnxEncoder(other, name="tiny").fingerprint for other in others}
    assert len(fingerprints | {fingerprint}) == len(others) + 1


def graph_directory() -> Path:
    (directory,) = (cache_dir() / "graphs").iterdir()
    return directory


def test_the_graph_is_built_once(model: ModelDir, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = OnnxEncoder(model, name="tiny").encode(PROMPTS)
    modes = {path.stat().st_mode & 0o777 for path in graph_directory().iterdir()}
    assert len(modes) == 1
    monkeypatch.setattr(onnx_session, "build_graph", None)
    np.testing.assert_array_equal(OnnxEncoder(model, name="tiny").encode(PROMPTS), expected)


def test_a_cached_graph_needs_no_onnx(model: ModelDir) -> None:
    OnnxEncoder(model, name="tiny")
    code = f"""
import sys
from pathlib import Path
from safe_embed.encoders.modeldir import read_model_dir
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.onnx_graph import build_graph
OnnxEncoder(read_model_dir(Path({str(model.path)!r})), name="tiny").encode(["a"])
print(sorted({{"onnx", "torch", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "noise": lambda content: b"\x99" * len(content),
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
}


@pytest.mark.parametrize("file", ["graph.onnx", "tensors.bin", "sha256.txt"])
@pytest.mark.parametrize("damage", ["absent", *DAMAGES])
def test_a_damaged_cached_graph_is_built_again(model: ModelDir, file: str, damage: str) -> None:
    expected = OnnxEncoder(model, name="tiny").encode(PROMPTS)
    path = graph_directory() / file
    content = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](content))
    np.testing.assert_array_equal(OnnxEncoder(model, name="tiny").encode(PROMPTS), expected)
    assert path.read_bytes() == content


def test_a_graph_that_never_loads_is_an_error(
    model: ModelDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    OnnxEncoder(model, name="tiny")
    builds: list[ModelDir] = []

    def counted(model: ModelDir) -> onnx.ModelProto:
        builds.append(model)
        return build_graph(model)

    monkeypatch.setattr(onnx_session, "build_graph", counted)

    def fail(*_: object) -> None:
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr(onnx_session, "_open", fail)
    with pytest.raises(EncoderError, match=r"cannot load the graph \(no such operator\)"):
        OnnxEncoder(model, name="tiny")
    assert len(builds) == 2  # once for the cache, once in memory


def test_a_damaged_graph_that_cannot_be_removed_is_passed_by(
    model: ModelDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = OnnxEncoder(model, name="tiny").encode(PROMPTS)
    path = graph_directory() / "tensors.bin"
    path.write_bytes(bytes(path.stat().st_size))
    monkeypatch.setattr(onnx_session, "shutil", SimpleNamespace(rmtree=lambda *_, **__: None))
    np.testing.assert_array_equal(OnnxEncoder(model, name="tiny").encode(PROMPTS), expected)


def test_without_a_cache_the_graph_is_built_in_memory(
    tmp_path: Path, model: ModelDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = OnnxEncoder(model, name="tiny").encode(PROMPTS)
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path / "file" / "cache"))
    np.testing.assert_array_equal(OnnxEncoder(model, name="tiny").encode(PROMPTS), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_damaged_tokenizer(tmp_path: Path) -> None:
    directory = write_model(tmp_path)
    (directory / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(EncoderError, match=r"tokenizer\.json: damaged"):
        OnnxEncoder(read_model_dir(directory), name="tiny")


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    def halve_words(tensors: dict[str, Any]) -> dict[str, Any]:
        name = "embeddings.word_embeddings.weight"
        return {**tensors, name: tensors[name][:50]}

    directory = write_model(tmp_path, change_tensors=halve_words, vocab_size=50)
    encoder = OnnxEncoder(read_model_dir(directory), name="tiny")
    with pytest.raises(EncoderError, match=r"do tokenizer\.json and config\.json belong together"):
        encoder.encode(["kill"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device must be one of cpu, cuda, got 'tpu'"),
        ({"tokens_per_batch": 0}, "tokens_per_batch must be 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"threads": -1}, "threads must be 1 or more, got -1"),
    ],
)
def test_options_that_cannot_be_used(
    model: ModelDir, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        OnnxEncoder(model, name="tiny", **options)


def test_a_device_that_is_not_there(model: ModelDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EncoderError, match="pip install onnxruntime-gpu"):
        OnnxEncoder(model, name="tiny", device="cuda")


@pytest.mark.torch
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "mpnet"])
def test_same_as_sentence_transformers(tmp_path: Path, model_type: str, pooling: str) -> None:
    sentence_transformers = pytest.importorskip(
        "sentence_transformers", reason="needs the extra torch"
    )
    directory = write_transformers_model(tmp_path, model_type, pooling=pooling)
    reference = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    texts = [text.strip() for text in PROMPTS + some_texts(10) + ["cake " * 300]]
    if model_type != "bert":
        texts.append("a <pad> written in the text")
    expected = reference.encode(texts, normalize_embeddings=True)
    embeddings = OnnxEncoder(read_model_dir(directory), name="tiny").encode(texts)
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("model_type", ["bert", "roberta", "mpnet"])
def test_pooler_is_that_of_transformers(tmp_path: Path, model_type: str) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    transformers = pytest.importorskip("transformers", reason="needs the extra torch")
    directory = write_transformers_model(tmp_path, model_type)
    encoder = OnnxEncoder(read_model_dir(directory, pooling="pooler"), name="tiny")
    reference = transformers.AutoModel.from_pretrained(directory).eval()
    for text in PROMPTS:
        ids = encoder._tokenizer.encode(text.strip()).ids
        with torch.no_grad():
            pooled = reference(torch.tensor([ids])).pooler_output[0].numpy()
        expected = pooled / np.linalg.norm(pooled)
        np.testing.assert_allclose(encoder.encode([text])[0], expected, atol=1e-6)
