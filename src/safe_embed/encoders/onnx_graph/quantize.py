"""Dense layers in int8, so that an embedding still depends on its text alone.

A layer y = x W + b becomes whole numbers with an activation step s and a scale for each column:

    q_ik = round(x_ik / f_k / s) + z             uint8
    w_j  = scale of column j                     per output value
    p_kj = round(W_kj f_k / w_j)                 int8
    y_ij = s w_j sum_k (q_ik - z) p_kj + b_j

The sum is in whole numbers, so it is exact. The usual dynamic quantisation takes s from the whole
batch, and an embedding then depends on its neighbours. Here s is of one of two kinds:

- Where the input is a layer norm's or the attention's, s is a constant: some typical texts tell how
  large the input becomes; what is larger is cut. f moves the outliers of a layer norm into the
  weights, where they cost less: f_k = sqrt(max |x_k| / max |W_k|) (SmoothQuant, Xiao et al. 2023).
  Elsewhere f = 1.
- Behind the feed-forward part's activation s is that of the row (of one token): its outliers
  differ much from token to token, and a constant costs too much there. GELU's output is never below
  -0.17 and a ReLU's never below 0, so that all 256 steps serve what is above.

A CPU without VNNI adds neighbouring products of a column in 16 bits and cuts off what does not fit.
So a column's scale is such that no two weights of four neighbours exceed 128 together: 255 * 128
fits, and every CPU gets the same whole number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["calibrated_inputs", "quantize", "quantize_columns"]

_LARGEST = 127  # of two neighbouring weights together, before rounding
_NEIGHBORS = 4
_TINY = 1e-30  # scale of a row of zeros
_CONTRIB = "com.microsoft"  # onnxruntime's own operators
# What an operator's output is never below.
_LOWER_BOUNDS = {"Gelu": -0.1701, "Relu": 0.0}


@dataclass(frozen=True)
class _Dense:
    """One dense layer x W + b; x has shape (rows, in)."""

    name: str
    x: str
    y: str
    weight: NDArray[np.float32]
    """Shape (in, out)."""
    bias: NDArray[np.float32]


def calibrated_inputs(model: onnx.ModelProto) -> list[str]:
    """Names of the activations whose size `quantize` wants to know: those with a constant step."""
    producers = _producers(model)
    names = dict.fromkeys(layer.x for layer in _dense_layers(model).values())
    return [name for name in names if producers.get(name) not in _LOWER_BOUNDS]


def quantize(model: onnx.ModelProto, largest: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Replaces each dense layer of a graph of `build_graph` by one in int8.

    Args:
        model: the graph with its weights inside; it is changed.
        largest: for each of `calibrated_inputs`, the largest absolute value that each of its
            columns takes on typical texts: float32 of shape (columns,).

    Returns:
        The same model. Attention, norms, activations and embedding tables stay float32.
    """
    layers, producers = _dense_layers(model), _producers(model)
    rewriter = _Rewriter()
    for node in model.graph.node:
        if node.name in layers:
            layer = layers[node.name]
            producer = producers[layer.x]
            if producer in _LOWER_BOUNDS:
                rewriter.dense_by_row(layer, _LOWER_BOUNDS[producer])
            else:
                smooth = producer == "LayerNormalization"
                rewriter.dense(layer, largest[layer.x], smooth=smooth)
        else:
            rewriter.nodes.append(node)
    _replace(model, rewriter)
    return model


def _producers(model: onnx.ModelProto) -> dict[str, str]:
    """The operator that makes each activation."""
    return {output: node.op_type for node in model.graph.node for output in node.output}


