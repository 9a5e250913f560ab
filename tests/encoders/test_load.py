"""From names and directories to encoders."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from huggingface_hub import close_session

from safe_embed.encoders import BACKENDS, Encoder, LoadOptions, catalogue, load_encoder
from safe_embed.encoders.catalogue import EncoderRow
from safe_embed.encoders.load import PREFIXES
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.static_encoder import StaticEncoder
from safe_embed.errors import EncoderError, InputError, MissingExtraError, UnknownNameError
from tests.encoders import openai_server
from tests.encoders.hub_server import Hub, point_to, serve
from tests.encoders.test_static_encoder import write_static
from tests.encoders.tiny_models import PROMPTS, write_model, write_modules

MODEL_ID = "someone/tiny"
REVISION = "a" * 40


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one tiny BERT."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serve(MODEL_ID, REVISION, files_of(write_model(tmp_path / "origin"))) as running:
        point_to(running.url, monkeypatch)
        yield running
        close_session()


def tiny_row(**changes: object) -> EncoderRow:
    fields: dict[str, object] = {
        "name": "tiny",
        "model_id": MODEL_ID,
        "revision": REVISION,
        "backend": "onnx",
        "pooling": "mean",
        "dimension": 32,
        "max_tokens": 190,
        "size_mb": 1,
        "license": "MIT",
        "description": "For tests.",
        "published_average_similarity": 0.25,
    }
    return EncoderRow.model_validate({**fields, **changes})


def use_row(monkeypatch: pytest.MonkeyPatch, row: EncoderRow) -> None:
    monkeypatch.setattr(catalogue, "rows", lambda: (row,))


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
    with pytest.raises(
        UnknownNameError, match=r"no directory of that name .* hub:, openai:, file:"
    ):
        load_encoder("nothing-like-it")
    with pytest.raises(UnknownNameError, match="unknown backend 'onx': did you mean onnx"):
        load_encoder("fake", backend="onx")
    assert list(PREFIXES) == ["hub", "openai", "file"]
    local = ["onnx", "onnx-export", "static", "sentence-transformers"]
    assert list(BACKENDS) == [*local, "llm2vec", "openai"]
    assert {row.backend for row in catalogue.rows()} <= set(BACKENDS)


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


# --- rows of the catalogue


def test_a_row_is_fetched_and_run_with_its_settings(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    use_row(monkeypatch, tiny_row(prompt="query: ", pooling="cls"))
    encoder = load_encoder("tiny")
    assert isinstance(encoder, OnnxEncoder)
    assert (encoder.name, encoder.published_average_similarity) == ("tiny", 0.25)
    plain = load_encoder(f"hub:{MODEL_ID}")
    assert plain.published_average_similarity is None
    by_hand = plain.encode([f"query: {text}" for text in PROMPTS])
    assert abs(encoder.encode(PROMPTS) - by_hand).max() > 0.01, "the pooling is the row's"
    use_row(monkeypatch, tiny_row(prompt="query: "))
    assert (load_encoder("tiny").encode(PROMPTS) == by_hand).all()


@pytest.mark.torch
def test_the_other_engine_gets_the_row_s_prompt(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("sentence_transformers", reason="needs the extra torch")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    hub.files["tokenizer_config.json"] = json.dumps(settings).encode()
    use_row(monkeypatch, tiny_row(prompt="query: ", backend="sentence-transformers"))
    theirs = load_encoder("tiny")
    ours = load_encoder("tiny", backend="onnx")
    assert (theirs.name, theirs.published_average_similarity) == ("tiny", 0.25)
    np.testing.assert_allclose(theirs.encode(PROMPTS), ours.encode(PROMPTS), atol=1e-5)
    use_row(monkeypatch, tiny_row(backend="sentence-transformers"))
    plain = load_encoder("tiny")
    assert plain.fingerprint != theirs.fingerprint
    assert abs(plain.encode(PROMPTS) - theirs.encode(PROMPTS)).max() > 0.01


def test_a_static_row(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hub.files.clear()
    hub.files.update(files_of(write_static(tmp_path / "static")))
    use_row(monkeypatch, tiny_row(backend="static", dimension=6))
    encoder = load_encoder("tiny")
    assert isinstance(encoder, StaticEncoder)
    assert (encoder.name, encoder.published_average_similarity) == ("tiny", 0.25)


def test_a_backend_that_a_row_cannot_have(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="run by the backend openai, not by onnx"):
        load_encoder("text-embedding-3-large", backend="onnx")


class FakeLLM:
    """Keeps what it was made from."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        self.given, self.settings = given, settings


