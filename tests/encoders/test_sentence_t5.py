"""Sentence-T5 (encoder, mean pooling, dense layer) through sentence-transformers, against NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from safe_embed.encoders import load_encoder
from tests.encoders.tiny_models import unigram_tokenizer, write_json

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="needs the extra torch")
transformers = pytest.importorskip("transformers", reason="needs the extra torch")
pytest.importorskip("sentence_transformers", reason="needs the extra torch")

HIDDEN, HEADS, HEAD, LAYERS, INNER, OUT, BUCKETS = 24, 3, 8, 2, 40, 16, 32
TEXTS = ["how do i kill a process", "bake the cake", "a " * 60, "python in linux"]


def write_sentence_t5(directory: Path, feed_forward: str) -> Path:
    """A random T5 encoder with the modules of sentence-t5."""
    tokenizer = unigram_tokenizer()
    config = transformers.T5Config(
        vocab_size=tokenizer.get_vocab_size(),
        d_model=HIDDEN,
        d_kv=HEAD,
        d_ff=INNER,
        num_layers=LAYERS,
        num_heads=HEADS,
        relative_attention_num_buckets=BUCKETS,
        feed_forward_proj=feed_forward,
        initializer_factor=2.0,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    transformers.T5EncoderModel(config).save_pretrained(directory)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>"
    ).save_pretrained(directory)
    package = "sentence_transformers.models"
    names = ("Transformer", "Pooling", "Dense", "Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{name}" if i else "", "type": f"{package}.{name}"}
        for i, name in enumerate(names)
    ]
    write_json(directory / "modules.json", modules)
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": 256})
    pooling = {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}
    write_json(directory / "1_Pooling" / "config.json", pooling)
    dense = {
        "in_features": HIDDEN,
        "out_features": OUT,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    write_json(directory / "2_Dense" / "config.json", dense)
    weight = np.random.default_rng(0).standard_normal((OUT, HIDDEN)).astype(np.float32)
    save_file({"linear.weight": weight}, directory / "2_Dense" / "model.safetensors")
    return directory


def bucket(distance: int) -> int:
    """Bucket of a relative position: exact up to 7, then by its logarithm up to 128."""
    half, exact = BUCKETS // 2, BUCKETS // 4
    start, size = (half if distance > 0 else 0), abs(distance)
    if size < exact:
        return start + size
    large = exact + int(np.log(size / exact) / np.log(128 / exact) * (half - exact))
    return start + min(large, half - 1)


def slow_embedding(directory: Path, ids: list[int], feed_forward: str) -> NDArray[np.float64]:
    weights = load_file(directory / "model.safetensors")
    length = len(ids)

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6) * weights[f"{name}.weight"]

    def gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    table = weights["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    buckets = [[bucket(j - i) for j in range(length)] for i in range(length)]
    bias = table[buckets].transpose(2, 0, 1)
    x = weights["shared.weight"][ids].astype(np.float64)
    for layer in range(LAYERS):
        at, ff = (f"encoder.block.{layer}.layer.{i}" for i in (0, 1))
        h = norm(x, f"{at}.layer_norm")
        q, k, v = (
            (h @ weights[f"{at}.SelfAttention.{name}.weight"].T).reshape(length, HEADS, HEAD)
            for name in "qkv"
        )
        scores = np.einsum("qhd,khd->hqk", q, k) + bias  # T5 does not divide by sqrt(head)
        scores = np.exp(scores - scores.max(axis=2, keepdims=True))
        scores /= scores.sum(axis=2, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", scores, v).reshape(length, HEADS * HEAD)
        x = x + mixed @ weights[f"{at}.SelfAttention.o.weight"].T
        h = norm(x, f"{ff}.layer_norm")
        if feed_forward == "relu":
            inner = np.maximum(h @ weights[f"{ff}.DenseReluDense.wi.weight"].T, 0)
        else:
            gate, linear = (h @ weights[f"{ff}.DenseReluDense.wi_{i}.weight"].T for i in (0, 1))
            inner = gelu(gate) * linear
        x = x + inner @ weights[f"{ff}.DenseReluDense.wo.weight"].T
    pooled = norm(x, "encoder.final_layer_norm").mean(axis=0)
    dense = load_file(directory / "2_Dense" / "model.safetensors")["linear.weight"]
    vector = dense @ pooled
    return np.asarray(vector / np.linalg.norm(vector))


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_agrees_with_an_independent_forward(tmp_path: Path, feed_forward: str):
    directory = write_sentence_t5(tmp_path / "st5", feed_forward)
    encoder = load_encoder(directory)
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), OUT)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    for text, vector in zip(TEXTS, vectors, strict=True):
        ids = tokenizer(text.strip())["input_ids"]
        np.testing.assert_allclose(vector, slow_embedding(directory, ids, feed_forward), atol=1e-5)


def test_the_dense_layer_is_what_the_engine_lacks(tmp_path: Path):
    said: list[str] = []
    load_encoder(write_sentence_t5(tmp_path / "st5", "relu"), report=said.append)
    assert "Dense" in said[0]
    assert json.loads((tmp_path / "st5" / "modules.json").read_text())[2]["type"].endswith("Dense")
