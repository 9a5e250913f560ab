"""LoRA adapters as PEFT saves them, merged into a model's weights: W + scale B A."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
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
# Settings by which an adapter changes some of the modules that it names.
_PARTIAL = ("layers_to_transform", "exclude_modules", "layer_replication")
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
    config = _read_config(adapter)
    merged: set[str] = set()
    for delta in _read(adapter, config):
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
        merged.add(delta.module)
    if missing := sorted(_targets(config, modules) - merged) or (not merged and ["any"]):
        raise EncoderError(
            f"{adapter / _WEIGHTS_FILE}: has no weights for {missing[0]}, which the adapter "
            f"changes ({len(merged)} others are there); fetch the adapter again"
        )
    return len(merged)


def _targets(config: dict[str, Any], modules: Iterable[str]) -> set[str]:
    """The modules that the adapter must change; none where its settings do not list them."""
    names = config.get("target_modules")
    if not isinstance(names, list) or any(map(config.get, _PARTIAL)):
        return set()
    return {module for module in modules if module.rsplit(".", 1)[-1] in names}


def _read(adapter: Path, config: dict[str, Any]) -> Iterator[_Delta]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

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
        if side["A"].shape[0] != rank or side["B"].shape[-1] != rank:
            raise EncoderError(f"{adapter}: {module} is not of rank {rank}, as r says")
        yield _Delta(module, side["A"], side["B"], scale)


def _read_config(adapter: Path) -> dict[str, Any]:
    path = adapter / _CONFIG_FILE
    try:
        config: dict[str, Any] = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EncoderError(f"{path}: cannot be read ({error}); fetch the adapter again") from None
    if config.get("peft_type") != "LORA":
        raise EncoderError(f"{path}: peft_type must be LORA, got {config.get('peft_type')!r}")
    unsupported = [key for key in _UNSUPPORTED if config.get(key)]
    if unsupported or config.get("bias", "none") != "none":
        raise EncoderError(f"{path}: {(unsupported or ['bias'])[0]} is not supported")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or min(rank, alpha) <= 0:
        raise EncoderError(
            f"{path}: r must be a whole number and lora_alpha a number above 0, got {rank!r} and "
            f"{alpha!r}"
        )
    return config
