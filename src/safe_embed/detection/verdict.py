"""What the detector answers, so that a person can see why."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Decision", "EncoderName", "Nearest", "Neighbor", "Verdict", "VerdictWindow"]

Decision = Literal["allow", "review", "block"]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Neighbor(_Record):
    """An exemplar near to the prompt."""

    id: str
    text: str
    category: str | None
    source: str
    similarity: float
    """Normalised: 1 for the same embedding, 0 for two arbitrary prompts."""
    cosine: float


class Nearest(_Record):
    """The nearest exemplars of each label, nearest first."""

    unsafe: tuple[Neighbor, ...]
    safe: tuple[Neighbor, ...]


class VerdictWindow(_Record):
    """The part of the prompt that has the largest score."""

    start: int
    """First character, in the prompt as given, or in its normalised form."""
    end: int
    """One after the last character."""
    text: str
    of: Literal["prompt", "normalized prompt"]
    n_windows: int
    """How many parts were scored."""


class EncoderName(_Record):
    """Which encoder compared the texts."""

    name: str
    fingerprint: str


class Verdict(_Record):
    """The answer to one prompt.

    `decision` is `block` where the score is above `threshold`, `review` where it is above
    `review_threshold` only, else `allow`.
    """

    decision: Decision
    score: Probability
    """Calibrated probability that the prompt is unsafe, at the share of unsafe prompts among the
    calibration data. Where `calibrated` is False: 1 / (1 + exp(-raw score)), a number that ranks
    and promises nothing."""
    raw_score: float
    """Before the calibration, on the scale of log-odds: ranks prompts where `score` is near 0 or 1
    and no longer tells them apart."""
    threshold: Probability
    """For blocking, on the scale of `score`."""
    review_threshold: Probability
    calibrated: bool
    categories: dict[str, Probability]
    """Score that the prompt is unsafe in this category of harm: the score times the category's
    weight among the nearest unsafe exemplars; largest first, those below 0.01 left out."""
    fired_categories: tuple[str, ...]
    """Categories with at least a quarter of that weight; empty where the decision is `allow`."""
    evidence: Nearest
    margin: float | None
    """Normalised similarity to the nearest unsafe exemplar less that to the nearest safe one;
    None where a label is missing."""
    flip: str
    """What would change the decision."""
    window: VerdictWindow
    encoder: EncoderName
    index_version: int
    notes: tuple[str, ...]
