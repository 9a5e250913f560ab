"""Tensors of a model.safetensors under the names of the bare transformer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from safe_embed.encoders.lora import LoraAdapter
from safe_embed.errors import EncoderError, UnsupportedModelError

__all__ = ["Weights", "open_weights"]

_DTYPES = frozenset({"F32", "F16", "F64"})
_WEIGHT = ".weight"
# Checkpoints that were once converted from TensorFlow call a layer norm's tensors this.
_OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}


class _TensorSlice(Protocol):
    def get_shape(self) -> list[int]: ...

    def get_dtype(self) -> str: ...


class _TensorFile(Protocol):
    """What is used of `safetensors.safe_open`, which has no types of its own."""

    def keys(self) -> list[str]: ...

    def get_slice(self, name: str) -> _TensorSlice: ...

    def get_tensor(self, name: str) -> NDArray[Any]: ...


class Weights:
    """An open file of tensors; made by `open_weights`."""

    def __init__(
        self, path: Path, file: _TensorFile, prefix: str, adapter: LoraAdapter | None
    ) -> None:
        self._path = path
        self._file = file
        self._stored_names = {_bare_name(name, prefix): name for name in file.keys()}  # noqa: SIM118
        self._deltas = {} if adapter is None else adapter.fitted(self._shapes())

    def __contains__(self, name: str) -> bool:
        return name in self._stored_names

    def take(self, name: str, *shape: int) -> NDArray[np.float32]:
        """One tensor as float32, with what the adapter adds to it.

        Args:
            name: without the prefix of the architecture.
            shape: the shape that it must have.

        Raises:
            EncoderError: it is not there, or has another shape; or the adapter's change of it is
                too large.
            UnsupportedModelError: it is not stored as float16, float32 or float64.
        """
        if name not in self:
            raise EncoderError(
                f"{self._path}: the tensor {name} is missing; config.json describes another model, "
                "or the file is incomplete"
            )
        stored = self._file.get_slice(self._stored_names[name])
        if tuple(stored.get_shape()) != shape:
            raise EncoderError(
                f"{self._path}: the tensor {name} must have shape {shape} by config.json, "
                f"got {tuple(stored.get_shape())}"
            )
        if stored.get_dtype() not in _DTYPES:
            raise UnsupportedModelError(
                self._path.parent, f"the number format {stored.get_dtype()}"
            )
        tensor: NDArray[np.float32] = self._file.get_tensor(self._stored_names[name]).astype(
            np.float32, copy=False
        )
        delta = self._deltas.get(name.removesuffix(_WEIGHT)) if name.endswith(_WEIGHT) else None
        return tensor if delta is None else tensor + delta.change()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights of all modules, by path in the bare model."""
        return {
            name.removesuffix(_WEIGHT): tuple(self._file.get_slice(stored).get_shape())
            for name, stored in self._stored_names.items()
            if name.endswith(_WEIGHT)
        }


@contextmanager
def open_weights(path: Path, prefix: str, adapter: LoraAdapter | None = None) -> Iterator[Weights]:
    """Opens a safetensors file; names lose `prefix` where they have it.

    Args:
        path: the file.
        prefix: before every name when the weights were saved with a task head.
        adapter: merged into the tensors as they are taken.

    Raises:
        EncoderError: the file is truncated or is no safetensors file, or the adapter was made for
            another model.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            yield Weights(path, cast("_TensorFile", file), prefix, adapter)
    except (SafetensorError, OSError) as error:
        raise EncoderError(
            f"{path}: damaged or truncated ({error}); fetch the model again"
        ) from error


def _bare_name(name: str, prefix: str) -> str:
    name = name.removeprefix(prefix)
    for old, new in _OLD_ENDINGS.items():
        if name.endswith("LayerNorm" + old):
            return name.removesuffix(old) + new
    return name
