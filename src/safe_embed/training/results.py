"""What a training was and what came of it: the records of training.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from safe_embed.benchmark import Comparison
from safe_embed.metrics.bootstrap import Interval
from safe_embed.training.recipe import Recipe

__all__ = [
    "Base",
    "DataUsed",
    "MeasureChange",
    "SimilarityKept",
    "Training",
    "TrainingResults",
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Base(_Record):
    """The encoder that was adapted."""

    name: str
    weights_sha256: str
    fingerprint: str


class DataUsed(_Record):
    """What was trained on and what was held out."""

    sources: dict[str, str]
    """SHA-256 of the prompts of each source, by its name."""
    n_texts: int
    n_unsafe: int
    n_pairs: int
    digest: str
    n_held_out: int
    held_out_digest: str
    n_test_prompts_dropped: int
    checked_against: tuple[str, ...]
    """Test sets that the training prompts were compared with."""


class MeasureChange(_Record):
    """A measure on the held-out prompts, with the base and with the adapted encoder."""

    before: float | None
    before_ci95: Interval | None
    after: float | None
    after_ci95: Interval | None


class SimilarityKept(_Record):
    """What is left of general similarity: cosines of random pairs of ordinary prompts."""

    correlation: float
    """Pearson's, of the cosines of base and adapted encoder."""
    n_pairs: int
    average_before: float
    average_after: float


class TrainingResults(_Record):
    """Before and after."""

    tasks: Comparison
    """The three tasks: the base, then the adapted encoder, with paired tests."""
    detection: dict[str, MeasureChange]
    """On the held-out prompts, which neither the adapter, the index nor the head has seen."""
    pair_accuracy_p_value: float | None
    """Of a paired sign-flip test: is a pair ordered rightly before and after."""
    similarity: SimilarityKept


class Training(_Record):
    """Provenance of an adapter: training.json."""

    schema_version: Literal[1] = 1
    base: Base
    recipe: Recipe
    seed: int
    data: DataUsed
    n_steps: int
    final_loss: float
    number_format: str
    device: str
    seconds: float
    versions: dict[str, str]
    results: TrainingResults
