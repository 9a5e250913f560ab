"""What was fitted on a store: head and calibration, and whether they still fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from safe_embed.detection.calibration import Thresholds
from safe_embed.detection.documents import Calibration, HeadDocument
from safe_embed.detection.explain import UNCALIBRATED, Levels
from safe_embed.detection.heads import fit_head
from safe_embed.detection.index import require_labels
from safe_embed.detection.scorers import Scorer, scorer_settings
from safe_embed.errors import InputError
from safe_embed.stores.base import ExemplarStore

__all__ = ["Fitted"]


@dataclass(frozen=True)
class Fitted:
    """Replaced as a whole by a fit or a calibration, so that a reader never sees half of it."""

    head: HeadDocument | None
    calibration: Calibration | None

    @classmethod
    def on(cls, store: ExemplarStore, scorer: Scorer) -> Self:
        """A fit on the present exemplars, without a calibration.

        Raises:
            InputError: there is no exemplar of a label that the scorer needs.
        """
        require_labels(store, scorer.labels)
        return cls(fit_head(store) if scorer.uses_head else None, None)

    def head_for(self, scorer: Scorer) -> HeadDocument | None:
        """The head, where the scorer uses one."""
        return self.head if scorer.uses_head else None

    def levels(self) -> Levels:
        """How raw scores are read."""
        one = self.calibration
        if one is None:
            return UNCALIBRATED
        thresholds = Thresholds(one.block, one.review, one.block_by_category)
        return Levels(one.probability, thresholds, calibrated=one.probability_is_fitted)

    def require_fit(self, scorer: Scorer) -> None:
        """Refuses a calibration that was made for another scorer or head.

        Raises:
            InputError: it was.
        """
        calibration = self.calibration
        if calibration is None:
            return
        if calibration.scorer != scorer_settings(scorer):
            raise InputError(
                f"the calibration of this store is for the scorer {calibration.scorer}, not for "
                f"{scorer_settings(scorer)}; leave the scorer out, or build the detector anew and "
                "calibrate it"
            )
        head = self.head_for(scorer)
        if calibration.head_digest != (head.digest() if head is not None else None):
            raise InputError(
                "the calibration of this store was made for another head; refit and calibrate again"
            )

    def notes(self, scorer: Scorer, version: int) -> tuple[str, ...]:
        """What a verdict at this version of the index should tell of head and calibration."""
        notes = list(self._calibration_notes(version))
        head = self.head_for(scorer)
        if head is not None and head.index_version != version:
            notes.append(
                f"head fitted at index version {head.index_version}, now {version}: exemplars "
                "changed since count as neighbours only"
            )
        return tuple(notes)

    def _calibration_notes(self, version: int) -> list[str]:
        one = self.calibration
        if one is None:
            return ["not calibrated: no false-positive rate is promised"]
        notes = []
        if one.index_version != version:
            notes.append(
                f"calibrated at index version {one.index_version}, now {version}: calibrate again "
                "to renew the promised false-positive rate"
            )
        if one.n_exemplars:
            notes.append(
                f"{one.n_exemplars} of the {one.n_unsafe + one.n_benign} prompts of the "
                "calibration are exemplars: the false-positive rate is an estimate, not a promise"
            )
        if not one.probability_is_fitted:
            notes.append("calibrated without unsafe prompts: the score is no probability")
        return notes
