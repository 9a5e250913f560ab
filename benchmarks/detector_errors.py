"""Where is a detector wrong? The worst errors on safe-embed-core's held-out fifth.

    python benchmarks/detector_errors.py [--encoder minilm-safety] [--n 30]

Neither the index nor, for a shipped adapter, the training has seen these texts. Prints the unsafe
ones with the lowest scores, the ordinary benign ones and the safe twins with the highest, and the
pairs in which the safe twin scores furthest above the unsafe one.
"""

from __future__ import annotations

import argparse

from safe_embed.datasets import CoreRecord, load_core
from safe_embed.datasets.core_set import is_held_out
from safe_embed.detection import default_detector
from safe_embed.encoders import load_encoder


def show(title: str, lines: list[str]) -> None:
    print(f"\n{title}\n" + "\n".join(lines), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm-safety")
    parser.add_argument("--n", type=int, default=30)
    arguments = parser.parse_args()
    detector = default_detector(load_encoder(arguments.encoder, cache=True))
    held = [one for one in load_core("train") if is_held_out(one.group or one.id)]
    verdicts = detector.check_many([one.text for one in held])
    score = {one.id: verdict.score for one, verdict in zip(held, verdicts, strict=True)}
    nearest = {
        one.id: verdict.evidence.unsafe[0].text for one, verdict in zip(held, verdicts, strict=True)
    }

    def line(one: CoreRecord) -> str:
        text = " ".join(one.text.split())[:140]
        what = one.type or one.category
        return f"{score[one.id]:.3f} | {what} | {text} | nearest: {nearest[one.id][:80]}"

    def worst(records: list[CoreRecord], *, highest: bool) -> list[str]:
        ordered = sorted(records, key=lambda one: score[one.id], reverse=highest)
        return [line(one) for one in ordered[: arguments.n]]

    unsafe = [one for one in held if one.label == "unsafe"]
    show("unsafe, lowest scores", worst(unsafe, highest=False))
    benign = [one for one in held if one.part == "benign"]
    show("ordinary benign, highest scores", worst(benign, highest=True))
    twins = [one for one in held if one.part == "pair" and one.label == "safe"]
    show("safe twins, highest scores", worst(twins, highest=True))
    unsafe_twin = {one.group: one for one in unsafe if one.part == "pair"}
    gaps = sorted(twins, key=lambda one: score[unsafe_twin[one.group].id] - score[one.id])
    wrong = [one for one in gaps if score[unsafe_twin[one.group].id] < score[one.id]]
    print(f"\n{len(wrong)} of {len(twins)} pairs in the wrong order")
    show(
        "pairs in the wrong order, widest gaps",
        [
            f"{line(one)}\n      unsafe twin {line(unsafe_twin[one.group])}"
            for one in wrong[: arguments.n]
        ],
    )


if __name__ == "__main__":
    main()
