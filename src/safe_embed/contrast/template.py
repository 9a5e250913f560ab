"""The instructions to a model: text files with places for the prompt, which users can replace."""

from __future__ import annotations

import hashlib
import json
import string
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, TypeAlias

from safe_embed.errors import DataError
from safe_embed.records import Prompt

__all__ = ["Direction", "Message", "Template", "edit_template", "explanation_of", "judge_template"]

Direction = Literal["to-safe", "to-unsafe"]
Message: TypeAlias = dict[str, str]

_PLACES = ("task", "id", "prompt", "category", "explanation", "n")
_SHIPPED = files("safe_embed.contrast") / "templates"
_PARTING = "---"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Template:
    """An instruction with places for one task.

    The places are `$id`, `$prompt`, `$category`, `$explanation` and `$n`, and `$task`, which is a
    JSON object of all of them; `$$` is a dollar. A line that is only `---` parts the system
    message from the user's; without it all is the user's.
    """

    text: str
    digest: str
    """SHA-256 of the file, 64 hex digits."""

    @classmethod
    def read(cls, path: Path, needed: Sequence[str]) -> Template:
        """Reads a template of a user.

        Args:
            path: a UTF-8 text file.
            needed: places that it must have, unless it has `$task`.

        Raises:
            DataError: it cannot be read, or has not the places that it must have.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(path, f"cannot be read: {error.strerror or error}") from None
        try:
            template = cls._of(content)
        except UnicodeDecodeError:
            raise DataError(path, "must be UTF-8 text; save it again as UTF-8") from None
        if len(content) > _MAX_BYTES:
            raise DataError(path, f"is over {_MAX_BYTES:,} bytes; a template is a short text")
        parsed = string.Template(template.text)
        if not parsed.is_valid():
            raise DataError(path, "has a $ that begins no place; write $$ for a dollar")
        places = parsed.get_identifiers()
        unknown = [place for place in places if place not in _PLACES]
        if unknown:
            known = ", ".join(f"${place}" for place in _PLACES)
            raise DataError(path, f"has the unknown place ${unknown[0]}; known are {known}")
        missing = [place for place in needed if place not in places]
        if missing and "task" not in places:
            raise DataError(
                path, f"has no place ${missing[0]}; write it where it belongs, or $task"
            )
        return template

    @classmethod
    def shipped(cls, name: str) -> Template:
        """A template of this package."""
        return cls._of((_SHIPPED / name).read_bytes())

    @classmethod
    def _of(cls, content: bytes) -> Template:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
        return cls(text, hashlib.sha256(content).hexdigest())

    def messages(self, *, prompt: Prompt, task_id: str, n: int) -> list[Message]:
        """The messages that ask for one task; what is in a prompt is never read as a place."""
        values: dict[str, str | int] = {
            "id": task_id,
            "prompt": prompt.text,
            "category": prompt.category or "not given",
            "explanation": explanation_of(prompt.category),
            "n": n,
        }
        task = json.dumps(values, ensure_ascii=False)
        before, parting, after = f"\n{self.text}".partition(f"\n{_PARTING}\n")
        parts = [("system", before), ("user", after)] if parting else [("user", before)]
        return [
            {
                "role": role,
                "content": string.Template(part.strip()).substitute(values, task=task),
            }
            for role, part in parts
        ]


def edit_template(direction: Direction, path: Path | None = None) -> Template:
    """The instruction to edit a prompt: a user's own, or the one of this package.

    Raises:
        DataError: the user's cannot be used.
    """
    if path is not None:
        return Template.read(path, ("id", "prompt", "n"))
    return Template.shipped(f"{direction.replace('-', '_')}.txt")


def judge_template() -> Template:
    """The question whether a prompt is safe."""
    return Template.shipped("judge.txt")


def explanation_of(category: str | None) -> str:
    """What a category of harm is about, in a sentence; a general one for other categories."""
    known = _explanations()
    return known.get(category or "", known["other"])


@cache
def _explanations() -> dict[str, str]:
    return tomllib.loads((_SHIPPED / "categories.toml").read_text("utf-8"))
