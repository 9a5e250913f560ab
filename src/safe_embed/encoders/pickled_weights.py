"""Pickled weights, read without running what a pickle could run, become safetensors."""

from __future__ import annotations

from pathlib import Path

from safe_embed.errors import EncoderError, MissingExtraError, first_line
from safe_embed.files import atomic_file

__all__ = ["convert_pickle"]


def convert_pickle(source: Path, target: Path) -> None:
    """Writes the tensors of a `pytorch_model.bin` as safetensors.

    The pickle is read in torch's weights_only mode, which knows tensors and plain containers and
    refuses everything else before it runs. Whether a pickle may be read at all, and that its digest
    is the pinned one, is for the caller to decide.

    Args:
        source: the pickle.
        target: the safetensors file to write, whole or not at all.

    Raises:
        EncoderError: it holds something else than named tensors, or is damaged.
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError:
        raise MissingExtraError("torch", needed_for="reading pickled weights") from None
    try:
        tensors = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch and pickle raise many kinds
        first = first_line(error)
        raise EncoderError(
            f"{source}: is no pickle of tensors alone, so it was not read ({first})"
        ) from None
    if not isinstance(tensors, dict) or not tensors:
        raise EncoderError(f"{source}: must hold named tensors, got {type(tensors).__name__}")
    for name, tensor in tensors.items():
        dense = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not isinstance(name, str) or not dense:
            raise EncoderError(f"{source}: {name!r} is no dense tensor")
    # Copies, because tensors that share memory are refused by the format.
    separate = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    with atomic_file(target) as temporary:
        save_file(separate, temporary, metadata={"format": "pt"})
