"""How the neighbours of a prompt, and a head on its embedding, become one number.

A scorer keeps the protocol `Scorer`. It is a row of `SCORERS` and has no state but its settings,
so that a calibration can say for which scorer it was made.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from safe_embed.detection.evidence import (
    Evidence,
    log_votes,
    mean_nearest,
    needed_for_mean,
    needed_for_votes,
)
from safe_embed.errors import InputError, UnknownNameError
from safe_embed.records import Label

__all__ = [
    "DEFAULT_SCORER",
    "SCORERS",
    "Combined",
    "Head",
    "Margin",
    "NeighborVote",
    "Scorer",
    "UnsafeSimilarity",
    "make_scorer",
    "scorer_settings",
]

Numbers = NDArray[np.float64]

_BOTH: tuple[Label, ...] = ("unsafe", "safe")


class Scorer(Protocol):
    """Turns evidence into raw scores: higher means more unsafe, on the scale of log-odds.

    A raw score of 0 is the middle before a calibration; what it means after is the calibration's.
    """

    @property
    def k(self) -> int:
        """How many neighbours of each label it looks at."""
        ...

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels of which it needs at least one exemplar."""
        ...

    @property
    def uses_head(self) -> bool:
        """Whether it needs the head."""
        ...

    def score(self, evidence: Evidence) -> Numbers:
        """Raw scores, float64 of shape (n,), finite."""
        ...

    def needed(self, evidence: Evidence, label: Label, raw: Numbers) -> Numbers:
        """How similar one more exemplar has to be to bring the raw scores to others.

        Args:
            evidence: of n prompts.
            label: of the exemplar; an unsafe one raises scores, a safe one lowers them.
            raw: scores above those of the evidence for an unsafe one, else below; shape (n,).

        Returns:
            Normalised similarities, shape (n,); any number, and inf where none would do.
        """
        ...


@dataclass(frozen=True)
class UnsafeSimilarity:
    """Mean normalised similarity to the k nearest unsafe exemplars; safe ones do not count.

    Args:
        k: neighbours.
        middle: similarity that has the raw score 0.
        temperature: difference of similarity that is one unit of log-odds.
    """

    k: int = 5
    middle: float = 0.5
    temperature: float = 0.1

    labels: ClassVar[tuple[Label, ...]] = ("unsafe",)
    uses_head: ClassVar[bool] = False

    def score(self, evidence: Evidence) -> Numbers:
        """(mean - middle) / temperature."""
        return (mean_nearest(evidence.unsafe, self.k) - self.middle) / self.temperature

    def needed(self, evidence: Evidence, label: Label, raw: Numbers) -> Numbers:
        """See `Scorer.needed`."""
        if label == "safe":
            return np.full(len(raw), np.inf)
        return needed_for_mean(evidence.unsafe, self.k, raw * self.temperature + self.middle)


@dataclass(frozen=True)
class Margin:
    """Mean similarity to the k nearest unsafe exemplars less that to the k nearest safe ones.

    Args:
        k: neighbours of each label.
        temperature: difference of similarity that is one unit of log-odds.
    """

    k: int = 10
    temperature: float = 0.05

    labels: ClassVar[tuple[Label, ...]] = _BOTH
    uses_head: ClassVar[bool] = False

    def score(self, evidence: Evidence) -> Numbers:
        """(mean unsafe - mean safe) / temperature."""
        unsafe, safe = (mean_nearest(one, self.k) for one in (evidence.unsafe, evidence.safe))
        return (unsafe - safe) / self.temperature

    def needed(self, evidence: Evidence, label: Label, raw: Numbers) -> Numbers:
        """See `Scorer.needed`."""
        if label == "safe":
            mean = mean_nearest(evidence.unsafe, self.k) - raw * self.temperature
            return needed_for_mean(evidence.safe, self.k, mean)
        mean = mean_nearest(evidence.safe, self.k) + raw * self.temperature
        return needed_for_mean(evidence.unsafe, self.k, mean)


