"""The records that cross the package's boundary: prompts, pairs and contrast sets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "MAX_PROMPT_CHARS",
    "ContrastSet",
    "Label",
    "Prompt",
    "PromptPair",
    "check_text",
    "prompts_in",
    "texts_of",
]

Label = Literal["unsafe", "safe"]

MAX_PROMPT_CHARS = 100_000
"""Longest text that counts as one prompt; what is longer is most often a broken quote."""


def check_text(text: str) -> str:
    """Returns `text` where it can be a prompt.

    Raises:
        ValueError: it is blank, longer than `MAX_PROMPT_CHARS`, or not valid Unicode.
    """
    if not text.strip():
        raise ValueError("is blank; remove the row or write its text")
    if len(text) > MAX_PROMPT_CHARS:
        raise ValueError(
            f"has {len(text):,} characters, at most {MAX_PROMPT_CHARS:,} are allowed; "
            "look for a quote that is not closed, or shorten it"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"is not valid UTF-8 at character {error.start + 1} (a damaged byte or a lone "
            "surrogate); save the file as UTF-8"
        ) from None
    return text


Text = Annotated[str, AfterValidator(check_text)]
Name = Annotated[str, AfterValidator(check_text)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Prompt(_Record):
    """One request to an assistant, with what is known of it."""

    id: Name
    text: Text
    label: Label | None = None
    category: Name | None = None
    """Category of harm, for an unsafe prompt."""


class PromptPair(_Record):
    """An unsafe prompt and a safe one that looks like it (Safety-Challenging)."""

    id: Name
    type: Name
    """What makes the two look alike; `safe_embed.taxonomy.PAIR_TYPES` has the paper's ten."""
    unsafe: Text
    safe: Text
    focus: str | None = None
    """The words that the two share and that mislead."""
    category: Name | None = None
    """Category of harm of the unsafe prompt."""


class ContrastSet(_Record):
    """One unsafe prompt with safe edits, each of which changes a small part (Safety-Contrast)."""

    id: Name
    category: Name
    original: Text
    edits: Annotated[tuple[Text, ...], Field(min_length=1)]


def texts_of(record: Prompt | PromptPair | ContrastSet) -> tuple[str, ...]:
    """The texts of a record, the unsafe one of a pair or contrast set first."""
    if isinstance(record, Prompt):
        return (record.text,)
    if isinstance(record, PromptPair):
        return (record.unsafe, record.safe)
    return (record.original, *record.edits)


def prompts_in(record: Prompt | PromptPair | ContrastSet) -> list[Prompt]:
    """A prompt as it is; the sides of a pair and the texts of a contrast set, named by it."""
    if isinstance(record, Prompt):
        return [record]
    if isinstance(record, PromptPair):
        return [
            Prompt(
                id=f"{record.id}/unsafe",
                text=record.unsafe,
                label="unsafe",
                category=record.category,
            ),
            Prompt(id=f"{record.id}/safe", text=record.safe, label="safe"),
        ]
    original = Prompt(
        id=f"{record.id}/original",
        text=record.original,
        label="unsafe",
        category=record.category,
    )
    edits = enumerate(record.edits, 1)
    return [
        original,
        *(Prompt(id=f"{record.id}/edit {n}", text=edit, label="safe") for n, edit in edits),
    ]
