"""Static encoders, against a computation of their formula from the tensors, token by token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from safe_embed.encoders import Encoder, load_encoder
from safe_embed.encoders.static_encoder import StaticEncoder, is_static
from safe_embed.errors import EncoderError, InputError, UnsupportedModelError
from tests.encoders.tiny_models import (
    BERT_MARKS,
    PROMPTS,
    unigram_tokenizer,
    wordpiece_tokenizer,
    write_model,
)

DIMENSION = 6
TEXTS = [text for text in PROMPTS if text]


def write_static(directory: Path, seed: int = 0, **tensors: Any) -> Path:
    """A model2vec folder with random vectors; that its tokenizer cuts and pads is not obeyed."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = wordpiece_tokenizer(BERT_MARKS)
    tokenizer.save(str(directory / "tokenizer.json"))
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((tokenizer.get_vocab_size(), DIMENSION)).astype(np.float32)
    save_file({"embeddings": matrix, **tensors}, directory / "model.safetensors")
    (directory / "config.json").write_text(
        json.dumps({"model_type": "model2vec", "normalize": True})
    )
    return directory


def by_hand(
    directory: Path,
    text: str,
    matrix: NDArray[Any],
    weights: NDArray[Any] | None = None,
    mapping: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """The formula, in float64 and one token after the other."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    total = np.zeros(matrix.shape[1])
    for token in tokenizer.encode(text, add_special_tokens=False).ids:
        if token == tokenizer.token_to_id("[UNK]"):
            continue
        row = token if mapping is None else int(mapping[token])
        total += matrix[row].astype(np.float64) * (1 if weights is None else float(weights[token]))
    length: NDArray[np.float64] = total / np.sqrt((total**2).sum())
    return length


def matrix_of(directory: Path) -> NDArray[np.float32]:
    from safetensors.numpy import load_file

    return load_file(directory / "model.safetensors")["embeddings"]


def test_plain_mean(tmp_path: Path):
    directory = write_static(tmp_path / "static")
    encoder = StaticEncoder(directory, published_average_similarity=0.5)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dimension) == ("static", DIMENSION)
    assert encoder.published_average_similarity == 0.5
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    expected = [by_hand(directory, text, matrix_of(directory)) for text in TEXTS]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert encoder.encode([]).shape == (0, DIMENSION)


def test_weights_and_mapping(tmp_path: Path):
    n_tokens = wordpiece_tokenizer(BERT_MARKS).get_vocab_size()
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.1, 2, n_tokens)
    mapping = rng.integers(0, 20, n_tokens)
    small = rng.standard_normal((20, DIMENSION)).astype(np.float16)
    directory = write_static(tmp_path, embeddings=small, weights=weights, mapping=mapping)
    expected = [by_hand(directory, text, small, weights, mapping) for text in TEXTS]
    np.testing.assert_allclose(StaticEncoder(directory).encode(TEXTS), expected, atol=1e-6)
    plain = StaticEncoder(write_static(tmp_path / "plain", embeddings=small, mapping=mapping))
    assert abs(plain.encode(TEXTS) - expected).max() > 0.01, "the weights count"


def test_integers_point_the_same_way(tmp_path: Path):
    n_tokens = wordpiece_tokenizer(BERT_MARKS).get_vocab_size()
    matrix = np.random.default_rng(2).integers(-127, 127, (n_tokens, DIMENSION), dtype=np.int8)
    directory = write_static(tmp_path, embeddings=matrix)
    expected = [by_hand(directory, text, matrix) for text in TEXTS]
    np.testing.assert_allclose(StaticEncoder(directory).encode(TEXTS), expected, atol=1e-6)


def test_no_token_is_padding_and_none_is_cut(tmp_path: Path):
    encoder = StaticEncoder(write_static(tmp_path))
    a, b = encoder.encode(["bake the cake", "bake the cake " * 9])
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_long_text_is_cut_as_model2vec_cuts_it(tmp_path: Path):
    encoder = StaticEncoder(write_static(tmp_path))
    start = "bake " * 512
    a, b, c = encoder.encode([start, start + "bomb " * 512, "bomb"])
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert abs(a - c).max() > 0.01


def test_config_may_set_the_length(tmp_path: Path):
    directory = write_static(tmp_path)
    prints = {StaticEncoder(directory).fingerprint}
    texts = ["an an in", "an", "an an in " * 400]
    (directory / "config.json").write_text('{"max_length": 2}')
    short = StaticEncoder(directory)
    a, b, c = short.encode(texts)
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(c, b, atol=1e-6)
    (directory / "config.json").write_text('{"max_length": null}')
    free = StaticEncoder(directory)
    a, b, c = free.encode(texts)
    np.testing.assert_allclose(a, c, atol=1e-5)
    assert abs(a - b).max() > 0.01
    assert len(prints | {short.fingerprint, free.fingerprint}) == 3
    for wrong in ('{"max_length": 0}', '{"max_length": "x"}', "[]", "{"):
        (directory / "config.json").write_text(wrong)
        with pytest.raises(EncoderError, match=r"config\.json: "):
            StaticEncoder(directory)


def test_a_unigram_tokenizer_names_its_unknown_token_by_index(tmp_path: Path):
    directory = write_static(tmp_path)
    unigram_tokenizer().save(str(directory / "tokenizer.json"))
    encoder = StaticEncoder(directory)
    a, b = encoder.encode(["bake", "bake 🙂"])
    for vector, text in ((a, "bake"), (b, "bake 🙂")):
        ids = unigram_tokenizer().encode(text, add_special_tokens=False).ids
        assert (3 in ids) == (text != "bake")
        total = matrix_of(directory)[[token for token in ids if token != 3]].sum(axis=0)
        np.testing.assert_allclose(vector, total / np.linalg.norm(total), atol=1e-6)


def test_unknown_tokens_are_left_out(tmp_path: Path):
    encoder = StaticEncoder(write_static(tmp_path))
    a, b = encoder.encode(["bake", "bake 🙂"])
    np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("text", ["", "  ", "🙂"])
def test_a_text_without_tokens_is_refused(tmp_path: Path, text: str):
    encoder = StaticEncoder(write_static(tmp_path))
    with pytest.raises(InputError, match=r"texts\[1\] has no token that .* knows"):
        encoder.encode(["a", text])


def test_fingerprint_changes_with_the_files(tmp_path: Path):
    prints = {StaticEncoder(write_static(tmp_path / str(s), seed=s)).fingerprint for s in (0, 1)}
    again = StaticEncoder(write_static(tmp_path / "again", seed=0)).fingerprint
    assert len(prints) == 2
    assert again in prints
    assert len(again) == 64


def test_a_directory_is_recognised(tmp_path: Path):
    directory = write_static(tmp_path / "static")
    assert is_static(directory)
    assert not is_static(write_model(tmp_path / "bert"))
    assert not is_static(tmp_path / "nothing")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    assert not is_static(tmp_path)
    assert isinstance(load_encoder(directory), StaticEncoder)
    assert load_encoder(directory, cache=True).encode(["bake"]).shape == (1, DIMENSION)


def test_files_that_do_not_belong_together(tmp_path: Path):
    small = np.ones((5, DIMENSION), dtype=np.float32)
    with pytest.raises(EncoderError, match="do they belong together"):
        StaticEncoder(write_static(tmp_path, embeddings=small))
    n_tokens = wordpiece_tokenizer(BERT_MARKS).get_vocab_size()
    with pytest.raises(EncoderError, match="mapping names row 5"):
        StaticEncoder(
            write_static(tmp_path, embeddings=small, mapping=np.full(n_tokens, 5, dtype=np.int64))
        )


def test_damaged_files_are_told(tmp_path: Path):
    directory = write_static(tmp_path)
    (directory / "tokenizer.json").write_text("{")
    with pytest.raises(EncoderError, match=r"tokenizer\.json: damaged"):
        StaticEncoder(directory)
    (directory / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match="is missing"):
        StaticEncoder(directory)
    save_file({"other": np.ones(3)}, directory / "model.safetensors")
    with pytest.raises(EncoderError, match="has no tensor embeddings"):
        StaticEncoder(directory)
    (directory / "model.safetensors").write_bytes(b"short")
    with pytest.raises(EncoderError, match="damaged"):
        StaticEncoder(directory)
    nan = np.full((300, DIMENSION), np.nan, dtype=np.float32)
    with pytest.raises(EncoderError, match="must be a finite matrix"):
        StaticEncoder(write_static(tmp_path, embeddings=nan))
    with pytest.raises(UnsupportedModelError, match="number format I16"):
        StaticEncoder(write_static(tmp_path, embeddings=np.ones((300, 2), dtype=np.int16)))
