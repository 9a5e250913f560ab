"""The score of each text that was measured, as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from safe_embed.detection.evaluation import ItemScore

__all__ = ["require_item_file", "write_items"]


def require_item_file(path: Path) -> None:
    """Refuses a name by which no file of items is written.

    Raises:
        InputError: it ends neither with .parquet nor with .jsonl.
    """
    from safe_embed.errors import InputError

    if path.suffix not in {".parquet", ".jsonl"}:
        raise InputError(f"--items {path}: its name must end with .parquet or .jsonl")


def write_items(path: Path, items: Sequence[ItemScore]) -> None:
    """Writes one row a text, whole or not at all.

    Args:
        path: .parquet or .jsonl; replaced where it exists.
        items: at least one.

    Raises:
        StorageError: it cannot be written.
    """
    from safe_embed.datasets import write_parquet
    from safe_embed.files import atomic_file

    if path.suffix == ".jsonl":
        with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(f"{one.model_dump_json()}\n" for one in items)
        return
    columns: dict[str, list[object]] = {name: [] for name in type(items[0]).model_fields}
    for one in items:
        for name, column in columns.items():
            # A column of empty lists has no type in Parquet, so the categories are one text.
            value = getattr(one, name)
            column.append("; ".join(value) if isinstance(value, tuple) else value)
    write_parquet(path, columns)
