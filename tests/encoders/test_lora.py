"""Adapters in PEFT's format: what is read, what is refused, and where each part of it belongs."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safe_embed.encoders.lora import LORA_CONFIG, LoraDelta, read_lora
from safe_embed.errors import EncoderError
from tests.encoders.tiny_adapters import ALPHA, RANK, TARGETS, Tensors, write_adapter
from tests.encoders.tiny_models import write_model

WEIGHTS = "adapter_model.safetensors"
FIRST = "base_model.model.encoder.layer.0.attention.self.key.lora_A.weight"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base")


def test_reads_what_was_written(base: Path, tmp_path: Path) -> None:
    adapter = read_lora(write_adapter(tmp_path / "a", base, ["query", "value"]))
    assert adapter.name == "a"
    assert [delta.module for delta in adapter.deltas] == [
        f"encoder.layer.{layer}.attention.self.{name}"
        for layer in (0, 1)
        for name in ("query", "value")
    ]
    for delta in adapter.deltas:
        assert (delta.scale, delta.shape) == (ALPHA / RANK, (32, 32))
        assert delta.up.dtype == delta.down.dtype == np.float32
        np.testing.assert_allclose(
            delta.change(), 3 * delta.up.astype(float) @ delta.down, atol=1e-6
        )


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("float32", 0), ("float64", 0)])
def test_number_formats(base: Path, tmp_path: Path, dtype: str, error: float) -> None:
    exact = read_lora(write_adapter(tmp_path / "exact", base, ["query"], dtype="float32"))
    stored = read_lora(write_adapter(tmp_path / "a", base, ["query"], dtype=dtype))
    for one, other in zip(exact.deltas, stored.deltas, strict=True):
        np.testing.assert_allclose(one.down, other.down, atol=error)
        np.testing.assert_allclose(one.up, other.up, atol=error)


def test_bfloat16_is_the_upper_half_of_float32(base: Path, tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "a", base, ["query"])
    exact = read_lora(directory)
    header: dict[str, Any] = {}
    data = b""
    for delta in exact.deltas:
        for side, values in (("A", delta.down), ("B", delta.up)):
            upper = (values.view(np.uint32) >> 16).astype(np.uint16)
            at = [len(data), len(data) + upper.nbytes]
            about = {"dtype": "BF16", "shape": upper.shape, "data_offsets": at}
            header[f"{delta.module}.lora_{side}.weight"] = about
            data += upper.tobytes()
    text = json.dumps(header).encode()
    (directory / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data)
    for one, other in zip(exact.deltas, read_lora(directory).deltas, strict=True):
        assert (one.down != other.down).any()
        np.testing.assert_allclose(one.down, other.down, rtol=2**-7)
        np.testing.assert_allclose(one.up, other.up, rtol=2**-7)


def test_rank_stabilized_scale(base: Path, tmp_path: Path) -> None:
    adapter = read_lora(write_adapter(tmp_path / "a", base, ["query"], use_rslora=True))
    assert adapter.deltas[0].scale == ALPHA / RANK**0.5


def test_the_digest_is_of_weights_and_scale(base: Path, tmp_path: Path) -> None:
    def digest(name: str, **changes: Any) -> str:
        return read_lora(write_adapter(tmp_path / name, base, ["query"], **changes)).digest

    same = {digest("a"), digest("b", base_model_name_or_path="elsewhere", lora_dropout=0.5)}
    assert len(same) == 1
    others = {digest("c", seed=1), digest("d", lora_alpha=ALPHA + 1), digest("e", dtype="float16")}
    assert len(same | others) == 4


# --- where each part belongs


def test_wrappings_do_not_matter(base: Path, tmp_path: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        f"encoder.layer.{layer}.attention.self.query": (32, 32) for layer in (0, 1)
    }
    for wrapped in ("", "bert.", "0.auto_model.bert."):
        directory = write_adapter(tmp_path / f"a{wrapped}", base, ["query"], wrapped=wrapped)
        assert read_lora(directory).fitted(shapes).keys() == shapes.keys()


def test_another_model(base: Path, tmp_path: Path) -> None:
    adapter = read_lora(write_adapter(tmp_path / "a", base, ["query"]))
    with pytest.raises(EncoderError, match=r"made for another model: .*shape \(32, 32\), there is"):
        adapter.fitted({"encoder.layer.0.attention.attn.q": (32, 32)})
    with pytest.raises(EncoderError, match=r"needs encoder\.layer\.0\..*query.*got \(64, 32\)"):
        adapter.fitted({"encoder.layer.0.attention.self.query": (64, 32)})


def test_two_deltas_of_one_module(base: Path, tmp_path: Path) -> None:
    def twice(tensors: Tensors) -> Tensors:
        return tensors | {
            name.replace("model.model.", "model.model.bert."): one for name, one in tensors.items()
        }

    adapter = read_lora(write_adapter(tmp_path / "a", base, ["query"], change=twice))
    with pytest.raises(EncoderError, match="made for another model"):
        adapter.fitted({f"encoder.layer.{i}.attention.self.query": (32, 32) for i in (0, 1)})


def test_weights_that_the_settings_name_must_be_there(base: Path, tmp_path: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        f"encoder.layer.{layer}.attention.self.{name}": (32, 32)
        for layer in (0, 1)
        for name in ("query", "key")
    }
    shapes["pooler.dense"] = (32, 32)  # that many models have, and many lack

    def last_layer(tensors: Tensors) -> Tensors:
        return {name: one for name, one in tensors.items() if "layer.1" in name}

    directory = write_adapter(tmp_path / "a", base, ["query"], change=last_layer)
    with pytest.raises(EncoderError, match=r"no weights for encoder\.layer\.0\.attention\.self\.q"):
        read_lora(directory).fitted(shapes)
    for settings_ in (
        {"layers_to_transform": [1]},
        {"target_modules": r"encoder\.layer\.1\..*query"},
        {"target_modules": ["layer.1.attention.self.query"]},
        {"target_modules": ["layer.1.attention.self.query", "pooler.dense"]},
    ):
        directory = write_adapter(tmp_path / "a", base, ["query"], change=last_layer, **settings_)
        assert len(read_lora(directory).fitted(shapes)) == 1


# --- what is refused


def test_no_directory_and_no_settings(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"no adapter: .*nothing is not a directory; give"):
        read_lora(tmp_path / "nothing")
    with pytest.raises(EncoderError, match=r"no adapter: .* has no adapter_config\.json; give"):
        read_lora(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "[1]", '"LORA"', "null", "\udcff"])
def test_damaged_settings(base: Path, tmp_path: Path, text: str) -> None:
    directory = write_adapter(tmp_path / "a", base, ["query"])
    (directory / LORA_CONFIG).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(EncoderError, match=r"adapter_config\.json: (cannot be read|peft_type)"):
        read_lora(directory)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type must be LORA, got 'IA3'"),
        ({"use_dora": True}, "use_dora is not supported"),
        ({"bias": "lora_only"}, "bias is not supported"),
        ({"modules_to_save": ["pooler"]}, "modules_to_save is not supported"),
        ({"rank_pattern": {"query": 8}}, "rank_pattern is not supported"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is not supported"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights 'pissa_niter_4' is not supp"),
        ({"r": RANK + 1}, f"is not of rank {RANK + 1}, as r says"),
        *(
            ({"r": wrong}, "r must be a whole number and lora_alpha a number above 0, got")
            for wrong in (0, -1, 4.0, True, None, "4")
        ),
        *(
            ({"lora_alpha": wrong}, "lora_alpha a number above 0, got")
            for wrong in (0, -1, None, float("inf"), float("nan"), 10**400, "8")
        ),
    ],
)
def test_other_kinds_and_numbers(
    base: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    directory = write_adapter(tmp_path / "a", base, ["query"], **changes)
    with pytest.raises(EncoderError, match=message) as caught:
        read_lora(directory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_values_that_are_no_numbers(base: Path, tmp_path: Path, value: float, dtype: str) -> None:
    def spoil(tensors: Tensors) -> Tensors:
        tensors[FIRST][1, 2] = value
        return tensors

    directory = write_adapter(tmp_path / "a", base, TARGETS["bert"], dtype=dtype, change=spoil)
    with pytest.raises(EncoderError, match=r"self\.key\.lora_A\.weight holds NaN or infinity"):
        read_lora(directory)


def test_a_change_that_float32_cannot_hold() -> None:
    huge = np.full((2, 2), 1e30, np.float32)
    with pytest.raises(EncoderError, match="change of x is too large"):
        LoraDelta("x", huge, huge, 1.0).change()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: {}, "has no weights"),
        (lambda one: {FIRST: one[FIRST]}, "has one of lora_A and lora_B only"),
        (lambda one: one | {"pooler.dense.weight": one[FIRST]}, "pooler.dense.weight is no LoRA"),
        (lambda one: one | {"x.lora_magnitude_vector": one[FIRST]}, "is no LoRA weight"),
        (lambda one: one | {"x.lora_embedding_A": one[FIRST]}, "is no LoRA weight"),
        (lambda one: one | {FIRST: one[FIRST][0]}, "is no LoRA weight of a dense layer"),
        (lambda one: one | {FIRST: one[FIRST].astype(np.int8)}, "number format I8 of .* not supp"),
    ],
)
def test_other_weights(base: Path, tmp_path: Path, change: Any, message: str) -> None:
    directory = write_adapter(tmp_path / "a", base, TARGETS["bert"], change=change)
    with pytest.raises(EncoderError, match=message):
        read_lora(directory)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_always_told(tmp_path: Path, cut: float) -> None:
    if not (tmp_path / "a").exists():
        write_adapter(tmp_path / "a", write_model(tmp_path / "base"), ["query"])
        (tmp_path / "whole").write_bytes((tmp_path / "a" / WEIGHTS).read_bytes())
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "a" / WEIGHTS).write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(EncoderError, match="missing, damaged or truncated") as caught:
        read_lora(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_missing_weights(base: Path, tmp_path: Path) -> None:
    directory = write_adapter(tmp_path / "a", base, ["query"])
    (directory / WEIGHTS).unlink()
    with pytest.raises(EncoderError, match="missing, damaged or truncated"):
        read_lora(directory)


@pytest.mark.torch
def test_what_peft_saves_is_read(base: Path, tmp_path: Path) -> None:
    """Our layout of the format is not our own idea of it."""
    torch = pytest.importorskip("torch", reason="needs the extra torch")
    peft = pytest.importorskip("peft", reason="the reference for its own format")

    class Model(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.config: dict[str, Any] = {}
            self.dense = torch.nn.Linear(6, 5, dtype=torch.bfloat16)

    config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=["dense"], init_lora_weights=False)
    model = peft.get_peft_model(Model(), config, autocast_adapter_dtype=False)
    model.save_pretrained(tmp_path / "a")
    saved = json.loads((tmp_path / "a" / LORA_CONFIG).read_text())
    saved["init_lora_weights"] = True  # as PEFT's own default has it
    (delta,) = read_lora(tmp_path / "a").deltas
    expected = model.base_model.model.dense.get_delta_weight("default").float()
    np.testing.assert_allclose(delta.change(), expected.detach().numpy(), rtol=0.02, atol=0.02)
