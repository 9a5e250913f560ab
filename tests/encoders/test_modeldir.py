"""What a directory says about itself, and every way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from safe_embed.encoders.modeldir import read_model_dir
from safe_embed.errors import EncoderError, UnsupportedModelError
from safe_embed.files import sha256_of
from tests.encoders.tiny_models import HIDDEN, POSITIONS, write_json, write_model, write_modules


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_model(tmp_path / "tiny")


def test_settings_of_a_sentence_transformers_directory(directory: Path) -> None:
    model = read_model_dir(directory)
    assert model.model_type == "bert"
    assert model.dimension == HIDDEN
    assert (model.pooling, model.max_tokens, model.lower_case) == ("mean", 190, False)
    assert model.prompt == ""
    assert model.weights_digest == sha256_of(model.weights_path)
    assert model.tokenizer_digest == sha256_of(model.tokenizer_path)


def test_a_plain_transformer_is_mean_pooled(directory: Path) -> None:
    for name in ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json"):
        (directory / name).unlink()
    model = read_model_dir(directory)
    assert (model.pooling, model.max_tokens) == ("mean", POSITIONS)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_both_ways_to_write_the_pooling(directory: Path, pooling: str) -> None:
    write_modules(directory, pooling=pooling)
    assert read_model_dir(directory).pooling == pooling
    for mode in (pooling, [pooling]):
        write_json(directory / "1_Pooling/config.json", {"pooling_mode": mode})
        assert read_model_dir(directory).pooling == pooling


@pytest.mark.parametrize("mode", ["max", "lasttoken", ["mean", "cls"]])
def test_other_poolings_are_not_supported(directory: Path, mode: Any) -> None:
    write_json(directory / "1_Pooling/config.json", {"pooling_mode": mode})
    with pytest.raises(UnsupportedModelError, match=r"the pooling .* is not supported"):
        read_model_dir(directory)
    assert read_model_dir(directory, pooling="cls").pooling == "cls"


def test_two_old_poolings_are_not_supported(directory: Path) -> None:
    settings = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    write_json(directory / "1_Pooling/config.json", settings)
    with pytest.raises(UnsupportedModelError, match="the pooling"):
        read_model_dir(directory)


@pytest.mark.parametrize(
    ("model_type", "stated", "expected"),
    [
        ("bert", {"sentence_bert_config.json": {"max_seq_length": 20}}, 20),
        ("bert", {"sentence_bert_config.json": {"max_seq_length": 9999}}, POSITIONS),
        ("bert", {"tokenizer_config.json": {"model_max_length": 30}}, 30),
        ("bert", {"tokenizer_config.json": {"model_max_length": 1e30}}, POSITIONS),
        ("bert", {}, POSITIONS),
        ("mpnet", {}, POSITIONS - 2),
        ("roberta", {}, POSITIONS - 2),
    ],
)
def test_longest_text(
    tmp_path: Path, model_type: str, stated: dict[str, Any], expected: int
) -> None:
    directory = write_model(tmp_path, "mpnet")
    config = json.loads((directory / "config.json").read_text("utf-8"))
    write_json(directory / "config.json", {**config, "model_type": model_type})
    (directory / "sentence_bert_config.json").unlink()
    for name, value in stated.items():
        write_json(directory / name, value)
    assert read_model_dir(directory).max_tokens == expected


def test_default_prompt(directory: Path) -> None:
    settings = {"default_prompt_name": "query", "prompts": {"query": "query: "}}
    write_json(directory / "config_sentence_transformers.json", settings)
    assert read_model_dir(directory).prompt == "query: "
    assert read_model_dir(directory, prompt="").prompt == ""
    write_json(directory / "config_sentence_transformers.json", {"default_prompt_name": "query"})
    with pytest.raises(EncoderError, match="default_prompt_name is 'query', and prompts has no"):
        read_model_dir(directory)


@pytest.mark.parametrize(
    ("types", "named"),
    [
        (["Transformer", "Pooling", "Dense", "Normalize"], "Transformer, Pooling, Dense, Norm"),
        (["StaticEmbedding"], "StaticEmbedding"),
        (["Transformer"], "Transformer"),
        ([], "empty"),
    ],
)
def test_other_modules_are_not_supported(directory: Path, types: list[str], named: str) -> None:
    write_json(directory / "modules.json", [{"type": f"st.{name}", "path": ""} for name in types])
    (directory / "config.json").unlink()  # such a directory need not have one
    with pytest.raises(UnsupportedModelError, match=named):
        read_model_dir(directory)


def test_formats_that_only_the_other_backend_reads(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModelError, match=r"without tokenizer\.json"):
        read_model_dir(directory)
    (directory / "model.safetensors").rename(directory / "model.safetensors.index.json")
    with pytest.raises(UnsupportedModelError, match="weights in several files"):
        read_model_dir(directory)


def test_not_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"no sentence encoder: .* has no config\.json; give a"):
        read_model_dir(tmp_path)
    with pytest.raises(EncoderError, match=r"no sentence encoder: .* is not a directory"):
        read_model_dir(tmp_path / "absent")


def test_pickles_are_not_loaded(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="only safetensors weights are loaded") as caught:
        read_model_dir(directory)
    assert not isinstance(caught.value, UnsupportedModelError)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", '{"model_type": ', r"config\.json: damaged JSON .*fetch the model again"),
        ("config.json", "\xff", r"config\.json: damaged JSON"),
        ("config.json", "[]", r"config\.json: must be a JSON object"),
        ("config.json", "{}", "model_type must be a name, got None"),
        ("config.json", '{"model_type": "bert"}', "hidden_size must be a whole number above 0"),
        ("modules.json", "{}", "the module list"),
        ("modules.json", "[1]", r"modules\.json: must be a list of modules with type and path"),
        ("modules.json", "3", r"modules\.json: must be a list of modules with type and path"),
        ("sentence_bert_config.json", "{", r"sentence_bert_config\.json: damaged JSON"),
        ("sentence_bert_config.json", '{"max_seq_length": 1}', "must be allowed 3 tokens or more"),
        ("sentence_bert_config.json", '{"max_seq_length": "x"}', "max_seq_length 'x'"),
    ],
)
def test_damaged_settings(directory: Path, file: str, text: str, message: str) -> None:
    (directory / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(EncoderError, match=message) as caught:
        read_model_dir(directory)
    assert "\n" not in str(caught.value)


def test_a_missing_pooling_config_is_named(directory: Path) -> None:
    (directory / "1_Pooling/config.json").unlink()
    with pytest.raises(EncoderError, match=r"1_Pooling/config\.json is missing"):
        read_model_dir(directory)


def test_missing_weights(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"model\.safetensors is missing"):
        read_model_dir(directory)
