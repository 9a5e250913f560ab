"""BASE+DIR: the adapter is in the weights of the graph, and the encoder is another one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from safe_embed.encoders import adaptation, catalogue, load_encoder, weights
from safe_embed.encoders.catalogue import WEIGHTS_FILE
from safe_embed.encoders.export import open_export, write_export
from safe_embed.encoders.load import _may_be_base
from safe_embed.encoders.modeldir import read_model_dir
from safe_embed.encoders.onnx_encoder import OnnxEncoder
from safe_embed.encoders.onnx_session import digest_of, graph_key
from safe_embed.errors import EncoderError, UnknownNameError
from safe_embed.files import cache_dir, sha256_of
from safe_embed.training.artefact import CARD_FILE
from safe_embed.training.card import model_card
from safe_embed.training.results import Training
from tests.encoders.test_load import tiny_row, use_row
from tests.encoders.test_static_encoder import write_static
from tests.encoders.tiny_adapters import TARGETS, merged_copy, write_adapter, write_training
from tests.encoders.tiny_models import PROMPTS, write_model, write_transformers_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "safer", base, TARGETS["bert"])


# --- the numbers


@pytest.mark.parametrize("model_type", ["bert", "mpnet"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_is_the_encoder_of_the_merged_weights(tmp_path: Path, model_type: str, dtype: str) -> None:
    base = write_model(tmp_path / "base", model_type)
    adapter = write_adapter(tmp_path / "a", base, TARGETS[model_type], dtype=dtype)
    expected = load_encoder(merged_copy(base, adapter, tmp_path / "merged")).encode(PROMPTS)
    adapted = load_encoder(f"{base}+{adapter}").encode(PROMPTS)
    np.testing.assert_allclose(adapted, expected, atol=1e-5)
    assert abs(adapted - load_encoder(base).encode(PROMPTS)).max() > 0.05


def test_weights_with_the_prefix_of_a_task_head(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain")
    adapter = write_adapter(tmp_path / "a", plain, TARGETS["bert"])
    prefixed = write_model(
        tmp_path / "prefixed",
        change_tensors=lambda tensors: {f"bert.{name}": one for name, one in tensors.items()},
    )
    wrapped = write_adapter(tmp_path / "wrapped", plain, TARGETS["bert"], wrapped="bert.")
    expected = load_encoder(f"{plain}+{adapter}").encode(PROMPTS)
    for name in (f"{prefixed}+{adapter}", f"{prefixed}+{wrapped}", f"{plain}+{wrapped}"):
        assert (load_encoder(name).encode(PROMPTS) == expected).all()


def test_an_adapter_of_some_layers_changes_no_others(base: Path, tmp_path: Path) -> None:
    adapter = write_adapter(
        tmp_path / "a",
        base,
        TARGETS["bert"],
        change=lambda tensors: {name: one for name, one in tensors.items() if "layer.1." in name},
        layers_to_transform=[1],
        layers_pattern="layer",
    )
    expected = load_encoder(merged_copy(base, adapter, tmp_path / "merged")).encode(PROMPTS)
    adapted = load_encoder(f"{base}+{adapter}").encode(PROMPTS)
    np.testing.assert_allclose(adapted, expected, atol=1e-5)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "mpnet"])
def test_agrees_with_peft(tmp_path: Path, model_type: str) -> None:
    """PEFT makes the adapter and runs it unmerged in sentence-transformers."""
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    peft: Any = pytest.importorskip("peft", reason="the reference for its own format")
    sentence_transformers: Any = import_module("sentence_transformers")
    base = write_transformers_model(tmp_path / "base", model_type)
    model = sentence_transformers.SentenceTransformer(str(base), device="cpu")
    targets = TARGETS.get(model_type, TARGETS["bert"])
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=targets)
    torch.manual_seed(1)
    wrapped = peft.get_peft_model(model[0].auto_model, config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    wrapped.save_pretrained(tmp_path / "a")
    texts = [text.strip() for text in PROMPTS]  # not every version does so
    expected = model.encode(texts, normalize_embeddings=True)
    name = f"{base}+{tmp_path / 'a'}"
    adapted = load_encoder(name)
    assert isinstance(adapted, OnnxEncoder)
    np.testing.assert_allclose(adapted.encode(PROMPTS), expected, atol=1e-5)
    assert abs(adapted.encode(PROMPTS) - load_encoder(base).encode(PROMPTS)).max() > 0.01
    other = load_encoder(name, backend="sentence-transformers")
    np.testing.assert_allclose(other.encode(PROMPTS), expected, atol=1e-5)
    plain = load_encoder(base, backend="sentence-transformers")
    assert len({one.fingerprint for one in (adapted, other, plain, load_encoder(base))}) == 4
    assert (other.name, other.published_average_similarity) == ("base+a", None)


@pytest.mark.torch
def test_an_architecture_that_the_engine_lacks(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra torch")
    base = write_transformers_model(tmp_path / "base", "distilbert")
    adapter = write_adapter(tmp_path / "a", base, ["q_lin", "v_lin"])
    said: list[str] = []
    adapted = load_encoder(f"{base}+{adapter}", report=said.append)
    assert "not supported by the engine" in said[0]
    assert abs(adapted.encode(PROMPTS) - load_encoder(base).encode(PROMPTS)).max() > 0.01


def test_no_torch_is_imported(base: Path, adapter: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from safe_embed import load_encoder; "
        f"print(load_encoder({f'{base}+{adapter}'!r}).encode(['a']).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 32)\n"


# --- another encoder


def test_fingerprints_differ_and_the_graph_is_kept(base: Path, adapter: Path) -> None:
    plain, adapted = load_encoder(base), load_encoder(f"{base}+{adapter}")
    graphs = set((cache_dir() / "graphs").iterdir())
    assert len(graphs) == 2
    again = load_encoder(f"{base}+{adapter}")
    assert set((cache_dir() / "graphs").iterdir()) == graphs
    assert (again.encode(PROMPTS) == adapted.encode(PROMPTS)).all()
    assert again.fingerprint == adapted.fingerprint != plain.fingerprint
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 5}))
    weaker = load_encoder(f"{base}+{adapter}")
    assert weaker.fingerprint not in (adapted.fingerprint, plain.fingerprint)
    assert (weaker.encode(PROMPTS) != adapted.encode(PROMPTS)).any()


def test_embeddings_are_cached_apart(base: Path, adapter: Path) -> None:
    plain = load_encoder(base, cache=True).encode(PROMPTS)
    adapted = load_encoder(f"{base}+{adapter}", cache=True)
    assert abs(adapted.encode(PROMPTS) - plain).max() > 0.01
    assert (adapted.encode(PROMPTS) == load_encoder(f"{base}+{adapter}").encode(PROMPTS)).all()


def test_an_encoder_without_an_adapter_keeps_its_fingerprint(base: Path) -> None:
    """Indexes that were built before there were adapters must open."""
    model = replace(read_model_dir(base), weights_digest="0" * 64)
    told = {"graph_version": 2, "weights": "0" * 64, "config": dict(model.config)}
    assert graph_key(model) == digest_of({**told, "pooling": "mean"})


def test_settings_are_the_base_s_and_the_average_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_model(tmp_path / "base")
    adapter = write_adapter(tmp_path / "safer", base, TARGETS["bert"])
    pinned = {name: sha256_of(base / name) for name in ("tokenizer.json", WEIGHTS_FILE)}
    use_row(monkeypatch, tiny_row(files=pinned, max_tokens=190, prompt=""))
    plain, adapted = load_encoder(base), load_encoder(f"{base}+{adapter}")
    assert isinstance(plain, OnnxEncoder)
    assert isinstance(adapted, OnnxEncoder)
    assert (plain.name, plain.published_average_similarity) == ("tiny", 0.25)
    assert (adapted.name, adapted.published_average_similarity) == ("tiny+safer", None)
    for setting in ("pooling", "max_tokens", "prompt", "lower_case", "tokenizer_digest"):
        assert getattr(adapted.model, setting) == getattr(plain.model, setting)


def test_devices_and_batches_are_as_usual(base: Path, adapter: Path) -> None:
    expected = load_encoder(f"{base}+{adapter}").encode(PROMPTS)
    assert (load_encoder(f"{base}+{adapter}", batch_size=1).encode(PROMPTS) == expected).all()
    with pytest.raises(EncoderError, match="cuda"):
        load_encoder(f"{base}+{adapter}", device="cuda")


@pytest.mark.parametrize("int8", [False, True])
def test_an_export_has_the_adapter_inside(
    base: Path,
    adapter: Path,
    tmp_path: Path,
    int8: bool,  # noqa: FBT001 - pytest gives it
) -> None:
    adapted, plain = load_encoder(f"{base}+{adapter}"), load_encoder(base)
    out = tmp_path / "out"
    out.mkdir()
    write_export(adapted, out, int8_texts=PROMPTS * 4 if int8 else None)
    shutil.rmtree(adapter)
    exported = open_export(out)
    cosines = (exported.encode(PROMPTS) * adapted.encode(PROMPTS)).sum(axis=1)
    assert cosines.min() > (0.98 if int8 else 0.999999)
    assert cosines.mean() > (exported.encode(PROMPTS) * plain.encode(PROMPTS)).sum(axis=1).mean()
    facts = json.loads((out / "export.json").read_text())
    assert (facts["encoder"], facts["fingerprint"]) == ("base+safer", adapted.fingerprint)
    assert len(facts["adapter"]) == 64


# --- names


def test_either_part_may_have_a_plus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_model(tmp_path / "c++" / "base+1")
    adapter = write_adapter(tmp_path / "c++" / "a+b", base, ["query"])
    write_model(tmp_path / "c++" / "base", seed=1)  # a directory as a whole comes first
    assert load_encoder(base).name == "base+1"
    assert load_encoder(f"{base}+{adapter}").name == "base+1+a+b"
    monkeypatch.chdir(tmp_path / "c++")
    assert load_encoder("base+1+a+b").name == "base+1+a+b"
    monkeypatch.chdir(adapter)
    assert load_encoder("../base+1+.").name == "base+1+a+b"


def test_names_become_absolute(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, expected in {
        "base": str(base),
        "base+safer": f"{base}+{adapter}",
        "minilm+safer": f"minilm+{adapter}",
        "hub:a/b+./safer": f"hub:a/b+{adapter}",
        "minilm": "minilm",
        "minilm+nothing": "minilm+nothing",
    }.items():
        assert adaptation.absolute_name(name) == expected


def test_what_is_no_pair_stays_whole(adapter: Path, tmp_path: Path) -> None:
    for name in ("minilm", "file:a+b.npz", "openai:a+b", "minilm+", "+minilm", "no-such+thing"):
        assert adaptation.split_name(name, _may_be_base) is None
    assert adaptation.split_name("a/b@main+x", _may_be_base) == ("a/b@main", Path("x"))
    assert adaptation.split_name(f"no+{adapter}", _may_be_base) == ("no", adapter)


# --- what is refused


def refusal(name: str, **options: Any) -> str:
    with pytest.raises(EncoderError) as caught:
        load_encoder(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_adapters_that_are_not_there_are_told_before_a_fetch(tmp_path: Path) -> None:
    assert "nothing is not a directory" in refusal(f"minilm+{tmp_path / 'nothing'}")
    assert "has no adapter_config.json" in refusal(f"someone/tiny+{tmp_path}")
    with pytest.raises(UnknownNameError, match=r"unknown encoder 'minilm\+'"):
        load_encoder("minilm+")


def test_an_unknown_base(adapter: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown encoder 'minlm': did you mean minilm"):
        load_encoder(f"minlm+{adapter}")


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("fake", "fake"),
        ("openai:some/model", "openai"),
        ("file:x.npz", "file"),
        ("text-embedding-3-large", "openai"),
        ("potion", "static"),
        ("llm2vec-mistral", "llm2vec"),
    ],
)
def test_bases_without_weights_to_change(adapter: Path, name: str, backend: str) -> None:
    assert f"is of the backend {backend}; leave" in refusal(f"{name}+{adapter}")


def test_directories_without_weights_to_change(base: Path, adapter: Path, tmp_path: Path) -> None:
    static = write_static(tmp_path / "static")
    assert "is of the backend static; leave" in refusal(f"{static}+{adapter}")
    assert "is of the backend static; leave" in refusal(f"{base}+{adapter}", backend="static")
    (tmp_path / "exported").mkdir()
    write_export(load_encoder(base), tmp_path / "exported")
    assert "is of the backend onnx-export" in refusal(f"{tmp_path / 'exported'}+{adapter}")


def test_another_base(tmp_path: Path, base: Path, adapter: Path) -> None:
    other = write_model(tmp_path / "other", "mpnet")
    assert "is made for another model: it needs" in refusal(f"{other}+{adapter}")
    write_training(adapter, base, "minilm")
    assert load_encoder(f"{base}+{adapter}").encode(["a"]).shape == (1, 32)
    same_shapes = write_model(tmp_path / "same", seed=1)
    message = refusal(f"{same_shapes}+{adapter}")
    assert "was trained on another base: on minilm with weights" in message
    assert f"load it as minilm+{adapter}" in message


def test_another_row_is_told_before_a_fetch(base: Path, adapter: Path) -> None:
    write_training(adapter, base, "minilm")
    assert "trained on another base: on minilm" in refusal(f"sbert-all+{adapter}")


@pytest.mark.torch
def test_another_base_in_the_other_engine(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra torch")
    base = write_transformers_model(tmp_path / "base", "bert")
    adapter = write_adapter(tmp_path / "a", base, TARGETS["bert"])
    write_training(adapter, base)
    name = f"{base}+{adapter}"
    assert load_encoder(name, backend="sentence-transformers").name == "base+a"
    tensors = load_file(base / WEIGHTS_FILE)
    tensors["embeddings.LayerNorm.bias"][0] += 1
    save_file(tensors, base / WEIGHTS_FILE, metadata={"format": "pt"})
    assert "trained on another base" in refusal(name, backend="sentence-transformers")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"base": {}}', '{"base": null}', "\udcff"])
def test_damaged_training_json(base: Path, adapter: Path, text: str) -> None:
    (adapter / "training.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "training.json: damaged" in refusal(f"{base}+{adapter}")


# --- rows that ship an adapter

TOML = """
[tiny]
model_id = "someone/tiny"
revision = "{revision}"
backend = "onnx"
pooling = "mean"
dimension = 32
max_tokens = 190
size_mb = 1
license = "MIT"
description = "For tests."
published_average_similarity = 0.25

