"""Random LoRA adapters for the tiny models, laid out as PEFT saves them; needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tests.encoders.tiny_models import write_json

RANK, ALPHA = 4, 12
TARGETS = {
    "bert": ["query", "key", "value", "dense"],
    "mpnet": ["q", "k", "v", "o", "dense"],
}
Tensors = dict[str, NDArray[Any]]


def modules_of(base: Path, targets: Sequence[str], *, prefix: str = "") -> dict[str, Any]:
    """Shapes of the dense layers of a model whose names end with one of the targets."""
    shapes = {}
    for name, tensor in load_file(base / "model.safetensors").items():
        module = name.removesuffix(".weight").removeprefix(prefix)
        ends = module.rsplit(".", 1)[-1] in targets
        if name.endswith(".weight") and ends and not module.startswith("pooler"):
            shapes[module] = tensor.shape
    return shapes


def write_adapter(
    directory: Path,
    base: Path,
    targets: Sequence[str],
    *,
    seed: int = 0,
    dtype: str = "float32",
    wrapped: str = "",
    change: Callable[[Tensors], Tensors] = lambda tensors: tensors,
    **config: Any,
) -> Path:
    """An adapter of all modules that the targets name; `config` changes adapter_config.json."""
    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for module, (n_out, n_in) in sorted(modules_of(base, targets).items()):
        key = f"base_model.model.{wrapped}{module}"
        tensors[f"{key}.lora_A.weight"] = 0.3 * rng.standard_normal((RANK, n_in))
        tensors[f"{key}.lora_B.weight"] = 0.3 * rng.standard_normal((n_out, RANK))
    settings = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": list(targets),
        "bias": "none",
        "rank_pattern": {},
        "alpha_pattern": {},
        "base_model_name_or_path": "somewhere",
    }
    write_json(directory / "adapter_config.json", settings | config)
    stored = change({name: tensor.astype(dtype) for name, tensor in tensors.items()})
    save_file(stored, directory / "adapter_model.safetensors")
    return directory


def write_training(adapter: Path, base: Path, name: str = "tiny") -> None:
    """What `safe-embed train` says of the base, and more that a reader may ignore."""
    digest = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    told = {"name": name, "weights_sha256": digest, "fingerprint": "0" * 64}
    write_json(adapter / "training.json", {"schema_version": 1, "base": told, "seed": 3})


def merged_copy(base: Path, adapter: Path, copy: Path, *, scale: float = ALPHA / RANK) -> Path:
    """A copy of a model with W + scale B A in its file: the slow second implementation."""
    copy.mkdir()
    for path in base.rglob("*"):
        if path.is_file() and path.name != "model.safetensors":
            (copy / path.relative_to(base)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(base)).write_bytes(path.read_bytes())
    tensors = load_file(base / "model.safetensors")
    lora = load_file(adapter / "adapter_model.safetensors")
    for name, down in lora.items():
        if not name.endswith(".lora_A.weight"):
            continue
        up = lora[name.replace("lora_A", "lora_B")].astype(np.float64)
        module = name.removesuffix(".lora_A.weight").partition("encoder.")[2]
        (target,) = [one for one in tensors if one.endswith(f"encoder.{module}.weight")]
        changed = tensors[target] + scale * (up @ down.astype(np.float64))
        tensors[target] = changed.astype(np.float32)
    save_file(tensors, copy / "model.safetensors")
    return copy
