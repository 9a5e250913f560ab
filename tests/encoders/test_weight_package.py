"""Which files of a repository are taken."""

from __future__ import annotations

import pytest

from safe_embed.encoders.weight_package import taken
from safe_embed.errors import EncoderError

PLAIN = ["config.json", "tokenizer.json", "model.safetensors"]


def chosen(*names: str, pickle: bool = False, code: bool = False) -> list[str]:
    return taken("org/model", names, pickle=pickle, code=code)


def test_settings_tokenizer_and_weights_are_taken_and_nothing_else():
    others = [
        "README.md",
        ".gitattributes",
        "pytorch_model.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "rust_model.ot",
        "training_args.bin",
        "onnx/model.onnx",
        "openvino/openvino_model.xml",
        "original/params.json",
        "consolidated.safetensors",
        "modeling_nomic.py",
        "pytorch_model.bin.index.json",
        "trainer_state.json",
        "../evil.json",
        "1_Pooling/../../evil.json",
        "/etc/config.json",
        "a\\config.json",
    ]
    modules = ["1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"]
    texts = ["vocab.txt", "merges.txt", "spiece.model", "tokenizer.model"]
    wanted = [*PLAIN, *modules, *texts]
    assert set(chosen(*wanted, *others)) == set(wanted)


def test_weights_come_last_and_may_be_in_several_files():
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    names = chosen(*shards, "model.safetensors.index.json", "config.json")
    assert names == ["config.json", "model.safetensors.index.json", *shards]
    assert chosen("adapter_model.safetensors", "adapter_config.json") == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_code_is_taken_when_asked_for():
    assert "modeling.py" in chosen(*PLAIN, "modeling.py", code=True)
    assert "modeling.py" not in chosen(*PLAIN, "modeling.py")


def test_pickles_are_taken_when_asked_for_and_there_is_nothing_else():
    assert chosen("config.json", "pytorch_model.bin", pickle=True)[-1] == "pytorch_model.bin"
    assert "pytorch_model.bin" not in chosen(*PLAIN, "pytorch_model.bin", pickle=True)
    with pytest.raises(EncoderError, match=r"org/model has only pickled .*--allow-pickle"):
        chosen("config.json", "pytorch_model.bin")


def test_a_pickle_of_a_module_is_a_pickle():
    dense = ["2_Dense/config.json", "2_Dense/pytorch_model.bin"]
    assert chosen(*PLAIN, *dense, pickle=True)[-1] == "2_Dense/pytorch_model.bin"
    with pytest.raises(EncoderError, match=r"2_Dense/pytorch_model\.bin"):
        chosen(*PLAIN, *dense)


def test_a_graph_is_taken_where_there_are_no_safetensors():
    graph = ["onnx/model.onnx", "onnx/model.onnx_data"]
    assert chosen("config.json", "tokenizer.json", "pytorch_model.bin", *graph)[-2:] == graph


def test_a_repository_without_weights_is_told():
    with pytest.raises(EncoderError, match="is it a sentence encoder"):
        chosen("config.json", "README.md")
