"""The detector: tells unsafe prompts from safe ones by the exemplars that they are near to."""

from safe_embed.detection.default import default_detector
from safe_embed.detection.detector import Detector
from safe_embed.detection.evaluation import DetectionReport, evaluate_detector
from safe_embed.detection.perturbations import PERTURBATIONS, perturb, perturb_items
from safe_embed.detection.scorers import SCORERS, Scorer, make_scorer
from safe_embed.detection.verdict import Verdict

__all__ = [
    "PERTURBATIONS",
    "SCORERS",
    "DetectionReport",
    "Detector",
    "Scorer",
    "Verdict",
    "default_detector",
    "evaluate_detector",
    "make_scorer",
    "perturb",
    "perturb_items",
]
