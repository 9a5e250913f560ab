"""The graph against the formulas of BERT and MPNet, written again in plain numpy."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from safe_embed.encoders.modeldir import read_model_dir
from safe_embed.encoders.onnx_graph import build_graph
from safe_embed.encoders.onnx_graph.transformer import _buckets
from safe_embed.errors import EncoderError, UnsupportedModelError
from tests.encoders.tiny_models import (
    HEADS,
    HIDDEN,
    LAYERS,
    POSITIONS,
    Tensors,
    write_json,
    write_model,
)

Floats = NDArray[np.float64]
IDS = np.array([[2, 40, 17, 99, 3, 60, 61], [2, 5, 6, 7, 8, 9, 3]], dtype=np.int64)
LONG_IDS = np.random.default_rng(1).integers(5, 200, size=(1, 180), dtype=np.int64)


def run(graph: onnx.ModelProto, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    embeddings: NDArray[np.float32] = session.run(None, {"input_ids": ids})[0]
    return embeddings


class Reference:
    """One text at a time, one head at a time, in float64."""

    def __init__(self, directory: Path) -> None:
        self.config = json.loads((directory / "config.json").read_text("utf-8"))
        self.tensors: dict[str, Floats] = {
            name: tensor.astype(np.float64)
            for name, tensor in load_file(directory / "model.safetensors").items()
        }
        self.is_mpnet = self.config["model_type"] == "mpnet"

    def embed(self, ids: NDArray[np.int64], pooling: str) -> Floats:
        x = self.tensors["embeddings.word_embeddings.weight"][ids]
        x = x + self.tensors["embeddings.position_embeddings.weight"][self.positions(ids)]
        if not self.is_mpnet:
            x = x + self.tensors["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for layer in range(LAYERS):
            x = self.layer(x, f"encoder.layer.{layer}")
        vector = {
            "mean": lambda: x.mean(axis=0),
            "cls": lambda: x[0],
            "pooler": lambda: np.tanh(self.dense(x[:1], "pooler.dense")[0]),
        }[pooling]()
        unit: Floats = vector / np.linalg.norm(vector)
        return unit

    def positions(self, ids: NDArray[np.int64]) -> list[int]:
        if not self.is_mpnet:
            return list(range(len(ids)))
        numbers, seen = [], 0
        for token in ids:
            seen += token != 1
            numbers.append(1 if token == 1 else 1 + seen)
        return numbers

    def layer(self, x: Floats, name: str) -> Floats:
        query, key, value, output, norm = (
            ("attn.q", "attn.k", "attn.v", "attn.o", "LayerNorm")
            if self.is_mpnet
            else ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
        )
        q, k, v = (self.dense(x, f"{name}.attention.{part}") for part in (query, key, value))
        mixed = np.zeros_like(x)
        for head in range(HEADS):
            part = slice(head * HIDDEN // HEADS, (head + 1) * HIDDEN // HEADS)
            scores = q[:, part] @ k[:, part].T / math.sqrt(HIDDEN // HEADS)
            scores = scores + self.bias(len(x), head)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            mixed[:, part] = weights / weights.sum(axis=1, keepdims=True) @ v[:, part]
        x = self.norm(
            x + self.dense(mixed, f"{name}.attention.{output}"), f"{name}.attention.{norm}"
        )
        inner = self.activate(self.dense(x, f"{name}.intermediate.dense"))
        return self.norm(x + self.dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def bias(self, length: int, head: int) -> Any:
        if not self.is_mpnet:
            return 0.0
        table = self.tensors["encoder.relative_attention_bias.weight"]
        return np.array(
            [[table[bucket(j - i), head] for j in range(length)] for i in range(length)]
        )

    def activate(self, x: Floats) -> Floats:
        activated: Floats
        if self.config["hidden_act"] == "relu":
            activated = np.maximum(x, 0)
        elif self.config["hidden_act"] == "gelu_new":
            activated = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        else:
            activated = 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
        return activated

    def dense(self, x: Floats, name: str) -> Floats:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, x: Floats, name: str) -> Floats:
        x = x - x.mean(axis=1, keepdims=True)
        x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + self.config["layer_norm_eps"])
        return x * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]


def bucket(distance: int) -> int:
    """Bucket of a relative position, by the description in the T5 paper and for 32 buckets."""
    side = 16 if distance > 0 else 0
    size = abs(distance)
    if size < 8:
        return side + size
    # 8 log-spaced buckets from 8 to 128: bucket b starts at 8 * 2 ** (b / 2).
    return side + max(b for b in range(8) if size >= 8 * 2 ** (b / 2) - 1e-9) + 8


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
@pytest.mark.parametrize("ids", [IDS, LONG_IDS], ids=["short", "long"])
def test_graph_computes_the_formulas(
    tmp_path: Path, model_type: str, pooling: Any, ids: NDArray[np.int64]
) -> None:
    directory = write_model(tmp_path, model_type)
    graph = build_graph(read_model_dir(directory, pooling=pooling))
    onnx.checker.check_model(graph, full_check=True)
    ids = ids % 100 if model_type == "mpnet" else ids
    expected = [Reference(directory).embed(row, pooling) for row in ids]
    np.testing.assert_allclose(run(graph, ids), expected, atol=3e-6)


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "gelu"])
def test_activations(tmp_path: Path, activation: str) -> None:
    directory = write_model(tmp_path, hidden_act=activation)
    embeddings = run(build_graph(read_model_dir(directory)), IDS)
    expected = [Reference(directory).embed(row, "mean") for row in IDS]
    np.testing.assert_allclose(embeddings, expected, atol=3e-6)


def test_a_padding_token_in_the_text_takes_no_position(tmp_path: Path) -> None:
    directory = write_model(tmp_path, "mpnet")
    ids = np.array([[0, 20, 1, 21, 1, 22, 2]], dtype=np.int64)
    embeddings = run(build_graph(read_model_dir(directory)), ids)
    np.testing.assert_allclose(embeddings[0], Reference(directory).embed(ids[0], "mean"), atol=3e-6)


def test_buckets_of_all_distances() -> None:
    distances = np.arange(-POSITIONS, POSITIONS)
    assert _buckets(distances, 32).tolist() == [bucket(int(distance)) for distance in distances]


def with_prefix(tensors: Tensors) -> Tensors:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(name: str) -> str:
        for new_ending, old_ending in old.items():
            name = name.replace(new_ending, old_ending)
        return f"bert.{name}"

    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    return renamed | {"cls.predictions.bias": np.zeros(3, dtype=np.float32)}


def test_names_of_a_pretraining_checkpoint(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain")
    prefixed = write_model(tmp_path / "prefixed", change_tensors=with_prefix)
    graphs = [build_graph(read_model_dir(directory)) for directory in (plain, prefixed)]
    np.testing.assert_array_equal(run(graphs[0], IDS), run(graphs[1], IDS))


def test_half_precision_weights_are_computed_in_single_precision(tmp_path: Path) -> None:
    directory = write_model(
        tmp_path,
        change_tensors=lambda tensors: {
            name: tensor.astype(np.float16) for name, tensor in tensors.items()
        },
    )
    embeddings = run(build_graph(read_model_dir(directory)), IDS)
    assert embeddings.dtype == np.float32
    expected = [Reference(directory).embed(row, "mean") for row in IDS]
    np.testing.assert_allclose(embeddings, expected, atol=3e-6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "t5"}, "'t5' .known: bert, roberta, xlm-roberta, mpnet. is not supported"),
        ({"hidden_act": "silu"}, "hidden_act 'silu' is not supported"),
        ({"position_embedding_type": "relative_key"}, "'relative_key' is not supported"),
        ({"is_decoder": True}, "a decoder is not supported"),
        ({"relative_attention_num_buckets": 64}, "relative_attention_num_buckets other than 32"),
    ],
)
def test_what_the_graph_lacks_is_told_apart(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    model = read_model_dir(write_model(tmp_path))
    model = replace(model, config={**model.config, **config})
    model = replace(model, model_type=model.config["model_type"])
    with pytest.raises(UnsupportedModelError, match=message):
        build_graph(model)


def test_bfloat16_is_not_supported(tmp_path: Path) -> None:
    model = read_model_dir(write_model(tmp_path))
    name = "embeddings.word_embeddings.weight"
    shape = [model.config["vocab_size"], HIDDEN]
    n_bytes = 2 * math.prod(shape)
    header = {name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, n_bytes]}}
    text = json.dumps(header).encode()
    model.weights_path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(n_bytes))
    with pytest.raises(UnsupportedModelError, match="number format BF16"):
        build_graph(model)


def drop(name: str) -> Any:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, change_tensors=drop("encoder.layer.1.output.dense.bias"))
    with pytest.raises(EncoderError, match=r"encoder\.layer\.1\.output\.dense\.bias is missing"):
        build_graph(read_model_dir(tmp_path))


def test_pooler_pooling_needs_pooler_weights(tmp_path: Path) -> None:
    write_model(tmp_path, change_tensors=drop("pooler.dense.weight"))
    build_graph(read_model_dir(tmp_path))
    with pytest.raises(EncoderError, match=r"pooler\.dense\.weight is missing"):
        build_graph(read_model_dir(tmp_path, pooling="pooler"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("intermediate_size", 48, r"must have shape \(48, 32\) by config.json, got \(64, 32\)"),
        ("num_attention_heads", 5, "must be a multiple of num_attention_heads 5"),
        ("num_hidden_layers", None, "num_hidden_layers must be a whole number above 0, got None"),
        ("layer_norm_eps", "small", "layer_norm_eps must be between 0 and 1, got 'small'"),
    ],
)
def test_sizes_that_do_not_fit(tmp_path: Path, key: str, value: Any, message: str) -> None:
    config = read_model_dir(write_model(tmp_path)).config
    write_json(tmp_path / "config.json", {**config, key: value})
    with pytest.raises(EncoderError, match=message):
        build_graph(read_model_dir(tmp_path))


@pytest.mark.parametrize("n_bytes", [0, 100, 20_000])
def test_truncated_weights(tmp_path: Path, n_bytes: int) -> None:
    model = read_model_dir(write_model(tmp_path))
    model.weights_path.write_bytes(model.weights_path.read_bytes()[:n_bytes])
    with pytest.raises(EncoderError, match=r"model\.safetensors: damaged or truncated"):
        build_graph(model)


@pytest.mark.torch
def test_buckets_are_those_of_the_reference() -> None:
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    mpnet: Any = import_module("transformers.models.mpnet.modeling_mpnet")

    distances = np.arange(-600, 601)
    expected = mpnet.MPNetEncoder.relative_position_bucket(torch.from_numpy(distances))
    np.testing.assert_array_equal(_buckets(distances, 32), expected.numpy())
