"""LoRA adapters as PEFT saves them: read without torch, and merged into weights: W + scale B A."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from safe_embed.errors import EncoderError

if TYPE_CHECKING:
    import torch

__all__ = ["LORA_CONFIG", "LoraAdapter", "LoraDelta", "merge_lora", "read_lora"]

LORA_CONFIG = "adapter_config.json"
_WEIGHTS_FILE = "adapter_model.safetensors"
_TENSOR = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])\.(?:default\.)?weight")
_HUGE = 1e9
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
# Settings by which an adapter changes some of the modules that it names.
_PARTIAL = ("layers_to_transform", "exclude_modules")
# Settings by which an adapter is more, or something else, than W + scale B A.
_UNSUPPORTED = (
    "use_dora",
    "fan_in_fan_out",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
# Other ways to begin (pissa, olora, corda, loftq, lora_ga) also change the weights they begin from.
_BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True, eq=False)
class LoraDelta:
    """What an adapter adds to the weight of one dense layer.

    Args:
        module: path of the layer in the model that was adapted.
        down: A, float32 of shape (r, n_in).
        up: B, float32 of shape (n_out, r).
        scale: factor of B A.
    """

    module: str
    down: NDArray[np.float32]
    up: NDArray[np.float32]
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """(n_out, n_in)."""
        return self.up.shape[0], self.down.shape[1]

    def change(self) -> NDArray[np.float32]:
        """Computes scale B A, float32 of shape (n_out, n_in).

        Raises:
            EncoderError: it is too large for float32.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            product: NDArray[np.float32] = np.float32(self.scale) * (self.up @ self.down)
        if not np.isfinite(product).all():
            raise EncoderError(
                f"the adapter's change of {self.module} is too large for float32; train it again"
            )
        return product


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraAdapter:
    """An adapter that was read and checked, as far as that goes without a model.

    Args:
        path: its directory.
        digest: 64 hex digits over its weights and their scale.
        targets: ends of the names of all modules that it changes; empty where it names them in
            another way.
        deltas: one for each dense layer.
    """

    path: Path
    digest: str
    targets: tuple[str, ...]
    deltas: tuple[LoraDelta, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """That of the directory."""
        return self.path.resolve().name

    def fitted(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, LoraDelta]:
        """Finds the module of a model that each delta belongs to.

        What the adapted model was wrapped in does not matter: leading parts of a path are dropped
        until it names a module.

        Args:
            shapes: of the weights of all modules, by path in the bare model.

        Returns:
            The deltas by path in the bare model.

        Raises:
            EncoderError: a module is not there or has another shape, or the adapter's weights lack
                a module that its settings name.
        """
        found: dict[str, LoraDelta] = {}
        for delta in self.deltas:
            parts = delta.module.split(".")
            ends = (".".join(parts[start:]) for start in range(len(parts)))
            module = next((end for end in ends if end in shapes), delta.module)
            if module in found or shapes.get(module) != delta.shape:
                there = f"got {shapes[module]}" if module in shapes else "there is none"
                raise EncoderError(
                    f"{self.path} is made for another model: it needs {module} of shape "
                    f"{delta.shape}, {there}; load it with the base that it was trained on"
                )
            found[module] = delta
        missing = sorted(self._targeted(shapes) - found.keys())
        if missing:
            raise EncoderError(
                f"{self.path / _WEIGHTS_FILE}: has no weights for {missing[0]}, which the adapter "
                f"changes ({len(found)} others are there); get the adapter again"
            )
        return found

    def _targeted(self, modules: Iterable[str]) -> set[str]:
        """The modules that the adapter must change; a pooler is not part of every model."""
        return {
            module
            for module in modules
            if not module.startswith("pooler.")
            and any(f".{module}".endswith(f".{target}") for target in self.targets)
        }


def read_lora(directory: Path) -> LoraAdapter:
    """Reads an adapter of PEFT's format; numbers may be stored in 16, 32 or 64 bits.

    Args:
        directory: with `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        EncoderError: it is missing, damaged or of another kind; names the file.
    """
    if not (directory / LORA_CONFIG).is_file():
        what = f"has no {LORA_CONFIG}" if directory.is_dir() else "is not a directory"
        raise EncoderError(
            f"no adapter: {directory} {what}; give a directory that `safe-embed train` or PEFT "
            "saved"
        )
    config = _read_config(directory / LORA_CONFIG)
    rank, alpha = config["r"], config["lora_alpha"]
    scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    path = directory / _WEIGHTS_FILE
    try:
        content = path.read_bytes()
        stored = dict(deserialize(content))  # type: ignore[no-untyped-call,unused-ignore]
    except (OSError, SafetensorError) as error:
        raise EncoderError(
            f"{path}: missing, damaged or truncated ({error}); get the adapter again"
        ) from None
    settings = json.dumps([hashlib.sha256(content).hexdigest(), scale])
    return LoraAdapter(
        path=directory,
        digest=hashlib.sha256(settings.encode()).hexdigest(),
        targets=_targets(config),
        deltas=tuple(_deltas(path, stored, rank, scale)),
    )


def merge_lora(model: torch.nn.Module, adapter: LoraAdapter) -> int:
    """Adds an adapter to the weights of a model of torch, in place.

    The sum is made in float32 and rounded to the type of the weight (Hu et al. 2021, section 4.1).

    Args:
        model: a bare transformer, without a head.
        adapter: made for it.

    Returns:
        How many weights were changed.

    Raises:
        EncoderError: the adapter was made for another model.
    """
    import torch

    weights = {
        name.removesuffix(".weight"): parameter
        for name, parameter in model.named_parameters()
        if name.endswith(".weight")
    }
    deltas = adapter.fitted({name: tuple(one.shape) for name, one in weights.items()})
    with torch.no_grad():
        for module, delta in deltas.items():
            weight = weights[module]
            change = torch.from_numpy(delta.change()).to(weight.device)
            weight.copy_((weight.float() + change).to(weight.dtype))
    return len(deltas)


def _targets(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get("target_modules")
    if not isinstance(names, list) or any(map(config.get, _PARTIAL)):
        return ()
    return tuple(map(str, names))


def _deltas(path: Path, stored: Mapping[str, Any], rank: int, scale: float) -> list[LoraDelta]:
    sides: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, entry in stored.items():
        match = _TENSOR.fullmatch(name)
        if match is None or len(entry["shape"]) != 2:
            raise EncoderError(f"{path}: {name} is no LoRA weight of a dense layer")
        sides.setdefault(match[1], {})[match[2]] = _array(path, name, entry)
    if not sides:
        raise EncoderError(f"{path}: has no weights; get the adapter again")
    for module, side in sides.items():
        if side.keys() != {"A", "B"}:
            raise EncoderError(f"{path}: {module} has one of lora_A and lora_B only")
        if side["A"].shape[0] != rank or side["B"].shape[1] != rank:
            raise EncoderError(f"{path}: {module} is not of rank {rank}, as r says")
    return [
        LoraDelta(module, side["A"], side["B"], scale) for module, side in sorted(sides.items())
    ]


def _array(path: Path, name: str, entry: Mapping[str, Any]) -> NDArray[np.float32]:
    """A stored tensor as float32; bfloat16 is its upper half, and NumPy has no name for it."""
    dtype, data = entry["dtype"], entry["data"]
    if dtype == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif dtype in _DTYPES:
        values = np.frombuffer(data, _DTYPES[dtype]).astype(np.float32)
    else:
        raise EncoderError(f"{path}: the number format {dtype} of {name} is not supported")
    if not np.isfinite(values).all():
        raise EncoderError(f"{path}: {name} holds NaN or infinity; train the adapter again")
    return values.reshape(entry["shape"])


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EncoderError(f"{path}: cannot be read ({error}); get the adapter again") from None
    if config.get("peft_type") != "LORA":
        raise EncoderError(f"{path}: peft_type must be LORA, got {config.get('peft_type')!r}")
    unsupported = [key for key in _UNSUPPORTED if config.get(key)]
    if config.get("bias", "none") != "none":
        unsupported.append("bias")
    if config.get("init_lora_weights") not in _BEGINNINGS:
        unsupported.append(f"init_lora_weights {config['init_lora_weights']!r}")
    if unsupported:
        raise EncoderError(
            f"{path}: {unsupported[0]} is not supported, only plain LoRA of dense layers is"
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not _is_positive(rank) or not isinstance(rank, int) or not _is_positive(alpha):
        raise EncoderError(
            f"{path}: r must be a whole number and lora_alpha a number above 0, got {rank!r} and "
            f"{alpha!r}"
        )
    return config


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _HUGE
