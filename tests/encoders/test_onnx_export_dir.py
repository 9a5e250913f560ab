"""Exported graphs, against numpy on the tensors that went into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

from safe_embed.encoders import Encoder, load_encoder
from safe_embed.encoders.onnx_export_dir import OnnxExportEncoder, find_graph
from safe_embed.errors import EncoderError, InputError, UnsupportedModelError
from tests.encoders.tiny_models import BERT_MARKS, PROMPTS, wordpiece_tokenizer, write_model

DIMENSION = 5
POSITIONS = 40
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TABLE = np.random.default_rng(0).standard_normal((300, DIMENSION)).astype(np.float32)


def write_export(
    directory: Path,
    *,
    graph: str = "model.onnx",
    inputs: tuple[str, ...] = INPUTS,
    output: str = "last_hidden_state",
    pooling: str | None = "mean_tokens",
    integers: int = TensorProto.INT64,
) -> Path:
    """A graph that looks token vectors up, times the mask, plus the type and the position."""
    pooled = output in ("sentence_embedding", "pooler_output")
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["x"])]
    for name in inputs[1:]:
        operator = "Mul" if name == "attention_mask" else "Add"
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", [f"{name}_f", "axis"], [f"{name}_3"]),
            helper.make_node(operator, [nodes[-1].output[0], f"{name}_3"], [f"{name}_out"]),
        ]
    if pooled:
        nodes.append(helper.make_node("ReduceMax", [nodes[-1].output[0], "one"], ["m"], keepdims=0))
    nodes.append(helper.make_node("Identity", [nodes[-1].output[0]], [output]))
    shape = ["batch", DIMENSION] if pooled else ["batch", "n", DIMENSION]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(name, integers, ["batch", "n"]) for name in inputs],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            [
                numpy_helper.from_array(TABLE, "table"),
                numpy_helper.from_array(np.array([2]), "axis"),
                numpy_helper.from_array(np.array([1]), "one"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    (directory / graph).parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, directory / graph)
    wordpiece_tokenizer(BERT_MARKS).save(str(directory / "tokenizer.json"))
    config = {"model_type": "bert", "max_position_embeddings": POSITIONS}
    (directory / "config.json").write_text(json.dumps(config))
    if pooling:
        (directory / "1_Pooling").mkdir(exist_ok=True)
        modes = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}
        settings = {**modes, f"pooling_mode_{pooling}": True}
        (directory / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    return directory


def by_hand(directory: Path, text: str, *, pool: str = "mean", limit: int = POSITIONS) -> Any:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    rows: NDArray[np.float64] = TABLE[tokenizer.encode(text.strip()).ids].astype(np.float64)
    pooled = {"mean": rows.mean(axis=0), "cls": rows[0], "last": rows[-1], "max": rows.max(axis=0)}
    return pooled[pool] / np.linalg.norm(pooled[pool])


def expected(directory: Path, pool: str = "mean") -> list[Any]:
    return [by_hand(directory, text, pool=pool) for text in PROMPTS]


@pytest.mark.parametrize("graph", ["model.onnx", "onnx/model.onnx"])
def test_token_vectors_are_pooled(tmp_path: Path, graph: str):
    directory = write_export(tmp_path / "mine", graph=graph)
    encoder = OnnxExportEncoder(directory)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dimension) == ("mine", DIMENSION)
    np.testing.assert_allclose(encoder.encode(PROMPTS), expected(directory), atol=1e-6)
    assert encoder.encode([]).shape == (0, DIMENSION)
    assert encoder.published_average_similarity is None


@pytest.mark.parametrize(
    ("pooling", "pool"), [("cls_token", "cls"), ("lasttoken", "last"), (None, "mean")]
)
def test_pooling_of_the_directory(tmp_path: Path, pooling: str | None, pool: str):
    directory = write_export(tmp_path, pooling=pooling)
    got = OnnxExportEncoder(directory).encode(PROMPTS)
    np.testing.assert_allclose(got, expected(directory, pool), atol=1e-6)
    got = OnnxExportEncoder(write_export(tmp_path), pooling="cls").encode(PROMPTS)
    np.testing.assert_allclose(got, expected(directory, "cls"), atol=1e-6)


@pytest.mark.parametrize("output", ["sentence_embedding", "pooler_output"])
def test_graphs_that_pool_themselves(tmp_path: Path, output: str):
    directory = write_export(tmp_path, output=output)
    pooling: Any = "pooler" if output == "pooler_output" else None
    got = OnnxExportEncoder(directory, pooling=pooling).encode(PROMPTS)
    np.testing.assert_allclose(got, expected(directory, "max"), atol=1e-6)


@pytest.mark.parametrize("inputs", [("input_ids",), INPUTS[:2], INPUTS])
@pytest.mark.parametrize("integers", [TensorProto.INT64, TensorProto.INT32])
def test_inputs_that_graphs_have(tmp_path: Path, inputs: tuple[str, ...], integers: int):
    directory = write_export(tmp_path, inputs=inputs, integers=integers)
    got = OnnxExportEncoder(directory).encode(PROMPTS)
    np.testing.assert_allclose(got, expected(directory), atol=1e-6)


def test_positions_count_from_0(tmp_path: Path):
    directory = write_export(tmp_path, inputs=("input_ids", "position_ids"), pooling="cls_token")
    got = OnnxExportEncoder(directory).encode(PROMPTS)
    np.testing.assert_allclose(got, expected(directory, "cls"), atol=1e-6)


def test_an_embedding_depends_on_its_text_only(tmp_path: Path):
    encoder = OnnxExportEncoder(write_export(tmp_path), batch_size=3)
    together = encoder.encode([*PROMPTS, *PROMPTS])
    alone = np.concatenate([encoder.encode([text]) for text in PROMPTS])
    assert (together == np.concatenate([alone, alone])).all()


def test_texts_are_cut_prompted_and_lower_cased(tmp_path: Path):
    directory = write_export(tmp_path)
    text = "bake the cake " * 30
    got = OnnxExportEncoder(directory).encode([text])[0]
    np.testing.assert_allclose(got, by_hand(directory, text), atol=1e-6)
    settings = {"max_seq_length": 6, "do_lower_case": True}
    (directory / "sentence_bert_config.json").write_text(json.dumps(settings))
    prompts = {"prompts": {"q": "query: "}, "default_prompt_name": "q"}
    (directory / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    got = OnnxExportEncoder(directory).encode(["BAKE the cake"])[0]
    np.testing.assert_allclose(got, by_hand(directory, "query: bake the cake", limit=6), atol=1e-6)
    plain = OnnxExportEncoder(directory, prompt="").encode(["bake the cake"])[0]
    np.testing.assert_allclose(plain, by_hand(directory, "bake the cake", limit=6), atol=1e-6)


def test_fingerprint_changes_with_graph_and_settings(tmp_path: Path):
    directory = write_export(tmp_path)
    prints = {OnnxExportEncoder(directory).fingerprint}
    prints.add(OnnxExportEncoder(directory, prompt="query: ").fingerprint)
    prints.add(OnnxExportEncoder(directory, pooling="cls").fingerprint)
    prints.add(OnnxExportEncoder(write_export(tmp_path, inputs=("input_ids",))).fingerprint)
    assert len(prints) == 4
    assert {len(each) for each in prints} == {64}


def test_a_directory_is_recognised(tmp_path: Path):
    directory = write_export(tmp_path / "mine")
    assert isinstance(load_encoder(directory), OnnxExportEncoder)
    assert load_encoder(directory, backend="onnx-export", cache=True).name == "mine"
    bert = write_model(tmp_path / "bert")
    write_export(tmp_path / "other", graph="onnx/model.onnx")
    (bert / "onnx").mkdir()
    (tmp_path / "other" / "onnx" / "model.onnx").rename(bert / "onnx" / "model.onnx")
    assert not isinstance(load_encoder(bert), OnnxExportEncoder), "safetensors come first"
    assert find_graph(tmp_path) is None


def test_graphs_that_are_not_known(tmp_path: Path):
    with pytest.raises(UnsupportedModelError, match=r"input pixel_values"):
        OnnxExportEncoder(write_export(tmp_path / "a", inputs=("input_ids", "pixel_values")))
    with pytest.raises(UnsupportedModelError, match=r"outputs logits \(known: sentence_emb"):
        OnnxExportEncoder(write_export(tmp_path / "b", output="logits"))
    with pytest.raises(UnsupportedModelError, match=r"the pooling in config\.json"):
        OnnxExportEncoder(write_export(tmp_path / "c", pooling="max_tokens"))
    with pytest.raises(UnsupportedModelError, match="outputs last_hidden_state"):
        OnnxExportEncoder(write_export(tmp_path / "d"), pooling="pooler")


def test_damaged_directories_are_told(tmp_path: Path):
    directory = write_export(tmp_path)
    with pytest.raises(InputError, match="batch_size must be 1 or more"):
        OnnxExportEncoder(directory, batch_size=0)
    with pytest.raises(InputError, match="device must be one of cpu, cuda"):
        OnnxExportEncoder(directory, device="tpu")
    (directory / "config.json").write_text("[]")
    with pytest.raises(EncoderError, match="must be a JSON object"):
        OnnxExportEncoder(directory)
    (directory / "config.json").write_text("{")
    with pytest.raises(EncoderError, match="cannot be read"):
        OnnxExportEncoder(directory)
    (directory / "config.json").unlink()
    (directory / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(EncoderError, match="onnxruntime cannot load it"):
        OnnxExportEncoder(directory)
    (directory / "tokenizer.json").write_text("{")
    with pytest.raises(EncoderError, match=r"tokenizer\.json: damaged"):
        OnnxExportEncoder(directory)
    (directory / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match="is missing; put the model's tokenizer"):
        OnnxExportEncoder(directory)
    with pytest.raises(EncoderError, match=r"has no model\.onnx"):
        OnnxExportEncoder(tmp_path / "none")


def test_a_token_without_a_vector_is_told(tmp_path: Path):
    directory = write_export(tmp_path)
    graph = onnx.load(directory / "model.onnx")
    table = next(each for each in graph.graph.initializer if each.name == "table")
    table.CopyFrom(numpy_helper.from_array(TABLE[:50], "table"))
    onnx.save_model(graph, directory / "model.onnx")
    encoder = OnnxExportEncoder(directory)
    with pytest.raises(EncoderError, match=r"do tokenizer\.json and the graph belong together"):
        encoder.encode(["bake the cake"])
