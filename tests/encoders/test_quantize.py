"""int8: near float32, whatever the batch, and the same whole numbers on every CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import numpy_helper

from safe_embed.encoders.export import open_export, write_export
from safe_embed.encoders.modeldir import read_model_dir
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.onnx_graph import build_graph
from safe_embed.encoders.onnx_graph.builder import GraphBuilder
from safe_embed.encoders.onnx_graph.quantize import calibrated_inputs, quantize, quantize_columns
from tests.encoders.test_onnx_encoder import some_texts
from tests.encoders.tiny_models import HIDDEN, LAYERS, PROMPTS, write_model


def int8_of(encoder: OnnxEncoder, directory: Path) -> OnnxEncoder:
    directory.mkdir()
    write_export(encoder, directory, int8_texts=PROMPTS)
    return open_export(directory, threads=2)


@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
@pytest.mark.parametrize("pooling", ["mean", "pooler"])
def test_near_float32_and_independent_of_the_batch(
    tmp_path: Path, model_type: str, pooling: str
) -> None:
    model = read_model_dir(
        write_model(tmp_path / "model", model_type),
        pooling=pooling,  # type: ignore[arg-type]
    )
    original = OnnxEncoder(model, name="tiny")
    encoder = int8_of(original, tmp_path / "int8")
    texts = some_texts(60)
    together = encoder.encode(texts)
    cosines = (together * original.encode(texts)).sum(axis=1)
    assert cosines.min() > 0.9
    assert cosines.mean() > 0.995
    assert cosines.max() < 1 - 1e-7  # it is another graph
    for text, embedding in zip(texts, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([text])[0], embedding)
    order = np.random.default_rng(2).permutation(len(texts))
    np.testing.assert_array_equal(encoder.encode([texts[i] for i in order]), together[order])
    assert encoder.fingerprint != original.fingerprint
    assert encoder.published_average_similarity is None


def test_every_dense_layer_is_int8_and_its_float_weights_are_gone(tmp_path: Path) -> None:
    model = build_graph(read_model_dir(write_model(tmp_path)))
    names = calibrated_inputs(model)
    assert len(names) == 3 * LAYERS  # the fourth stands behind GELU
    quantize(model, {name: np.ones(HIDDEN, dtype=np.float32) for name in names})
    operators = [node.op_type for node in model.graph.node]
    assert "Gemm" not in operators
    assert operators.count("MatMulIntegerToFloat") == 4 * LAYERS
    onnx.checker.check_model(model)
    matrices = [
        tensor
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2 and tensor.name not in ("words", "positions")
    ]
    assert {tensor.data_type for tensor in matrices} == {onnx.TensorProto.INT8}


def one_layer(
    weight: NDArray[np.float32], bias: NDArray[np.float32], activation: str = ""
) -> tuple[onnx.ModelProto, NDArray[np.float32]]:
    """Rows of a table of 50, [an activation,] one dense layer; and what the table becomes."""
    n_out, n_in = weight.shape
    rng = np.random.default_rng(0)
    builder = GraphBuilder()
    table = builder.constant(rng.standard_normal((50, n_in), dtype=np.float32), "words")
    rows = builder.add("Gather", table, "input_ids")
    rows = builder.add("Reshape", rows, builder.integers(-1, n_in))
    if activation:
        rows = builder.add(activation, rows)
    model = builder.finish(output=builder.linear(rows, weight, bias), dimension=n_out)
    words = numpy_helper.to_array(model.graph.initializer[0]).copy()
    if activation == "Relu":
        words = np.maximum(words, 0)
    return model, words


def run(model: onnx.ModelProto) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    output: NDArray[np.float32] = session.run(None, {"input_ids": np.arange(50)[None]})[0]
    return output


WEIGHT = np.random.default_rng(1).standard_normal((7, 10), dtype=np.float32)  # (out, in), as stored
BIAS = np.random.default_rng(2).standard_normal(7, dtype=np.float32)


def reference(q: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """The formula of the module, in NumPy."""
    whole, scales = quantize_columns(WEIGHT.T)
    return step * scales * (q @ whole.astype(np.float64)) + BIAS


def test_one_layer_with_a_constant_step_is_the_formula() -> None:
    model, x = one_layer(WEIGHT, BIAS)
    (name,) = calibrated_inputs(model)
    largest = np.abs(x).max(axis=0)
    got = run(quantize(model, {name: largest}))
    step = np.array(largest.max() / 127)
    expected = reference(np.rint(x / step), step)
    # a value half way between two steps may be rounded either way
    assert np.median(np.abs(got - expected)) < 1e-5
    np.testing.assert_allclose(got, x @ WEIGHT.T + BIAS, atol=0.3)


def test_what_is_larger_than_the_typical_texts_is_cut() -> None:
    model, x = one_layer(WEIGHT, BIAS)
    (name,) = calibrated_inputs(model)
    got = run(quantize(model, {name: np.full(10, 0.5, dtype=np.float32)}))
    cut = np.clip(x, -128 / 127 * 0.5, 0.5)
    np.testing.assert_allclose(got, cut @ WEIGHT.T + BIAS, atol=0.15)
    assert np.abs(cut @ WEIGHT.T - x @ WEIGHT.T).max() > 1


def test_one_layer_with_a_step_of_each_row_is_the_formula() -> None:
    model, x = one_layer(WEIGHT, BIAS, "Relu")
    assert calibrated_inputs(model) == []
    got = run(quantize(model, {}))
    step = x.max(axis=1, keepdims=True).astype(np.float64) / 255
    expected = reference(np.rint(x / step), step)
    assert np.median(np.abs(got - expected)) < 1e-5
    np.testing.assert_allclose(got, x @ WEIGHT.T + BIAS, atol=0.3)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 11), st.integers(1, 4)),
        elements=st.floats(-1e3, 1e3, width=32),
    )
)
def test_sixteen_bits_hold_two_neighbouring_products(weight: NDArray[np.float32]) -> None:
    whole, scales = quantize_columns(weight)
    assert whole.dtype == np.int8
    assert np.isfinite(scales).all()
    sizes = np.abs(whole.astype(int))
    padded = np.pad(sizes, ((0, -len(sizes) % 4), (0, 0))).reshape(-1, 4, weight.shape[1])
    two_largest = np.sort(padded, axis=1)[:, -2:].sum(axis=1)
    assert 255 * two_largest.max() <= 2**15 - 1
    assert (np.abs(whole * scales - weight) <= 0.51 * scales).all()


@pytest.mark.parametrize("activation", ["", "Relu"])
def test_a_row_of_zeros_gives_the_bias(activation: str) -> None:
    builder = GraphBuilder()
    table = builder.constant(np.zeros((3, 8), dtype=np.float32), "words")
    rows = builder.add("Gather", table, "input_ids")
    rows = builder.add("Reshape", rows, builder.integers(-1, 8))
    if activation:
        rows = builder.add(activation, rows)
    bias = np.array([1, -2], dtype=np.float32)
    dense = builder.linear(rows, np.ones((2, 8), dtype=np.float32), bias)
    model = builder.finish(output=dense, dimension=2)
    nothing = np.zeros(8, dtype=np.float32)
    quantize(model, dict.fromkeys(calibrated_inputs(model), nothing))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_array_equal(
        session.run(None, {"input_ids": np.array([[0, 2]])})[0], [bias, bias]
    )
