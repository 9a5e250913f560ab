"""What was handed to a Batch API: kept beside the output file, so that no job is paid twice."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from safe_embed.contrast.editing import EditSettings
from safe_embed.contrast.template import Direction, Template
from safe_embed.errors import DataError
from safe_embed.files import atomic_file

__all__ = ["BatchState", "Part", "load_state", "save_state", "state_path"]


class Part(BaseModel):
    """One job: some of the prompts, in their order."""

    model_config = ConfigDict(extra="forbid")

    n: int
    """How many prompts."""
    sha256: str
    """Of the requests, so that a changed file of prompts is noticed."""
    file_id: str | None = None
    batch_id: str | None = None


class BatchState(BaseModel):
    """All that `status` and `collect` need to know."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    run_id: str
    """Stands in the metadata of each job."""
    prompts: Path
    model: str
    base_url: str
    """Without credentials."""
    direction: Direction
    n: int
    max_edit: float | None
    temperature: float
    template: str
    template_sha256: str
    parts: list[Part] = []

    def settings(self) -> EditSettings:
        """The settings with which the requests were made."""
        return EditSettings(
            template=Template(self.template, self.template_sha256),
            direction=self.direction,
            n=self.n,
            max_edit=self.max_edit,
            temperature=self.temperature,
        )


def state_path(out: Path) -> Path:
    """The state beside an output file: `sets.jsonl` has `sets.batch.json`."""
    return out.with_name(f"{out.stem}.batch.json")


def save_state(state: BatchState, out: Path) -> None:
    """Writes the state of an output file, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    with atomic_file(state_path(out)) as temporary:
        temporary.write_text(json.dumps(state.model_dump(mode="json"), indent=1), encoding="utf-8")


def load_state(out: Path) -> BatchState:
    """Reads the state of an output file.

    Raises:
        DataError: nothing was submitted for it, or the file is damaged.
    """
    path = state_path(out)
    if not path.exists():
        raise DataError(path, "does not exist; `safe-embed contrast batch submit` writes it")
    try:
        return BatchState.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(path, f"cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(path, f"{where}: {first['msg']}; fetch a whole copy") from None
