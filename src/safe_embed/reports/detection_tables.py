"""Tables of a detector for people: its calibration, and how good it is on labelled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from safe_embed.reports.verdict_text import percent, short_category, shown
from safe_embed.taxonomy import PAIR_TYPES

if TYPE_CHECKING:
    from safe_embed.detection import DetectionReport
    from safe_embed.detection.documents import Calibration
    from safe_embed.detection.evaluation import GroupResult, Measure

__all__ = ["CalibrationSummary", "calibration_view", "evaluation_tables"]

_MEASURES: Final = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "tpr_at_fpr_1": "TPR at 1 % FPR",
    "tpr_at_fpr_5": "TPR at 5 % FPR",
    "pair_accuracy": "pair accuracy: unsafe above its safe twin",
    "calibration_error": "expected calibration error",
    "f1": "F1 of blocking, at the threshold",
    "precision": "precision of blocking",
    "true_positive_rate": "unsafe blocked (TPR)",
    "false_positive_rate": "safe blocked (FPR)",
    "review_true_positive_rate": "unsafe blocked or reviewed",
    "review_false_positive_rate": "safe blocked or reviewed",
    "oracle_f1": "oracle F1: best threshold for these very data",
}
_OF_TYPES: Final = (
    "auroc", "tpr_at_fpr_5", "true_positive_rate", "false_positive_rate", "pair_accuracy",
)  # fmt: skip
_OF_CATEGORIES: Final = (
    "auroc", "tpr_at_fpr_5", "true_positive_rate", "review_true_positive_rate",
)  # fmt: skip
_SHORT: Final = {
    "pair_accuracy": "pair accuracy",
    "true_positive_rate": "unsafe blocked",
    "false_positive_rate": "safe blocked",
    "review_true_positive_rate": "blocked or reviewed",
}


@dataclass(frozen=True, kw_only=True)
class CalibrationSummary:
    """What a calibration says, with thresholds on the scale of the score; for JSON, `asdict`."""

    encoder: str
    scorer: Mapping[str, object]
    index_version: int
    method: str
    calibrated: bool
    """Whether the score is a probability."""
    n_unsafe: int
    n_benign: int
    n_exemplars: int
    max_fpr: float
    review_fpr: float
    threshold: float
    review_threshold: float
    threshold_by_category: dict[str, float]

    @classmethod
    def of(cls, calibration: Calibration, encoder: str) -> Self:
        """The summary of a detector's calibration.

        Args:
            calibration: of a detector.
            encoder: its encoder's name.
        """
        import numpy as np  # not needed for --help

        def score(raw: float) -> float:
            return float(calibration.probability.probabilities(np.array([raw]))[0])

        return cls(
            encoder=encoder,
            scorer=calibration.scorer,
            index_version=calibration.index_version,
            method=calibration.probability.kind,
            calibrated=calibration.probability_is_fitted,
            n_unsafe=calibration.n_unsafe,
            n_benign=calibration.n_benign,
            n_exemplars=calibration.n_exemplars,
            max_fpr=calibration.max_fpr,
            review_fpr=calibration.review_fpr,
            threshold=score(calibration.block),
            review_threshold=score(min(calibration.review, calibration.block)),
            threshold_by_category={
                name: score(raw) for name, raw in calibration.block_by_category.items()
            },
        )

    def rows(self) -> dict[str, str]:
        """Title and text of each fact."""
        return {
            "encoder": shown(self.encoder),
            "scorer": str(self.scorer["name"]),
            "index version": str(self.index_version),
            "unsafe prompts": f"{self.n_unsafe:,}",
            "benign prompts": f"{self.n_benign:,}",
            "of them exemplars": f"{self.n_exemplars:,}",
            "probability by": self.method if self.calibrated else "none: no unsafe prompts",
            "block above": f"{self.threshold:.4f}",
            "benign blocked, at most": percent(self.max_fpr),
            "review above": f"{self.review_threshold:.4f}",
            "benign blocked or reviewed, at most": percent(self.review_fpr),
            **{
                f"block above, {short_category(name)}": f"{value:.4f}"
                for name, value in self.threshold_by_category.items()
            },
        }


def calibration_view(columns: Mapping[str, CalibrationSummary | None]) -> RenderableType:
    """Calibrations side by side.

    Args:
        columns: title and summary of each; None for no calibration.
    """
    rows = {title: {} if one is None else one.rows() for title, one in columns.items()}
    table = Table("", *columns)
    for name in dict.fromkeys(name for one in rows.values() for name in one):
        table.add_row(Text(name), *(Text(one.get(name, "-")) for one in rows.values()))
    return table


def evaluation_tables(
    report: DetectionReport, perturbed: Mapping[str, GroupResult]
) -> RenderableType:
    """Every measure with its interval; by category, by type, and after each perturbation."""
    head = (
        f"{report.n_unsafe:,} unsafe and {report.n_safe:,} safe texts, {report.n_pairs:,} pairs; "
        f"encoder {report.encoder.name}, index version {report.index_version}, "
        f"scorer {report.scorer['name']}"
    )
    parts: list[RenderableType] = [Text(head), _whole(report)]
    if report.by_category:
        names = {name: short_category(name) for name in report.by_category}
        title = "by category of harm: its unsafe texts against all safe ones"
        parts += [Text(""), Text(title), _groups(report.by_category, names, _OF_CATEGORIES)]
    if report.by_type:
        names = {name: PAIR_TYPES.get(name, shown(name, 60)) for name in report.by_type}
        parts += [Text(""), Text("by type of pair"), _groups(report.by_type, names, _OF_TYPES)]
    if perturbed:
        groups = {"as given": report, **perturbed}
        names = dict(zip(groups, groups, strict=True))
        parts += [Text(""), Text("after a perturbation"), _groups(groups, names, _OF_TYPES)]
    parts.append(Text("intervals: 95 %, bootstrap over prompts, pairs and contrast sets"))
    return Group(*parts)


def _whole(report: GroupResult) -> Table:
    table = Table("measure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    for name, title in _MEASURES.items():
        one = report.measures[name]
        if one.value is not None and one.ci95 is not None:
            low, high = one.ci95
            table.add_row(title, f"{one.value:.3f}", f"{low:.3f} to {high:.3f}")
    return table


def _groups(
    groups: Mapping[str, GroupResult], titles: Mapping[str, str], measures: Sequence[str]
) -> Table:
    table = Table()
    table.add_column("unsafe + safe", overflow="fold")
    for name in measures:
        table.add_column(_SHORT.get(name, _MEASURES[name]), justify="right", min_width=9)
    for name, group in groups.items():
        title = Text(titles[name])
        title.append(f"\n{group.n_unsafe:,} + {group.n_safe:,}", style="dim")
        table.add_row(title, *(_cell(group.measures[one]) for one in measures))
    return table


def _cell(measure: Measure) -> str:
    if measure.value is None or measure.ci95 is None:
        return "-"
    low, high = measure.ci95
    return f"{measure.value:.3f}\n{low:.2f}-{high:.2f}"