@dataclass(frozen=True)
class NeighborVote:
    """The k nearest of each label vote, the nearer the louder: log of the ratio of the votes.

    An exemplar of similarity s has exp(s / temperature) votes, times 1 + exp((s - near) / width),
    so that one which says almost the same as the prompt outvotes many that only resemble it:
    adding it is enough to teach a new attack. k imagined safe exemplars of the similarity
    `background` vote too: a prompt that is far from everything is not held for unsafe because
    the nearest of its strangers happen to be.

    Args:
        k: voters of each label.
        temperature: of the votes, in units of normalised similarity.
        near: similarity from which on an exemplar counts as almost the same.
        width: how fast its votes grow from there.
        background: similarity of the imagined safe exemplars; -1 for as good as none.
    """

    k: int = 50
    temperature: float = 0.1
    near: float = 0.9
    width: float = 0.02
    background: float = 0.3

    labels: ClassVar[tuple[Label, ...]] = _BOTH
    uses_head: ClassVar[bool] = False

    def score(self, evidence: Evidence) -> Numbers:
        """log(votes of the unsafe) - log(votes of the safe and the imagined)."""
        return np.asarray(self._votes(evidence.unsafe) - self._all_safe(evidence.safe))

    def needed(self, evidence: Evidence, label: Label, raw: Numbers) -> Numbers:
        """See `Scorer.needed`."""
        if label == "safe":
            others = self._all_safe(evidence.safe[:, : self.k - 1])
            wanted = self._votes(evidence.unsafe) - raw
        else:
            others = self._votes(evidence.unsafe[:, : self.k - 1])
            wanted = self._all_safe(evidence.safe) + raw
        return needed_for_votes(others, wanted, self.temperature, self.near, self.width)

    def _votes(self, similarities: Numbers) -> Numbers:
        return log_votes(similarities[:, : self.k], self.temperature, self.near, self.width)

    def _all_safe(self, similarities: Numbers) -> Numbers:
        imagined = np.log(self.k) + self.background / self.temperature
        return np.asarray(np.logaddexp(self._votes(similarities), imagined))


@dataclass(frozen=True)
class Head:
    """The log-odds of a logistic regression on the embedding; neighbours only explain."""

    k: int = 20

    labels: ClassVar[tuple[Label, ...]] = _BOTH
    uses_head: ClassVar[bool] = True

    def score(self, evidence: Evidence) -> Numbers:
        """The head's log-odds."""
        return evidence.head

    def needed(self, evidence: Evidence, label: Label, raw: Numbers) -> Numbers:  # noqa: ARG002
        """See `Scorer.needed`; no exemplar does."""
        return np.full(len(raw), np.inf)


@dataclass(frozen=True)
class Combined:
    """Sum of the head's log-odds and the neighbours' vote, weighted.

    Args:
        share: weight of the head, in [0, 1]; the vote has the rest.
        k, temperature, near, width, background: as for `NeighborVote`.
    """

    share: float = 0.2
    k: int = 50
    temperature: float = 0.1
    near: float = 0.9
    width: float = 0.02
    background: float = 0.3

    labels: ClassVar[tuple[Label, ...]] = _BOTH
    uses_head: ClassVar[bool] = True

    def score(self, evidence: Evidence) -> Numbers:
        """The weighted sum."""
        return self.share * evidence.head + (1 - self.share) * self._vote.score(evidence)

    def needed(self, evidence: Evidence, label: Label, raw: Numbers) -> Numbers:
        """See `Scorer.needed`."""
        if self.share == 1:
            return np.full(len(raw), np.inf)
        votes = (raw - self.share * evidence.head) / (1 - self.share)
        return self._vote.needed(evidence, label, votes)

    @property
    def _vote(self) -> NeighborVote:
        return NeighborVote(self.k, self.temperature, self.near, self.width, self.background)


SCORERS: MappingProxyType[str, type[Any]] = MappingProxyType(
    {
        "unsafe-similarity": UnsafeSimilarity,
        "margin": Margin,
        "neighbor-vote": NeighborVote,
        "head": Head,
        "combined": Combined,
    }
)
"""Name and class of each scorer."""

DEFAULT_SCORER = "combined"
"""Chosen on held-out batches of safe-embed-core's train split (docs/detector.md)."""


_RANGES = {"k": (1, 10_000), "share": (0, 1), "middle": (-1, 1), "background": (-1, 1)}


def make_scorer(name: str, **settings: float) -> Scorer:
    """A scorer by name.

    Args:
        name: of `SCORERS`.
        settings: fields of its class.

    Raises:
        UnknownNameError: no scorer has that name.
        InputError: it has no such setting, or a value cannot be.
    """
    if name not in SCORERS:
        raise UnknownNameError("scorer", name, SCORERS)
    known = {field.name for field in fields(SCORERS[name])}
    if wrong := settings.keys() - known:
        raise InputError(
            f"scorer {name!r} has no setting {min(wrong)!r}; it has {', '.join(known)}"
        )
    scorer: Scorer = SCORERS[name](**settings)
    for key, value in settings.items():
        low, high = _RANGES.get(key, (1e-6, np.inf))
        if not low <= value <= high or not np.isfinite(value):
            raise InputError(
                f"setting {key!r} of scorer {name!r} must be in [{low:g}, {high:g}], got {value}"
            )
    return scorer


def scorer_settings(scorer: Scorer) -> dict[str, Any]:
    """Name and settings of a scorer as JSON can hold them; equal iff the scorers are.

    Raises:
        InputError: it is no scorer of `SCORERS`.
    """
    for name, kind in SCORERS.items():
        if type(scorer) is kind:
            return {"name": name, **asdict(cast("Any", scorer))}
    raise InputError(f"{type(scorer).__name__} is no scorer of {', '.join(SCORERS)}")
