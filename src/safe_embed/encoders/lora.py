"""LoRA adapters as PEFT saves them, merged into a model's weights: W + scale B A."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safe_embed.errors import EncoderError

if TYPE_CHECKING:
    import torch

__all__ = ["merge_lora"]

_CONFIG_FILE = "adapter_config.json"
_WEIGHTS_FILE = "adapter_model.safetensors"
# Whatever a model is wrapped in, its decoder's modules are called layers.N.something.
_MODULE = re.compile(r"(layers\.\d+\..+)\.lora_([AB])\.(?:default\.)?weight$")
_UNSUPPORTED = ("use_dora", "fan_in_fan_out", "lora_bias", "rank_pattern", "alpha_pattern")


@dataclass(frozen=True)
class _Delta:
    """What one adapter adds to one weight."""

    module: str
    """From `layers.` on."""
    down: torch.Tensor
    """A, of shape (r, n_in)."""
    up: torch.Tensor
    """B, of shape (n_out, r)."""
    scale: float


def merge_lora(model: torch.nn.Module, adapter: Path) -> int:
    """Adds an adapter to the weights of a decoder, in place.

    The sum is made in float32 and rounded to the type of the weight (Hu et al. 2021, section 4.1).

    Args:
        model: its modules are named `...layers.N....`.
        adapter: directory with `adapter_config.json` and `adapter_model.safetensors`.

    Returns:
        How many weights were changed.

    Raises:
        EncoderError: the adapter is damaged, of another kind, or made for another model.
    """
    import torch

    modules = {
        name[name.index("layers.") :]: module
        for name, module in model.named_modules()
        if "layers." in name
    }
    n_merged = 0
    for delta in _read(adapter):
        weight = getattr(modules.get(delta.module), "weight", None)
        shape = (delta.up.shape[0], delta.down.shape[1])
        if weight is None or tuple(weight.shape) != shape:
            found = "there is none" if weight is None else f"got {tuple(weight.shape)}"
            raise EncoderError(
                f"{adapter}: is made for another model: it needs {delta.module} of shape {shape}, "
                f"{found}"
            )
        with torch.no_grad():
            change = delta.scale * (delta.up.float() @ delta.down.float())
            weight.copy_((weight.float() + change.to(weight.device)).to(weight.dtype))
        n_merged += 1
    return n_merged


def _read(adapter: Path) -> Iterator[_Delta]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = _read_config(adapter)
    try:
        tensors = load_file(adapter / _WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{adapter / _WEIGHTS_FILE}: cannot be read ({error})") from None
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        match = _MODULE.search(name)
        if match is None:
            raise EncoderError(f"{adapter}: {name} is no LoRA weight of a decoder layer")
        sides.setdefault(match[1], {})[match[2]] = tensor
    rank, alpha = config["r"], config["lora_alpha"]
    scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    for module, side in sorted(sides.items()):
        if side.keys() != {"A", "B"}:
            raise EncoderError(f"{adapter}: {module} has one of lora_A and lora_B only")
        yield _Delta(module, side["A"], side["B"], scale)


def _read_config(adapter: Path) -> dict[str, Any]:
    path = adapter / _CONFIG_FILE
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: cannot be read ({error}); fetch the adapter again") from None
    if config.get("peft_type") != "LORA":
        raise EncoderError(f"{path}: peft_type must be LORA, got {config.get('peft_type')!r}")
    unsupported = [key for key in _UNSUPPORTED if config.get(key)]
    if unsupported or config.get("bias", "none") != "none":
        raise EncoderError(f"{path}: {(unsupported or ['bias'])[0]} is not supported")
    if not all(isinstance(config.get(key), int) and config[key] > 0 for key in ("r", "lora_alpha")):
        raise EncoderError(f"{path}: r and lora_alpha must be whole numbers above 0")
    return config
