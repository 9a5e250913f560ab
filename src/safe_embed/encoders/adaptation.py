"""A base encoder and an adapter: the name BASE+DIR, and whether the two belong together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from safe_embed.encoders.catalogue import EncoderRow
from safe_embed.encoders.lora import LORA_CONFIG, LoraAdapter, read_lora
from safe_embed.errors import EncoderError
from safe_embed.files import sha256_of

__all__ = [
    "TRAINING_FILE",
    "absolute_name",
    "check_base",
    "read_shipped",
    "shipped_directory",
    "split_name",
]

TRAINING_FILE = "training.json"
_SHOWN_DIGITS = 12


def split_name(name: str, is_base: Callable[[str], bool]) -> tuple[str, Path] | None:
    """Splits BASE+DIR; either part may have a plus sign itself.

    Args:
        name: what a user typed.
        is_base: whether a first part looks like an encoder's name.

    Returns:
        The base and the adapter's directory, which need not exist; None where the name has no two
        such parts, or is a directory as a whole.
    """
    if "+" not in name or Path(name).expanduser().exists():
        return None
    pairs = [(base, Path(rest).expanduser()) for base, rest in _splits(name)]
    with_adapter = [(base, path) for base, path in pairs if (path / LORA_CONFIG).is_file()]
    with_base = [(base, path) for base, path in pairs if is_base(base)]
    return next(iter([*with_adapter, *with_base]), None)


def absolute_name(name: str) -> str:
    """The name with its directories made absolute, so that it means the same from anywhere."""
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path.absolute())
    for base, rest in _splits(name):
        directory = Path(rest).expanduser()
        if (directory / LORA_CONFIG).is_file():
            return f"{absolute_name(base)}+{directory.absolute()}"
    return name


def _splits(name: str) -> Iterator[tuple[str, str]]:
    parts = name.split("+")
    for at in range(1, len(parts)):
        base, rest = "+".join(parts[:at]), "+".join(parts[at:])
        if base and rest:
            yield base, rest


def check_base(adapter: LoraAdapter, weights_digest: str | None) -> None:
    """Refuses a base that an adapter of `safe-embed train` was not trained on.

    An adapter without training.json, as PEFT alone saves it, is checked by the names and shapes of
    its modules only, when it is merged.

    Args:
        adapter: what is to be merged.
        weights_digest: SHA-256 of the base's model.safetensors; None where it has no such file.

    Raises:
        EncoderError: training.json names other weights, or is damaged.
    """
    path = adapter.path / TRAINING_FILE
    if not path.exists():
        return
    try:
        base: dict[str, Any] = json.loads(path.read_text("utf-8"))["base"]
        name, expected = str(base["name"]), str(base["weights_sha256"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EncoderError(f"{path}: damaged ({error!r}); get the adapter again") from None
    if weights_digest != expected:
        got = f"{weights_digest[:_SHOWN_DIGITS]}..." if weights_digest else "none"
        raise EncoderError(
            f"{adapter.path} was trained on another base: on {name} with weights "
            f"{expected[:_SHOWN_DIGITS]}..., and the base given has {got}; load it as "
            f"{name}+{adapter.path}"
        )


def shipped_directory(row: EncoderRow) -> Path:
    """Where the package keeps the adapter of a row that has one."""
    return Path(str(files("safe_embed.encoders"))) / "adapters" / row.name


def read_shipped(row: EncoderRow) -> LoraAdapter:
    """Reads the adapter of a row from the package.

    Raises:
        EncoderError: a file is missing, or is not the one that the row pins.
    """
    directory = shipped_directory(row)
    for name, digest in row.adapter_files.items():
        path = directory / name
        if not path.is_file() or sha256_of(path) != digest:
            raise EncoderError(
                f"{path} is missing or is not the file that was shipped; install safe-embed again"
            )
    return read_lora(directory)
