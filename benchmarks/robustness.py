"""What does hiding a request cost the default detector? The same data after each perturbation.

    python benchmarks/robustness.py [--encoder minilm] [--data-dir DIR | --core-only]
        [--only NAME] [--seed 0]

Prints two tables. Pairs: XSTest's 250, as the paper extends them, and the test pairs of
safe-embed-core; AUROC, TPR at 5 % FPR and pair accuracy with 95 % intervals; both sides of a pair
are changed in the same way. Promise: what the thresholds, calibrated on unchanged prompts, block
and send to review of safe-embed-core's benign and single unsafe test prompts, changed alike. These
are test sets: nothing may be chosen by them (that was done on a held-out fifth of the train split).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from safe_embed.benchmark import load_suite
from safe_embed.datasets import load_core, pairs_of, prompts_of
from safe_embed.detection import PERTURBATIONS, Detector, default_detector, evaluate_detector
from safe_embed.detection.perturbations import perturb_items
from safe_embed.encoders import load_encoder
from safe_embed.records import Prompt, PromptPair

CLEAN = "as given"
Item = TypeVar("Item", Prompt, PromptPair)
AT_ONCE = 64  # bounds the memory for the windows of padded prompts
MEASURES = ("auroc", "tpr_at_fpr_5", "pair_accuracy")


def pair_cells(detector: Detector, pairs: Sequence[PromptPair]) -> list[str]:
    """The measures of pairs, each with its interval."""
    found = evaluate_detector(detector, pairs)
    cells = []
    for name in MEASURES:
        measure = found.measures[name]
        low, high = measure.ci95 or (float("nan"), float("nan"))
        cells.append(f"{measure.value:.3f} ({low:.3f} to {high:.3f})")
    return cells


def rate_cells(detector: Detector, prompts: Sequence[Prompt]) -> list[str]:
    """Shares of the prompts that are blocked, and that are blocked or reviewed."""
    texts = [one.text for one in prompts]
    decisions = [
        verdict.decision
        for start in range(0, len(texts), AT_ONCE)
        for verdict in detector.check_many(texts[start : start + AT_ONCE])
    ]
    blocked = decisions.count("block") / len(prompts)
    return [f"{blocked:.3f}", f"{blocked + decisions.count('review') / len(prompts):.3f}"]


def show(cells: Sequence[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def head(titles: Sequence[str]) -> None:
    show(titles)
    print("|---" * len(titles) + "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--data-dir", type=Path, help="the paper's files; fetched when left out")
    parser.add_argument("--core-only", action="store_true", help="without XSTest")
    parser.add_argument(
        "--only",
        action="append",
        choices=[CLEAN, *PERTURBATIONS],
        help="one kind of change; may be given more than once",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    test = load_core("test")
    pairs_by_name = {"safe-embed-core": pairs_of(test)}
    if not arguments.core_only:
        pairs_by_name["XSTest"] = load_suite("paper", data_dir=arguments.data_dir).pairs
    benign, unsafe = prompts_of(test, "benign"), prompts_of(test, "taxonomy")
    encoder = load_encoder(arguments.encoder, cache=True)
    detector = default_detector(encoder)
    names = arguments.only or [CLEAN, *PERTURBATIONS]
    print(f"{encoder.name}, {len(detector.store.exemplars())} exemplars, seed {arguments.seed}\n")

    def changed(items: Sequence[Item], name: str) -> Sequence[Item]:
        return items if name == CLEAN else perturb_items(items, name, seed=arguments.seed)

    for data, pairs in pairs_by_name.items():
        head((f"{data}, {len(pairs)} pairs", *MEASURES))
        for name in names:
            show((name, *pair_cells(detector, changed(pairs, name))))
        print()
    head(
        (
            "promise",
            f"{len(benign)} benign: blocked",
            "blocked or reviewed",
            f"{len(unsafe)} unsafe: blocked",
            "blocked or reviewed",
        )
    )
    for name in names:
        rates = [rate_cells(detector, changed(items, name)) for items in (benign, unsafe)]
        show((name, *rates[0], *rates[1]))


if __name__ == "__main__":
    main()
