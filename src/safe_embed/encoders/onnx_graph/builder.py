"""A thin layer over `onnx.helper`: each call adds one operator and returns its output's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["GraphBuilder"]

Attribute = int | float | str | Sequence[int]

_OPSET = 20  # the first with Gelu
_IR_VERSION = 9  # the first that goes with it, so that every onnxruntime we allow reads it
_CONTRIB = "com.microsoft"  # onnxruntime's own operators


class GraphBuilder:
    """Collects operators and constants in order; `finish` makes the model of them."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[Any], name: str | None = None) -> str:
        """Adds an array; contiguous, in its own dtype."""
        name = name or f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        """Adds an int64 array of shape (number of values,)."""
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value: int) -> str:
        """Adds an int64 array of shape ()."""
        return self.constant(np.array(value, dtype=np.int64))

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """Adds an operator with one output."""
        return self.add_many(operator, *inputs, outputs=1, **attributes)[0]

    def add_many(
        self, operator: str, *inputs: str, outputs: int, **attributes: Attribute
    ) -> Sequence[str]:
        """Adds an operator with several outputs."""
        name = f"{operator}_{len(self._nodes)}"
        names = [f"{name}_out{index}" for index in range(outputs)]
        node = helper.make_node(operator, inputs, names, name=name)
        node.attribute.extend(helper.make_attribute(*item) for item in sorted(attributes.items()))
        self._nodes.append(node)
        return names

    def as_integers(self, x: str) -> str:
        """Adds a cast to int64."""
        return self.add("Cast", x, to=int(onnx.TensorProto.INT64))

    def linear(self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """Adds x W^T + b for x of shape (rows, in) and W of shape (out, in)."""
        return self.add("Gemm", x, self.constant(weight.T), self.constant(bias))

    def matmul_transposed(self, x: str, y: str) -> str:
        """Adds x y^T over the last two axes, without a copy of y."""
        name = f"FusedMatMul_{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(
                "FusedMatMul", [x, y], [f"{name}_out"], name=name, domain=_CONTRIB, transB=1
            )
        )
        return f"{name}_out"

    def layer_norm(
        self, x: str, scale: NDArray[np.float32], bias: NDArray[np.float32], epsilon: float
    ) -> str:
        """Adds (x - mean) / sqrt(variance + epsilon) * scale + bias over the last axis."""
        return self.add(
            "LayerNormalization", x, self.constant(scale), self.constant(bias), epsilon=epsilon
        )

    def finish(self, *, output: str, dimension: int) -> onnx.ModelProto:
        """Makes the model: `input_ids` (batch, length) int64 to `embedding` (batch, d) float32."""
        self._nodes.append(helper.make_node("Identity", [output], ["embedding"], name="embedding"))
        graph = helper.make_graph(
            self._nodes,
            "sentence_encoder",
            [
                helper.make_tensor_value_info(
                    "input_ids", onnx.TensorProto.INT64, ["batch", "length"]
                )
            ],
            [
                helper.make_tensor_value_info(
                    "embedding", onnx.TensorProto.FLOAT, ["batch", dimension]
                )
            ],
            self._constants,
        )
        return helper.make_model(
            graph,
            producer_name="safe-embed",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)],
        )
