"""Pickles are read as tensors alone, and become what the engine loads."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from safe_embed.encoders.modeldir import read_model_dir
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.pickled_weights import convert_pickle
from safe_embed.errors import EncoderError
from tests.encoders.tiny_models import write_transformers_model

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="needs the extra torch")
transformers = pytest.importorskip("transformers", reason="needs the extra torch")


class Malicious:
    """Would run a command when an ordinary unpickler reads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("where", ["alone", "beside tensors"])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, where: str):
    marker, source = tmp_path / "ran", tmp_path / "pytorch_model.bin"
    if where == "alone":
        source.write_bytes(pickle.dumps(Malicious(marker)))
    else:
        torch.save({"weight": torch.ones(2), "bad": Malicious(marker)}, source)
    with pytest.raises(EncoderError, match="no pickle of tensors alone"):
        convert_pickle(source, tmp_path / "model.safetensors")
    assert not marker.exists()
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    "content", [{}, [torch.ones(1)], {"a": 1}, {1: torch.ones(1)}, {"a": torch.eye(2).to_sparse()}]
)
def test_other_content_is_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "p.bin")
    with pytest.raises(EncoderError):
        convert_pickle(tmp_path / "p.bin", tmp_path / "model.safetensors")


def test_shared_and_transposed_tensors(tmp_path: Path):
    from safetensors.torch import load_file

    matrix = torch.arange(6.0).reshape(2, 3)
    tensors = {"a": matrix, "tied": matrix, "turned": matrix.T, "half": matrix.half()}
    torch.save(tensors, tmp_path / "p.bin")
    convert_pickle(tmp_path / "p.bin", tmp_path / "model.safetensors")
    read = load_file(tmp_path / "model.safetensors")
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_a_pickled_bert_runs_in_the_engine_with_its_pooler(tmp_path: Path):
    directory = write_transformers_model(tmp_path / "simcse", "bert")
    model = transformers.AutoModel.from_pretrained(directory).eval()
    torch.save(model.state_dict(), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    convert_pickle(directory / "pytorch_model.bin", directory / "model.safetensors")
    encoder = OnnxEncoder(read_model_dir(directory, pooling="pooler"), name="simcse")

    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    for text in ("how do i kill a process", "bake the cake"):
        inputs = tokenizer(text, return_tensors="pt", padding=False, truncation=False)
        with torch.no_grad():
            pooled = model(**inputs).pooler_output[0].numpy()
        np.testing.assert_allclose(
            encoder.encode([text])[0], pooled / np.linalg.norm(pooled), atol=2e-6
        )
