"""How good is the default detector? On test sets that nothing was trained, chosen or tuned on.

    python benchmarks/detector_test_sets.py [--encoder minilm] [--data-dir DIR]

The index of safe-embed-core's train split, calibrated on a held-out fifth of it, is scored once on
XSTest's 250 pairs as the paper extends them, on the test pairs of safe-embed-core, and on its
benign prompts (whose rates of block and review are those that were promised). What hiding a request
costs is measured by robustness.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from safe_embed.benchmark import load_suite
from safe_embed.datasets import load_core, pairs_of, prompts_of
from safe_embed.detection import Detector, default_detector, evaluate_detector
from safe_embed.encoders import load_encoder
from safe_embed.records import Prompt, PromptPair

MEASURES = ("auroc", "tpr_at_fpr_1", "tpr_at_fpr_5", "pair_accuracy", "calibration_error")


def row(name: str, detector: Detector, pairs: Sequence[PromptPair]) -> None:
    found = evaluate_detector(detector, pairs)
    cells = []
    for measure in MEASURES:
        one = found.measures[measure]
        low, high = one.ci95 or (float("nan"), float("nan"))
        cells.append(f"{one.value:.3f} ({low:.3f} to {high:.3f})")
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def rates(name: str, detector: Detector, prompts: Sequence[Prompt]) -> None:
    decisions = [one.decision for one in detector.check_many([prompt.text for prompt in prompts])]
    blocked, review = (decisions.count(one) / len(prompts) for one in ("block", "review"))
    print(f"{len(prompts)} {name}: blocked {blocked:.3f}, to review {review:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--data-dir", type=Path, help="the paper's files; fetched when left out")
    arguments = parser.parse_args()
    xstest = load_suite("paper", data_dir=arguments.data_dir).pairs
    test = load_core("test")
    encoder = load_encoder(arguments.encoder, cache=True)
    detector = default_detector(encoder)
    print(f"{encoder.name}, {len(detector.store.exemplars())} exemplars")
    print("| data | " + " | ".join(MEASURES) + " |")
    print("|---" * (1 + len(MEASURES)) + "|")
    row("XSTest, 250 pairs", detector, xstest)
    row("safe-embed-core, 280 test pairs", detector, pairs_of(test))
    rates("ordinary benign prompts", detector, prompts_of(test, "benign"))
    rates("single unsafe prompts", detector, prompts_of(test, "taxonomy"))


if __name__ == "__main__":
    main()
