"""An index before and after it was embedded with another encoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from safe_embed.reports.verdict_text import shown

if TYPE_CHECKING:
    from safe_embed.detection import DetectionReport
    from safe_embed.reports.detection_tables import CalibrationSummary

__all__ = ["ReembedSide", "reembed_view"]

_MEASURES: Final = {
    "auroc": "AUROC *",
    "true_positive_rate": "unsafe blocked (TPR) *",
    "false_positive_rate": "safe blocked (FPR) *",
    "review_true_positive_rate": "unsafe blocked or reviewed *",
    "review_false_positive_rate": "safe blocked or reviewed *",
}


@dataclass(frozen=True, kw_only=True)
class ReembedSide:
    """The detector of an index before, or after."""

    encoder: str
    average_similarity: float | None
    """None where no detector was on the index."""
    average_similarity_source: str | None
    calibration: CalibrationSummary | None
    measured: DetectionReport | None
    """On the prompts of the new calibration; None where it could not be."""

    def fields(self) -> dict[str, object]:
        """For JSON."""
        report = self.measured
        return {
            "encoder": self.encoder,
            "average_similarity": self.average_similarity,
            "average_similarity_source": self.average_similarity_source,
            "calibration": asdict(self.calibration) if self.calibration else None,
            "on_calibration_prompts": {
                "n_unsafe": report.n_unsafe,
                "n_safe": report.n_safe,
                "n_exemplars": report.n_exemplars,
                **{name: report.measures[name].model_dump() for name in _MEASURES},
            }
            if report
            else None,
        }

    def rows(self) -> dict[str, str]:
        """Title and text of each fact."""
        average = self.average_similarity
        rows = {
            "encoder": shown(self.encoder),
            "average similarity": "-" if average is None else f"{average:.4f}",
            "taken from": shown(self.average_similarity_source or "-"),
            **(self.calibration.rows() if self.calibration else {}),
        }
        if self.measured is not None:
            for name, title in _MEASURES.items():
                one = self.measured.measures[name]
                if one.value is not None and one.ci95 is not None:
                    low, high = one.ci95
                    rows[title] = f"{one.value:.3f} ({low:.3f} to {high:.3f})"
        return rows


def reembed_view(before: ReembedSide, after: ReembedSide) -> RenderableType:
    """Both detectors side by side, and what the measures are worth."""
    sides = {"before": before.rows(), "after": after.rows()}
    table = Table("", *sides)
    for title in dict.fromkeys(title for one in sides.values() for title in one):
        table.add_row(Text(title), *(Text(one.get(title, "-")) for one in sides.values()))
    report = after.measured
    if report is None:
        return table
    told = (
        f"* on the {report.n_unsafe:,} unsafe and {report.n_safe:,} safe prompts by which `after` "
        "was calibrated, with 95 % intervals: its rates are those of the data that chose its "
        "thresholds; `safe-embed detect-eval` measures on others"
    )
    return Group(table, Text(told))