def test_llm2vec_gets_base_and_adapters_in_their_order(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    adapters = [{"model_id": f"someone/a{i}", "revision": str(i) * 40} for i in (1, 2)]
    for index, each in enumerate(adapters):
        files = {"adapter_config.json": b"{}", "adapter_model.safetensors": bytes([index])}
        hub.others[each["model_id"]] = (each["revision"], files)
    use_row(monkeypatch, tiny_row(backend="llm2vec", adapters=adapters, dtype="bfloat16"))
    module = ModuleType("safe_embed.encoders.llm2vec_encoder")
    monkeypatch.setattr(module, "LLM2VecEncoder", FakeLLM, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    checked: list[Any] = []
    monkeypatch.setattr(
        "safe_embed.encoders.decoder_weights.check_before_fetching", lambda *of: checked.append(of)
    )
    encoder: Any = load_encoder("tiny")
    assert [one[2:] for one in checked] == [("bfloat16", "cpu")]
    (directory,) = encoder.given
    assert (directory / "model.safetensors").is_file()
    merged = [
        (path / "adapter_model.safetensors").read_bytes() for path in encoder.settings["adapters"]
    ]
    assert merged == [bytes([0]), bytes([1])]
    assert encoder.settings["dtype"] == "bfloat16"
    with pytest.raises(InputError, match="rows of the catalogue only"):
        load_encoder(directory, backend="llm2vec")


def test_old_transformers_would_need_the_model_s_own_code(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    use_row(monkeypatch, tiny_row(backend="sentence-transformers", own_code_before="5.5"))
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata,
        "version",
        lambda name: "4.57.1" if name == "transformers" else real(name),
    )
    with pytest.raises(EncoderError, match=r"needs transformers 5\.5 or newer, got 4\.57\.1"):
        load_encoder("tiny")


# --- the hub


@pytest.mark.parametrize("name", [MODEL_ID, f"hub:{MODEL_ID}", f"{MODEL_ID}@{REVISION}"])
def test_any_model_of_the_hub(hub: Hub, tmp_path: Path, name: str):
    encoder = load_encoder(name)
    assert encoder.name == "tiny"
    expected = load_encoder(tmp_path / "origin")
    assert (encoder.encode(PROMPTS) == expected.encode(PROMPTS)).all()
    assert encoder.fingerprint == expected.fingerprint


def test_a_directory_comes_before_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    write_static(tmp_path / "someone" / "tiny")
    assert isinstance(load_encoder(MODEL_ID), StaticEncoder)
    assert hub.listings == []
    assert isinstance(load_encoder(f"hub:{MODEL_ID}"), OnnxEncoder)


@pytest.mark.parametrize("name", ["hub:tiny", "hub:", "hub:a/b/c", "hub:someone/tiny@"])
def test_names_that_no_hub_has(hub: Hub, name: str):
    with pytest.raises(InputError, match="must be hub:ORG/MODEL or"):
        load_encoder(name)
    assert hub.listings == []


def test_a_path_that_does_not_exist_is_not_asked_for_at_the_hub(hub: Hub):
    for name in ("./models/tiny", "../tiny", "/models/tiny", "models/tiny/"):
        with pytest.raises(UnknownNameError):
            load_encoder(name)
    assert hub.listings == []


def test_pickles_need_permission(hub: Hub):
    hub.files["pytorch_model.bin"] = hub.files.pop("model.safetensors")
    with pytest.raises(EncoderError, match=r"only pickled weights .*--allow-pickle"):
        load_encoder(MODEL_ID)


@pytest.fixture
def pickled(hub: Hub, tmp_path: Path) -> Hub:
    """The hub with a BERT as SimCSE has it: a pickle and a vocabulary."""
    torch: Any = pytest.importorskip("torch", reason="needs the extra torch")
    pytest.importorskip("safe_embed.encoders.pickled_weights")
    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "origin" / "model.safetensors")
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    hub.files["pytorch_model.bin"] = (tmp_path / "pytorch_model.bin").read_bytes()
    vocabulary = json.loads(hub.files["tokenizer.json"])["model"]["vocab"]
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    hub.files["vocab.txt"] = "\n".join(words).encode()
    for name in ("model.safetensors", "tokenizer.json", "modules.json", "1_Pooling/config.json"):
        del hub.files[name]
    return hub


@pytest.mark.torch
def test_a_pinned_pickle_is_read_and_kept_as_safetensors(
    pickled: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    digest = hashlib.sha256(pickled.files["pytorch_model.bin"]).hexdigest()
    use_row(monkeypatch, tiny_row(pickle_sha256=digest))
    encoder = load_encoder("tiny")
    expected = load_encoder(tmp_path / "origin").encode(PROMPTS)
    np.testing.assert_allclose(encoder.encode(PROMPTS), expected, atol=1e-6)
    assert encoder.published_average_similarity == 0.25
    home = next((tmp_path.parent).rglob("encoders/tiny"), None) or Path()
    assert not list(home.rglob("*.bin"))


@pytest.mark.torch
def test_any_pickle_is_read_when_it_is_allowed(pickled: Hub, tmp_path: Path):
    encoder = load_encoder(MODEL_ID, options=LoadOptions(allow_pickle=True))
    expected = load_encoder(tmp_path / "origin").encode(PROMPTS)
    np.testing.assert_allclose(encoder.encode(PROMPTS), expected, atol=1e-6)


# --- APIs


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[openai_server.Api]:
    monkeypatch.chdir(tmp_path)
    for variable in ("OPENAI_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    with openai_server.serve() as running:
        yield running


def test_an_api_is_asked_and_its_answers_are_kept(api: openai_server.Api):
    options = LoadOptions(base_url=api.url)
    encoder = load_encoder("openai:org/some-model", options=options, cache=True, batch_size=2)
    assert encoder.name == "some-model"
    texts = ["a", "b", "c"]
    expected = [openai_server.unit_of(text) for text in texts]
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-6)
    asked = len(api.requests)
    assert (encoder.encode(texts) == encoder.encode(texts)).all()
    assert len(api.requests) == asked


def test_answers_are_kept_as_they_come(api: openai_server.Api):
    encoder = load_encoder(
        "openai:m", options=LoadOptions(base_url=api.url), cache=True, batch_size=1
    )
    assert encoder.dimension == openai_server.DIMENSION
    api.refuse = lambda texts: (
        openai_server.Fault(status=401, body="{}") if texts == ["bad"] else None
    )
    with pytest.raises(EncoderError):
        encoder.encode(["good", "bad"])
    api.refuse = lambda _texts: None
    api.answered.clear()
    encoder.encode(["good", "bad"])
    assert api.answered == ["bad"]


def test_openai_s_own_model_is_the_paper_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api: openai_server.Api
):
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        load_encoder("text-embedding-3-large")
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-from-dot-env\n")
    named = load_encoder("text-embedding-3-large")
    assert (named.dimension, named.published_average_similarity) == (3072, 0.127)
    prefixed = load_encoder("openai:text-embedding-3-large")
    assert prefixed.published_average_similarity == 0.127
    assert prefixed.fingerprint == named.fingerprint
    elsewhere = load_encoder("openai:text-embedding-3-large", options=LoadOptions(base_url=api.url))
    assert elsewhere.published_average_similarity is None
    with pytest.raises(InputError, match="takes no backend"):
        load_encoder("openai:m", backend="onnx")