def _dense_layers(model: onnx.ModelProto) -> dict[str, _Dense]:
    """Dense layers by name, in the order of the graph."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    return {
        node.name: _Dense(
            name=node.name,
            x=node.input[0],
            y=node.output[0],
            weight=numpy_helper.to_array(tensors[node.input[1]]),
            bias=numpy_helper.to_array(tensors[node.input[2]]),
        )
        for node in model.graph.node
        if node.op_type == "Gemm"
    }


class _Rewriter:
    """Collects the operators and constants of the new graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: Any) -> str:  # noqa: ANN401 - whatever NumPy takes
        """Adds an array unless one of that name is there."""
        if name not in self.constants:
            array = np.asarray(values, order="C")
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def add(self, operator: str, *inputs: str, to: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Adds an operator with one output, called `to` where that is given."""
        name = f"int8_{operator}_{len(self.nodes)}"
        output = to or f"{name}_out"
        domain = _CONTRIB if operator == "MatMulIntegerToFloat" else ""
        self.nodes.append(
            helper.make_node(operator, inputs, [output], name=name, domain=domain, **attributes)
        )
        return output

    def dense(self, layer: _Dense, largest: NDArray[np.float32], *, smooth: bool) -> None:
        """Adds one dense layer whose activation step is a constant.

        Args:
            layer: in float32.
            largest: absolute value of each column of its input.
            smooth: whether to move the input's outliers into the weights.
        """
        name, x, weight = layer.name, layer.x, layer.weight
        if smooth:
            factors = _smoothing(largest, weight)
            x = self.add("Mul", x, self.constant(f"{name}_smoothing", 1 / factors))
            weight = weight * factors[:, None]
            largest = largest / factors
        step = self.constant(f"{name}_step", np.float32(max(largest.max() / 127, _TINY)))
        zero = self.constant("int8_zero_128", np.uint8(128))
        whole, scales = quantize_columns(weight)
        self.add(
            "MatMulIntegerToFloat",
            self.add("QuantizeLinear", x, step, zero),
            self.constant(f"{name}_weight", whole),
            step,
            self.constant(f"{name}_scales", scales),
            zero,
            "",
            self.constant(f"{name}_bias", layer.bias),
            to=layer.y,
        )

    def dense_by_row(self, layer: _Dense, bound: float) -> None:
        """Adds one dense layer whose activation step is that of the row.

        Args:
            layer: in float32.
            bound: what no value of its input is below; 0 or less.
        """
        name, x, bias = layer.name, layer.x, layer.bias
        whole, scales = quantize_columns(layer.weight)
        if bound:
            x = self.add("Sub", x, self.constant(f"int8_bound_{bound}", np.float32(bound)))
            bias = bias + np.float32(bound) * (whole * scales).sum(axis=0, dtype=np.float32)
        axis = self.constant("int8_last_axis", np.array([1], dtype=np.int64))
        largest = self.add("ReduceMax", x, axis, keepdims=1)
        largest = self.add("Max", largest, self.constant("int8_tiny", np.float32(_TINY)))
        rows = self.add("Mul", largest, self.constant("int8_step", np.float32(1 / 255)))
        flat = self.constant("int8_flat", np.array([-1], dtype=np.int64))
        product = self.add(
            "MatMulIntegerToFloat",
            self.add("QuantizeLinear", x, self.add("Reshape", rows, flat), axis=0),
            self.constant(f"{name}_weight", whole),
            self.constant("int8_one", np.float32(1)),
            self.constant(f"{name}_scales", scales),
            self.constant("int8_zero_0", np.uint8(0)),
        )
        scaled = self.add("Mul", product, rows)
        self.add("Add", scaled, self.constant(f"{name}_bias", bias), to=layer.y)


def quantize_columns(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rounds each column to whole numbers, no two of four neighbours above 128 together.

    Args:
        weight: float32 of shape (in, out).

    Returns:
        int8 of shape (in, out), and the columns' scales, float32 of shape (out,): their product is
        near `weight`.
    """
    n_in, n_out = weight.shape
    padding = -n_in % _NEIGHBORS
    sizes = np.pad(np.abs(weight), ((0, padding), (0, 0))).reshape(-1, _NEIGHBORS, n_out)
    two_largest = np.sort(sizes, axis=1)[:, -2:].sum(axis=1).max(axis=0)
    scales = np.maximum(two_largest / _LARGEST, _TINY).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales


def _smoothing(largest: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """sqrt(largest activation / largest weight) of each input value, with geometric mean 1."""
    by_row = np.abs(weight).max(axis=1)
    size = np.maximum(largest, 1e-3 * largest.max() + _TINY)
    factors = np.sqrt(size / np.maximum(by_row, 1e-3 * by_row.max() + _TINY))
    balanced: NDArray[np.float32] = factors / np.exp(np.log(factors).mean())
    return balanced.astype(np.float32)


def _replace(model: onnx.ModelProto, rewriter: _Rewriter) -> None:
    """Puts the new operators into the model, and drops constants that none of them reads."""
    graph = model.graph
    nodes = [*rewriter.nodes]
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept += rewriter.constants.values()
    new = helper.make_graph(nodes, graph.name, graph.input, graph.output, kept)
    graph.CopyFrom(new)
