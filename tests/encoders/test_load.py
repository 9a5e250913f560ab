"""From names and directories to encoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safe_embed.encoders import BACKENDS, Encoder, load_encoder
from safe_embed.errors import InputError, MissingExtraError, UnknownNameError
from tests.encoders.tiny_models import write_model, write_modules


def test_every_loaded_encoder_keeps_the_protocol(tmp_path: Path):
    for encoder in (load_encoder("fake"), load_encoder(write_model(tmp_path / "tiny"))):
        assert isinstance(encoder, Encoder)
        assert len(encoder.fingerprint) == 64
        vectors = encoder.encode(["a b", "c"])
        assert vectors.shape == (2, encoder.dimension)
        assert encoder.encode([]).shape == (0, encoder.dimension)


def test_a_directory_is_named_after_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path / "tiny")
    encoder = load_encoder(".")
    assert encoder.name == "tiny"
    assert encoder.published_average_similarity is None


def test_the_cache_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAFE_EMBED_CACHE_DIR", str(tmp_path / "cache"))
    directory = write_model(tmp_path / "tiny")
    load_encoder(directory).encode(["a"])
    assert not (tmp_path / "cache" / "embeddings").exists()
    cached = load_encoder(directory, cache=True)
    assert (cached.encode(["a"]) == load_encoder(directory).encode(["a"])).all()
    assert list((tmp_path / "cache" / "embeddings").glob("*.sqlite"))


def test_unknown_names_and_backends():
    with pytest.raises(UnknownNameError, match="no directory of that name either"):
        load_encoder("nothing-like-it")
    with pytest.raises(UnknownNameError, match="unknown backend 'onx': did you mean onnx"):
        load_encoder("fake", backend="onx")
    assert list(BACKENDS) == ["onnx", "sentence-transformers"]


def test_an_impossible_batch_size(tmp_path: Path):
    with pytest.raises(InputError, match="batch_size must be 1 or more"):
        load_encoder(write_model(tmp_path / "tiny"), batch_size=0)


def max_pooled(directory: Path) -> Path:
    """A pooling that the engine lacks."""
    write_model(directory)
    write_modules(directory, pooling="max")
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return directory


def test_what_the_engine_lacks_names_the_extra(tmp_path: Path):
    try:
        import sentence_transformers  # noqa: F401
    except ImportError:
        said: list[str] = []
        with pytest.raises(MissingExtraError, match=r"pip install 'safe-embed\[torch\]'"):
            load_encoder(max_pooled(tmp_path / "tiny"), report=said.append)
        assert "not supported by the engine" in said[0]
    else:
        pytest.skip("the extra torch is installed")


@pytest.mark.torch
def test_what_the_engine_lacks_goes_to_sentence_transformers(tmp_path: Path):
    pytest.importorskip("sentence_transformers", reason="needs the extra torch")
    said: list[str] = []
    encoder = load_encoder(max_pooled(tmp_path / "tiny"), report=said.append)
    assert encoder.encode(["a b"]).shape == (1, 32)
    assert "not supported by the engine" in said[0]