[tiny.files]
{files}

[tiny-safety]
base = "tiny"
license = "Apache-2.0"
description = "tiny, tuned."

[tiny-safety.adapter_files]
{adapter_files}
"""


@pytest.fixture
def shipped(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of a tiny encoder and a tuned one; returns the folder of the tuned one."""
    directory = write_adapter(tmp_path / "package" / "tiny-safety", base, TARGETS["bert"])
    write_training(directory, base)

    def listed(path: Path) -> str:
        names = sorted(one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file())
        return "\n".join(f'"{name}" = "{sha256_of(path / name)}"' for name in names)

    text = TOML.format(revision="a" * 40, files=listed(base), adapter_files=listed(directory))
    rows = catalogue.parse(text)
    monkeypatch.setattr(catalogue, "rows", lambda: rows)
    monkeypatch.setattr(adaptation, "shipped_directory", lambda _row: directory)
    shutil.copytree(base, cache_dir() / "encoders" / "tiny")
    return directory


def test_a_row_with_an_adapter(shipped: Path, base: Path) -> None:
    tuned, plain = load_encoder("tiny-safety"), load_encoder("tiny")
    assert (tuned.name, tuned.published_average_similarity) == ("tiny-safety", None)
    assert plain.published_average_similarity == 0.25
    by_hand = load_encoder(f"tiny+{shipped}")
    assert by_hand.fingerprint == tuned.fingerprint != plain.fingerprint
    assert (by_hand.encode(PROMPTS) == tuned.encode(PROMPTS)).all()
    assert by_hand.name == "tiny+tiny-safety"
    assert [one.name for one in (cache_dir() / "encoders").iterdir() if one.is_dir()] == ["tiny"]


