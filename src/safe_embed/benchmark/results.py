"""The records of a run: what `evaluate` returns and the run file holds (docs/run-file.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "CategoryBoundary",
    "CategoryPurity",
    "EncoderInfo",
    "Evaluation",
    "Item",
    "Run",
    "SafetyChallenging",
    "SafetyContrast",
    "SafetyTaxonomy",
    "Settings",
    "SuiteInfo",
    "TaskName",
    "TaskResults",
    "Truncation",
    "TypeSimilarity",
]

TaskName = Literal["safety_challenging", "safety_contrast", "safety_taxonomy"]
Ci95 = tuple[float, float]


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TypeSimilarity(_Result):
    """Safety-Challenging for one type of pair."""

    n: int
    cosine: float
    """Mean cosine of the pairs."""
    normalized_similarity: float
    """Mean normalised similarity; lower separates better."""
    ci95: Ci95
    """Of the normalised similarity."""


class SafetyChallenging(TypeSimilarity):
    """Safety-Challenging over all pairs, and by type."""

    by_type: dict[str, TypeSimilarity]


class CategoryBoundary(_Result):
    """Safety-Contrast for one category of harm."""

    n: int
    max_cosine: float
    """Mean over prompts of the largest cosine with a safe edit."""
    mean_cosine: float
    """Mean cosine over all edits of all prompts."""
    boundary_similarity: float
    """`max_cosine` normalised by the average similarity; lower separates better."""
    ci95: Ci95
    """Of the boundary similarity."""


class SafetyContrast(CategoryBoundary):
    """Safety-Contrast over all prompts, and by category."""

    by_category: dict[str, CategoryBoundary]


class CategoryPurity(_Result):
    """Safety-Taxonomy for one category of harm."""

    n: int
    categorical_purity: float
    """Mean share of the k nearest other prompts that have the same category; higher is better."""
    chance: float
    """Purity of a random ranking: (n_c - 1) / (n - 1)."""
    ci95: Ci95


class SafetyTaxonomy(_Result):
    """Safety-Taxonomy over all categories, and by category."""

    n: int
    k: int
    categorical_purity: float
    """Unweighted mean of the categories' purities (the paper's score)."""
    over_prompts: float
    """Mean over prompts instead, so that large categories weigh more."""
    chance: float
    """Unweighted mean of the categories' chance levels."""
    ci95: Ci95
    """Of `categorical_purity`."""
    by_category: dict[str, CategoryPurity]


class TaskResults(_Result):
    """Results of the tasks that were asked for; None for the others."""

    safety_challenging: SafetyChallenging | None = None
    safety_contrast: SafetyContrast | None = None
    safety_taxonomy: SafetyTaxonomy | None = None


class EncoderInfo(_Result):
    """Which encoder was measured, and the average similarity its scores are normalised by."""

    name: str
    fingerprint: str
    dimension: int
    average_similarity: float
    average_similarity_source: str
    """`published`, `given`, or `measured: ` and the name of the prompts."""


class SuiteInfo(_Result):
    """Which data the encoder was measured on."""

    name: str
    digests: dict[str, str]
    """SHA-256 of each file that was read, by part of the suite."""


class Truncation(_Result):
    """Which texts the encoder could not read to their end."""

    max_tokens: int
    """Where it cut them."""
    n: int
    """Number of distinct texts that were cut."""
    items: tuple[str, ...]
    """Task and id of the items with such a text, the first 100."""


class Settings(_Result):
    """All that a person chose and that could change a number."""

    tasks: tuple[TaskName, ...]
    k: int
    seed: int
    n_resamples: int


class Run(_Result):
    """One suite on one encoder: the run file."""

    schema_version: Literal[1] = 1
    encoder: EncoderInfo
    suite: SuiteInfo
    settings: Settings
    tasks: TaskResults
    truncation: Truncation | None
    """None where the encoder cannot tell."""
    timing_s: dict[str, float]
    threads: int | None
    """Of one batch on the CPU; None where the encoder does not say."""
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Item:
    """What one pair, contrast set or prompt contributed; a row of the Parquet file."""

    task: TaskName
    id: str
    group: str
    """Type of the pair, category of the prompt."""
    text: str
    """The unsafe prompt."""
    others: list[str]
    """What it is compared with: the safe twin, the safe edits; empty for Safety-Taxonomy."""
    neighbors: list[str]
    """Ids of the k nearest other prompts, nearest first; empty for the other tasks."""
    cosines: list[float]
    """With each of `others`, or each of `neighbors`."""
    score: float
    """Normalised similarity, boundary similarity, or purity."""


@dataclass(frozen=True)
class Evaluation:
    """A run and what each item contributed to it."""

    run: Run
    items: list[Item]
