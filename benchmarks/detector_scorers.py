"""Which scorer should be the default? Compared on held-out batches of the train split.

    python benchmarks/detector_scorers.py [--encoder minilm] [--folds 4] [--robustness]

Each fold holds out whole batches of safe-embed-core (sittings in which the texts were written):
their texts are scored by an index of the other batches, raw, without a calibration. No test set is
read. Prints AUROC of all texts, AUROC of unsafe texts against ordinary ones, the share of unsafe
texts found at 1 % and 5 % of ordinary ones flagged, and the pair accuracy, each with its 95 %
bootstrap interval, which resamples pairs. With --robustness also the default scorer's figures
after each perturbation.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

from safe_embed.datasets import CoreRecord, load_core
from safe_embed.detection import PERTURBATIONS, Detector, Scorer, make_scorer, perturb
from safe_embed.detection.index import embed
from safe_embed.detection.prepare import prepare
from safe_embed.detection.scorers import DEFAULT_SCORER
from safe_embed.encoders import Encoder, load_encoder
from safe_embed.metrics.detection import Estimate, auroc, estimate, pair_accuracy, tpr_at_fpr
from safe_embed.records import Prompt

VARIANTS: dict[str, tuple[str, dict[str, float]]] = {
    "mean of top-1 unsafe": ("unsafe-similarity", {"k": 1}),
    "mean of top-5 unsafe": ("unsafe-similarity", {"k": 5}),
    "mean of top-20 unsafe": ("unsafe-similarity", {"k": 20}),
    "margin, k = 1": ("margin", {"k": 1}),
    "margin, k = 10": ("margin", {"k": 10}),
    "margin, k = 50": ("margin", {"k": 50}),
    "vote, T = 0.05": ("neighbor-vote", {"temperature": 0.05}),
    "vote": ("neighbor-vote", {}),
    "vote, T = 0.2": ("neighbor-vote", {"temperature": 0.2}),
    "vote, k = 20": ("neighbor-vote", {"k": 20}),
    "vote, k = 200": ("neighbor-vote", {"k": 200}),
    "vote, no background": ("neighbor-vote", {"background": -1}),
    "vote, background 0.5": ("neighbor-vote", {"background": 0.5}),
    "head": ("head", {}),
    "combined, head 0.1": ("combined", {"share": 0.1}),
    "combined (head 0.2)": ("combined", {}),
    "combined, head 0.4": ("combined", {"share": 0.4}),
    "combined, head 0.6": ("combined", {"share": 0.6}),
    "combined, no background": ("combined", {"background": -1}),
}


def prompt(record: CoreRecord) -> Prompt:
    category = record.category if record.label == "unsafe" else None
    return Prompt(id=record.id, text=record.text, label=record.label, category=category)


def folds_of(records: Sequence[CoreRecord], n_folds: int) -> list[set[str]]:
    """Batches dealt into folds, part by part, so that each fold has some of each part."""
    batches = sorted({(one.part, one.batch) for one in records})
    return [{batch for _, batch in batches[fold::n_folds]} for fold in range(n_folds)]


def raw_scores(
    detectors: Sequence[Detector],
    folds: Sequence[set[str]],
    records: Sequence[CoreRecord],
    scorer: Scorer,
    change: Callable[[str], str] = lambda text: text,
) -> np.ndarray:
    scores = np.empty(len(records))
    for detector, batches in zip(detectors, folds, strict=True):
        rows = [row for row, one in enumerate(records) if one.batch in batches]
        judge = detector.judge(scorer)
        prepared = prepare([change(records[row].text) for row in rows])
        scores[rows] = np.concatenate([one.raw for one in judge.score(prepared)])
    return scores


def figures(records: Sequence[CoreRecord], raw: np.ndarray) -> list[Estimate]:
    unsafe = np.array([one.label == "unsafe" for one in records])
    groups = [one.group or one.id for one in records]
    ordinary = np.array([one.label == "unsafe" or one.part == "benign" for one in records])
    side: dict[str, dict[str, float]] = {}
    for one, score in zip(records, raw, strict=True):
        if one.part == "pair":
            side.setdefault(str(one.group), {})[one.label] = float(score)
    differences = np.array([one["unsafe"] - one["safe"] for one in side.values() if len(one) == 2])
    found = [estimate(auroc, raw, unsafe, clusters=groups)]
    of_ordinary = raw[ordinary], unsafe[ordinary]
    clusters = [group for group, one in zip(groups, ordinary, strict=True) if one]
    found += [
        estimate(metric, *of_ordinary, clusters=clusters)
        for metric in (auroc, tpr_at_fpr(0.01), tpr_at_fpr(0.05))
    ]
    ones = np.ones(len(differences), dtype=bool)
    return [*found, estimate(pair_accuracy, differences, ones)]


def show(name: str, found: Sequence[Estimate]) -> None:
    cells = [f"{one.value:.3f} ({one.ci95[0]:.3f}-{one.ci95[1]:.3f})" for one in found]
    print(f"{name:<26}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--every", type=int, default=1, help="only each n-th group, for a trial")
    parser.add_argument("--robustness", action="store_true")
    arguments = parser.parse_args()
    encoder: Encoder = load_encoder(arguments.encoder, cache=True)
    records = load_core("train")
    kept = set(sorted({one.group or one.id for one in records})[:: arguments.every])
    records = tuple(one for one in records if (one.group or one.id) in kept)
    embed(encoder, [one.text for one in records])  # once, into the cache
    folds = folds_of(records, arguments.folds)
    detectors = [
        Detector.build([prompt(one) for one in records if one.batch not in batches], encoder)
        for batches in folds
    ]
    print(f"{len(records)} texts, {arguments.folds} folds of whole batches, {encoder.name}")
    titles = ("AUROC", "AUROC, ordinary", "TPR at 1 %", "TPR at 5 %", "pair accuracy")
    print(" " * 26 + "".join(f"{title:>22}" for title in titles))
    for name, (kind, settings) in VARIANTS.items():
        raw = raw_scores(detectors, folds, records, make_scorer(kind, **settings))
        show(name, figures(records, raw))
    if arguments.robustness:
        print(f"\n{DEFAULT_SCORER} after each perturbation")
        scorer = make_scorer(DEFAULT_SCORER)
        for name in PERTURBATIONS:

            def change(text: str, name: str = name) -> str:
                return perturb(text, name)

            show(name, figures(records, raw_scores(detectors, folds, records, scorer, change)))


if __name__ == "__main__":
    main()
