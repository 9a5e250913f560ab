"""The graph of a BERT-like sentence encoder, from token ids to a unit vector.

One batch holds texts of one token length, so that nothing is padded and no attention mask exists:
what a text becomes cannot depend on its neighbours in the batch. Between the parts, activations
have shape (batch * length, hidden): one matrix product per dense layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from safe_embed.encoders.modeldir import ModelDir
from safe_embed.encoders.onnx_graph.architectures import (
    Architecture,
    Sizes,
    architecture_of,
    sizes_of,
)
from safe_embed.encoders.onnx_graph.weights import Weights, open_weights
from safe_embed.errors import UnsupportedModelError

if TYPE_CHECKING:
    import onnx

    from safe_embed.encoders.onnx_graph.builder import GraphBuilder

__all__ = ["build_graph"]

# hidden_act -> ONNX operator and its attributes.
_ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "gelu": ("Gelu", {"approximate": "none"}),
    "gelu_python": ("Gelu", {"approximate": "none"}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_fast": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
}
_MAX_DISTANCE = 128  # of MPNet's relative positions
_SMALLEST_NORM = 1e-12


@dataclass(frozen=True)
class _Parts:
    """What every part of the graph needs to be built."""

    graph: GraphBuilder
    weights: Weights
    sizes: Sizes
    architecture: Architecture

    def dense(self, x: str, name: str, n_in: int, n_out: int) -> str:
        """Dense layer x W^T + b with the tensors called `name`."""
        return self.graph.linear(
            x,
            self.weights.take(f"{name}.weight", n_out, n_in),
            self.weights.take(f"{name}.bias", n_out),
        )

    def norm(self, x: str, name: str) -> str:
        """Layer norm with the tensors called `name`."""
        scale = self.weights.take(f"{name}.weight", self.sizes.hidden)
        bias = self.weights.take(f"{name}.bias", self.sizes.hidden)
        return self.graph.layer_norm(x, scale, bias, self.sizes.norm_epsilon)


def build_graph(model: ModelDir) -> onnx.ModelProto:
    """Builds the graph of an encoder with its weights inside.

    Args:
        model: settings of the encoder; its weights are read here, and its adapter merged.

    Returns:
        A model with the input `input_ids`, int64 of shape (batch, length), all texts of one length
        and none padded, and the output `embedding`, float32 of shape (batch, d), rows of length 1.

    Raises:
        UnsupportedModelError: an architecture, activation or number format that is not built here.
        EncoderError: config.json and the tensors contradict each other, the file is damaged, or the
            adapter was made for another model.
    """
    from safe_embed.encoders.onnx_graph.builder import GraphBuilder  # brings onnx

    architecture, sizes = architecture_of(model), sizes_of(model)
    if sizes.activation not in _ACTIVATIONS:
        raise UnsupportedModelError(model.path, f"hidden_act {sizes.activation!r}")
    with open_weights(model.weights_path, architecture.prefix, model.adapter) as weights:
        parts = _Parts(GraphBuilder(), weights, sizes, architecture)
        shape = parts.graph.add("Shape", "input_ids")  # (batch, length)
        x = _embeddings(parts, shape)
        bias = _relative_bias(parts, shape)
        for layer in range(sizes.layers):
            x = _attention(parts, f"encoder.layer.{layer}", x, shape, bias)
            x = _feed_forward(parts, f"encoder.layer.{layer}", x)
        pooled = _pooling(parts, model, x, shape)
        return parts.graph.finish(output=_unit_length(parts, pooled), dimension=sizes.hidden)


def _embeddings(parts: _Parts, shape: str) -> str:
    """norm(word[id] + position[i] + type[0]); every text is of type 0, so its row joins the table.

    Returns:
        Name of an array of shape (batch * length, hidden).
    """
    graph, weights, sizes = parts.graph, parts.weights, parts.sizes
    words = weights.take("embeddings.word_embeddings.weight", sizes.vocabulary, sizes.hidden)
    table = weights.take("embeddings.position_embeddings.weight", sizes.positions, sizes.hidden)
    type_name = "embeddings.token_type_embeddings.weight"
    if type_name in weights:
        table = table + weights.take(type_name, sizes.token_types, sizes.hidden)[0]
    positions = graph.constant(table, "positions")
    if parts.architecture.numbering == "plain":
        length = graph.add("Gather", shape, graph.integers(1))
        at = graph.add("Slice", positions, graph.integers(0), length)  # broadcast over the batch
    else:
        at = graph.add("Gather", positions, _numbers_after_padding(parts))
    x = graph.add("Add", graph.add("Gather", graph.constant(words, "words"), "input_ids"), at)
    x = graph.add("Reshape", x, graph.integers(-1, sizes.hidden))
    return parts.norm(x, "embeddings.LayerNorm")


def _numbers_after_padding(parts: _Parts) -> str:
    """Numbers a token padding + (real tokens up to it), and a padding token itself `padding`."""
    graph = parts.graph
    padding = graph.integers(parts.sizes.padding)
    is_padding = graph.add("Equal", "input_ids", padding)
    is_real = graph.as_integers(graph.add("Not", is_padding))
    count = graph.add("CumSum", is_real, graph.scalar(1))
    return graph.add("Add", graph.add("Mul", count, is_real), padding)


def _relative_bias(parts: _Parts, shape: str) -> str | None:
    """b[h, i, j] = table[bucket(j - i), h], which depends on the distance j - i alone.

    Returns:
        Name of an array of shape (heads, length, length); None where the architecture has none.
    """
    name = parts.architecture.relative_bias
    if name is None:
        return None
    graph, sizes = parts.graph, parts.sizes
    table = parts.weights.take(name, sizes.relative_buckets, sizes.heads)
    distances = np.arange(-(sizes.positions - 1), sizes.positions)
    by_distance = table[_buckets(distances, sizes.relative_buckets)].T
    length = graph.add("Squeeze", graph.add("Gather", shape, graph.integers(1)))
    column = graph.add("Range", graph.scalar(0), length, graph.scalar(1))
    row = graph.add("Unsqueeze", column, graph.integers(1))
    distance = graph.add("Sub", column, row)
    index = graph.add("Add", distance, graph.integers(sizes.positions - 1))
    return graph.add("Gather", graph.constant(by_distance, "relative_bias"), index, axis=1)


def _buckets(distances: NDArray[np.int64], n_buckets: int) -> NDArray[np.int64]:
    """Bucket of each relative position: half of them for each direction.

    Of those n, the first n / 2 hold one distance each; the rest grow with its logarithm up to
    distance 128, in float32 as the reference does it.
    """
    half = n_buckets // 2
    exact = half // 2
    size = np.abs(distances)
    ratio = np.maximum(size, 1).astype(np.float32) / np.float32(exact)
    growth = np.log(ratio) / np.float32(np.log(_MAX_DISTANCE / exact)) * np.float32(half - exact)
    large = np.minimum(exact + growth.astype(np.int64), half - 1)
    return np.where(size < exact, size, large) + np.where(distances > 0, half, 0)


def _attention(parts: _Parts, layer: str, x: str, shape: str, bias: str | None) -> str:
    """norm(x + o(softmax(q k^T / sqrt(head) + b) v)).

    q, k and v are one product with 1 / sqrt(head) in the weights of q.

    Args:
        parts: what the graph is built with.
        layer: prefix of the layer's tensors.
        x: name of an array of shape (batch * length, hidden).
        shape: name of (batch, length).
        bias: name of an array of shape (heads, length, length), or None.
    """
    graph, sizes, names = parts.graph, parts.sizes, parts.architecture
    n_heads, head = sizes.heads, sizes.hidden // sizes.heads
    by_head = graph.add("Concat", shape, graph.integers(3 * n_heads, head), axis=0)
    qkv = graph.linear(x, *_joined_projection(parts, layer))
    qkv = graph.add("Reshape", qkv, by_head)  # (batch, length, 3 heads, head)
    qkv = graph.add("Transpose", qkv, perm=[0, 2, 1, 3])
    q, k, v = graph.add_many("Split", qkv, outputs=3, axis=1, num_outputs=3)
    scores = graph.matmul_transposed(q, k)  # (batch, heads, length, length)
    if bias is not None:
        scores = graph.add("Add", scores, bias)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), v)
    mixed = graph.add("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", mixed, graph.integers(-1, sizes.hidden))
    out = parts.dense(mixed, f"{layer}.{names.attention_output}", sizes.hidden, sizes.hidden)
    return parts.norm(graph.add("Add", out, x), f"{layer}.{names.attention_norm}")


def _joined_projection(
    parts: _Parts, layer: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight (3 hidden, hidden) and bias (3 hidden,) of q, k and v together."""
    hidden, names = parts.sizes.hidden, parts.architecture
    scale = np.float32((hidden // parts.sizes.heads) ** -0.5)
    weights, biases = [], []
    for name, factor in ((names.query, scale), (names.key, 1), (names.value, 1)):
        weights.append(factor * parts.weights.take(f"{layer}.{name}.weight", hidden, hidden))
        biases.append(factor * parts.weights.take(f"{layer}.{name}.bias", hidden))
    return np.concatenate(weights), np.concatenate(biases)


def _feed_forward(parts: _Parts, layer: str, x: str) -> str:
    """norm(x + W2 activation(W1 x))."""
    sizes = parts.sizes
    operator, attributes = _ACTIVATIONS[sizes.activation]
    inner = parts.dense(x, f"{layer}.intermediate.dense", sizes.hidden, sizes.inner)
    inner = parts.graph.add(operator, inner, **attributes)
    out = parts.dense(inner, f"{layer}.output.dense", sizes.inner, sizes.hidden)
    return parts.norm(parts.graph.add("Add", out, x), f"{layer}.output.LayerNorm")


def _pooling(parts: _Parts, model: ModelDir, x: str, shape: str) -> str:
    """mean_i x_i, or x_0, or tanh(W x_0).

    Returns:
        Name of an array of shape (batch, hidden).
    """
    graph, hidden = parts.graph, parts.sizes.hidden
    by_text = graph.add("Concat", shape, graph.integers(hidden), axis=0)
    x = graph.add("Reshape", x, by_text)  # (batch, length, hidden)
    if model.pooling == "mean":
        # Over the last axis: onnxruntime sums a middle one in another order when the batch is 1.
        by_value = graph.add("Transpose", x, perm=[0, 2, 1])
        return graph.add("ReduceMean", by_value, graph.integers(2), keepdims=0)
    first = graph.add("Gather", x, graph.scalar(0), axis=1)
    if model.pooling == "cls":
        return first
    return graph.add("Tanh", parts.dense(first, "pooler.dense", hidden, hidden))


def _unit_length(parts: _Parts, x: str) -> str:
    """Divides each row: x / max(|x|, 1e-12)."""
    graph = parts.graph
    norm = graph.add("ReduceL2", x, graph.integers(1), keepdims=1)
    smallest = graph.constant(np.array(_SMALLEST_NORM, dtype=np.float32))
    return graph.add("Div", x, graph.add("Max", norm, smallest))
