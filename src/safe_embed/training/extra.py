"""What training needs beside the base install: torch, and PEFT for the adapter."""

from __future__ import annotations

from importlib.util import find_spec

from safe_embed.errors import InputError, MissingExtraError

__all__ = ["chosen_device", "require_torch"]


def require_torch() -> None:
    """Refuses where the extra `torch` is not installed.

    Raises:
        MissingExtraError: torch, transformers or peft is missing.
    """
    if not all(map(find_spec, ("torch", "transformers", "peft"))):
        raise MissingExtraError("torch", needed_for="training")


def chosen_device(name: str | None) -> str:
    """The device to train on: as asked, or else a GPU where there is one.

    Raises:
        InputError: there is no such device.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise InputError(f"device must be cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU that torch can use; leave --device out")
    return name
