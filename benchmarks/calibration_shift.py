"""Whose benign prompts calibrate? What a threshold from one set of them blocks of the others.

    python benchmarks/calibration_shift.py --data-dir DIR [--encoder minilm-safety]

Conformal thresholds at 1 % from the ordinary benign prompts that were held out of safe-embed-core's
train split, which were written in the same sittings as those that were trained on, and from the
benign permissive sets in DIR; each applied to both and to safe-embed-core's benign test prompts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safe_embed.datasets import load_core, prompts_of
from safe_embed.datasets.catalogue import load
from safe_embed.datasets.core_set import is_held_out
from safe_embed.detection import Detector, default_detector
from safe_embed.encoders import load_encoder
from safe_embed.metrics.detection import conformal_threshold
from safe_embed.records import Prompt

PERMISSIVE = ("self-instruct-user", "self-instruct-seed", "mt-bench", "vicuna-bench", "i-alpaca")


def raw_scores(detector: Detector, texts: list[str]) -> NDArray[np.float64]:
    return np.array([one.raw_score for one in detector.check_many(texts)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm-safety")
    parser.add_argument("--data-dir", type=Path, required=True)
    arguments = parser.parse_args()
    detector = default_detector(load_encoder(arguments.encoder, cache=True))
    held_out = [
        one
        for one in load_core("train")
        if one.part == "benign" and is_held_out(one.group or one.id)
    ]
    records = [one for name in PERMISSIVE for one in load(name, arguments.data_dir).records]
    permissive = list(dict.fromkeys(one.text for one in records if isinstance(one, Prompt)))
    texts = {
        "held out": [one.text for one in held_out],
        "permissive": permissive,
        "test": [one.text for one in prompts_of(load_core("test"), "benign")],
    }
    scores = {name: raw_scores(detector, some) for name, some in texts.items()}
    for name in ("held out", "permissive"):
        threshold = conformal_threshold(scores[name], 0.01)
        blocked = ", ".join(
            f"{(some > threshold).mean():.3f} of {len(some)} {of}" for of, some in scores.items()
        )
        print(f"{arguments.encoder}, calibrated on {name}: blocked {blocked}")


if __name__ == "__main__":
    main()
