"""The run file: one JSON object, and a Parquet file of per-item values beside it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from safe_embed import datasets
from safe_embed.benchmark.results import Evaluation, Item, Run
from safe_embed.errors import DataError
from safe_embed.files import atomic_file

__all__ = ["items_path", "load_evaluation", "load_items", "load_run", "save_evaluation"]


def items_path(run_path: Path) -> Path:
    """Where the per-item values of a run file are: `NAME.json` has `NAME.items.parquet`."""
    return run_path.with_name(f"{run_path.name.removesuffix('.json')}.items.parquet")


def save_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Writes the run file and the items beside it, each whole or not at all.

    The items come first, so that a run file always has its items.

    Raises:
        StorageError: the directory cannot be written, or the disk is full.
    """
    items = evaluation.items
    columns = {
        name: [getattr(item, name) for item in items]
        for name in ("task", "id", "group", "text", "others", "neighbors", "cosines", "score")
    }
    datasets.write_parquet(items_path(path), columns)
    with atomic_file(path) as temporary:
        temporary.write_text(evaluation.run.model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_evaluation(path: Path) -> Evaluation:
    """Reads a run file and the items beside it: what `save_evaluation` wrote.

    Raises:
        DataError: one of the two cannot be read.
    """
    return Evaluation(run=load_run(path), items=load_items(path))


def load_run(path: Path) -> Run:
    """Reads a run file.

    Raises:
        DataError: no such file, no run file, or one of another schema version.
    """
    try:
        return Run.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(path, f"cannot read it: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise DataError(
            path, f"is no run file of schema version 1 ({where}: {first['msg']}); make it again"
        ) from None


def load_items(run_path: Path) -> list[Item]:
    """Reads the per-item values of a run file.

    Raises:
        DataError: the Parquet file is missing or has other columns.
    """
    path = items_path(run_path)
    columns = datasets.read_parquet(path)
    try:
        rows = zip(*columns.values(), strict=True)
        return [Item(**dict(zip(columns, row, strict=True))) for row in rows]
    except TypeError:
        raise DataError(path, "does not hold the items of a run; make the run again") from None