def test_what_a_row_has_from_its_base(shipped: Path, base: Path) -> None:
    plain, tuned = catalogue.rows()
    assert (tuned.base, tuned.license, plain.license) == ("tiny", "Apache-2.0", "MIT")
    assert (tuned.files, tuned.model_id) == (plain.files, plain.model_id)
    assert weights.find(tuned) == weights.find(plain) == weights.fetch(tuned)
    assert catalogue.row_for_weights(plain.files[WEIGHTS_FILE]) is plain
    assert load_encoder(base).name == "tiny"
    for row in catalogue.rows():
        assert catalogue.EncoderRow.model_validate_json(row.model_dump_json()) == row


def test_a_shipped_adapter_is_pinned(shipped: Path) -> None:
    path = shipped / "adapter_model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "is not the file that was shipped; install" in refusal("tiny-safety")
    path.unlink()
    assert "is missing or is not the file" in refusal("tiny-safety")


def test_a_row_takes_no_second_adapter(shipped: Path) -> None:
    assert "has an adapter already; name its base tiny" in refusal(f"tiny-safety+{shipped}")
    assert "is of the backend static" in refusal("tiny-safety", backend="static")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('base = "tiny"', 'base = "nothing"'), "nothing is no row with weights of its own"),
        (('base = "tiny"', 'base = "tiny-safety"'), "tiny-safety is no row with weights"),
        (("[tiny-safety.adapter_files]", "[tiny-safety.pinned]"), "need each other|files lists"),
        (('base = "tiny"', 'base = "tiny"\nbackend = "static"'), "for the onnx engine"),
        (
            ('base = "tiny"', 'base = "tiny"\npublished_average_similarity = 0.1'),
            "has no published average",
        ),
    ],
)
def test_wrong_rows(change: tuple[str, str], message: str) -> None:
    line = f'"{WEIGHTS_FILE}" = "{"0" * 64}"'
    text = TOML.format(revision="a" * 40, files=line, adapter_files=line)
    assert len(catalogue.parse(text)) == 2
    with pytest.raises(ValueError, match=message):
        catalogue.parse(text.replace(*change))


def test_the_package_has_what_its_rows_pin() -> None:
    for row in catalogue.rows():
        if row.base is not None:
            assert adaptation.shipped_directory(row).is_dir()
            adaptation.read_shipped(row)


def test_the_package_s_model_cards_say_what_their_trainings_did() -> None:
    for row in catalogue.rows():
        if row.base is not None:
            directory = adaptation.shipped_directory(row)
            text = (directory / adaptation.TRAINING_FILE).read_text("utf-8")
            card = model_card(Training.model_validate_json(text), row.name)
            assert (directory / CARD_FILE).read_text("utf-8") == card + "\n"
