"""The second engine: the same contract, and the same embeddings as the first."""

from __future__ import annotations

import builtins
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safe_embed.encoders.base import Encoder
from safe_embed.encoders.modeldir import read_model_dir
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.sentence_transformers_encoder import SentenceTransformersEncoder
from safe_embed.errors import EncoderError, InputError, MissingExtraError
from tests.encoders.tiny_models import HIDDEN, PROMPTS, write_transformers_model


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers", reason="needs the extra torch")
    return write_transformers_model(tmp_path_factory.mktemp("models") / "tiny", "bert")


@pytest.fixture(scope="module")
def encoder(directory: Path) -> SentenceTransformersEncoder:
    return SentenceTransformersEncoder(directory)


@pytest.mark.torch
def test_keeps_the_contract(encoder: SentenceTransformersEncoder) -> None:
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dimension) == ("tiny", HIDDEN)
    embeddings = encoder.encode(PROMPTS)
    assert embeddings.shape == (len(PROMPTS), HIDDEN)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    empty = encoder.encode([])
    assert empty.shape == (0, HIDDEN)
    assert empty.dtype == np.float32


@pytest.mark.torch
@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_same_as_the_first_engine(tmp_path: Path, model_type: str) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra torch")
    directory = write_transformers_model(tmp_path, model_type)
    first = OnnxEncoder(read_model_dir(directory), name="tiny")
    second = SentenceTransformersEncoder(directory, name="tiny", batch_size=3)
    np.testing.assert_allclose(first.encode(PROMPTS), second.encode(PROMPTS), atol=1e-6)
    assert first.fingerprint != second.fingerprint


@pytest.mark.torch
def test_half_precision_weights_are_computed_in_single_precision(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra torch")
    import transformers

    directory = write_transformers_model(tmp_path, "bert")
    transformers.AutoModel.from_pretrained(directory).half().save_pretrained(directory)
    first = OnnxEncoder(read_model_dir(directory), name="tiny")
    second = SentenceTransformersEncoder(directory)
    np.testing.assert_allclose(first.encode(PROMPTS), second.encode(PROMPTS), atol=1e-6)


@pytest.mark.torch
def test_fingerprint_is_over_the_files(
    directory: Path, encoder: SentenceTransformersEncoder, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(directory, tmp_path / "copy"))
    (copy / "README.md").write_text("changes nothing")
    same = SentenceTransformersEncoder(copy, name="other", batch_size=1)
    assert same.fingerprint == encoder.fingerprint
    assert len(encoder.fingerprint) == 64
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    assert SentenceTransformersEncoder(copy).fingerprint != encoder.fingerprint


@pytest.mark.torch
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("kill", "texts must be a list of strings"),
        ([3], r"texts\[0\] must be a string, got int"),
        (["\udc00"], r"texts\[0\] has a lone surrogate, U\+DC00"),
    ],
)
def test_texts_that_cannot_be_encoded(
    encoder: SentenceTransformersEncoder, texts: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        encoder.encode(texts)


@pytest.mark.torch
def test_what_cannot_be_loaded(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="sentence-transformers cannot load it") as caught:
        SentenceTransformersEncoder(tmp_path)
    assert "\n" not in str(caught.value)
    copy = Path(shutil.copytree(directory, tmp_path / "pickled"))
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="cannot load it"):
        SentenceTransformersEncoder(copy)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device must be one of cpu, cuda, got 'tpu'"),
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
    ],
)
def test_options_that_cannot_be_used(
    directory: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        SentenceTransformersEncoder(directory, **options)


@pytest.mark.torch
def test_a_device_that_is_not_there(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EncoderError, match="torch finds no CUDA device; use the device 'cpu'"):
        SentenceTransformersEncoder(directory, device="cuda")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.split(".", maxsplit=1)[0] in ("torch", "sentence_transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'safe-embed\[torch\]'"):
        SentenceTransformersEncoder(tmp_path)


@pytest.mark.torch
def test_pickle_of_a_module_is_refused(directory: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(directory, tmp_path / "copy")
    (copy / "2_Dense").mkdir()
    (copy / "2_Dense" / "pytorch_model.bin").write_bytes(b"code")
    with pytest.raises(EncoderError, match=r"2_Dense/pytorch_model\.bin is a pickle"):
        SentenceTransformersEncoder(copy)


@pytest.mark.torch
def test_prompt_is_put_before_each_text(
    directory: Path, encoder: SentenceTransformersEncoder
) -> None:
    asked = SentenceTransformersEncoder(directory, prompt="query: ")
    expected = encoder.encode([f"query: {text}" for text in PROMPTS])
    np.testing.assert_allclose(asked.encode(PROMPTS), expected, atol=1e-6)
    assert asked.fingerprint != encoder.fingerprint
