"""Makes the adapters that the package ships again, and prints their rows of catalogue.toml.

    python tools/make_adapters.py OUT --data-dir DIR [--paper-dir DIR] [--base sbert-all=DIR]
        [--only minilm-safety]

Needs the extra torch, the weights of both bases, the paper's data, which the training prompts are
compared with, and the benign permissive sets of docs/recipe-permissive-sets.md; the paper's data
may lie in a directory of its own.

The thresholds are calibrated on the unsafe prompts that were held out and on the benign prompts of
the permissive sets: benign prompts that were held out of safe-embed-core come from the sittings of
those that were trained on, and a tuned encoder scores them lower than other people's.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from safe_embed.datasets import load_core
from safe_embed.datasets.catalogue import load
from safe_embed.detection import Detector
from safe_embed.detection.default import REVIEW_FPR, split_core
from safe_embed.detection.shipped import CALIBRATION_FILE
from safe_embed.encoders import load_encoder
from safe_embed.files import sha256_of
from safe_embed.records import Prompt
from safe_embed.stores.sqlite import SqliteStore
from safe_embed.training.artefact import INDEX_FILE
from safe_embed.training.overlap import known_test_sets

BASES = {"minilm-safety": "minilm", "mpnet-safety": "sbert-all"}
PAPER = frozenset(("xstest-aug", "do-not-answer", "contrast-sets"))
BENIGN = ("self-instruct-user", "self-instruct-seed", "mt-bench", "vicuna-bench", "i-alpaca")
FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "calibration.json",
    "head.json",
    "README.md",
    "training.json",
)


def calibration_prompts(data_dir: Path) -> list[Prompt]:
    """Held-out unsafe prompts of safe-embed-core, and other people's benign ones."""
    held_out = split_core(load_core("train")).calibration
    found = [one for one in held_out if one.label == "unsafe"]
    for name in BENIGN:
        found += [one for one in load(name, data_dir).records if isinstance(one, Prompt)]
    return list({one.text: one for one in found}.values())


def make(name: str, base: str, out: Path, data_dir: Path, paper_dir: Path) -> None:
    """Trains one adapter and calibrates its detector."""
    if missing := PAPER.difference(known_test_sets(paper_dir)):
        raise SystemExit(f"{paper_dir} has no {', '.join(sorted(missing))}; give --paper-dir")
    directory = out / name
    command = ["safe-embed", "train", "--encoder", base, "--data", "safe-embed-core", "--seed", "0"]
    command += ["--drop-test-prompts", "--data-dir", str(paper_dir), "--out", str(directory)]
    subprocess.run(command, check=True)
    calibrate(name, base, directory, data_dir)


def calibrate(name: str, base: str, directory: Path, data_dir: Path) -> None:
    """Calibrates anew, and prints the row of the catalogue."""
    store = SqliteStore.open(directory / INDEX_FILE)
    detector = Detector.open(store, load_encoder(f"{base}+{directory}"))
    detector.calibrate(calibration_prompts(data_dir), max_fpr=0.01, review_fpr=REVIEW_FPR)
    assert detector.calibration is not None
    text = detector.calibration.model_dump_json(indent=1) + "\n"
    (directory / CALIBRATION_FILE).write_text(text, "utf-8")
    store.close()
    print(f"[{name}.adapter_files]")
    for file in FILES:
        print(f'"{file}" = "{sha256_of(directory / file)}"')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--paper-dir", type=Path, help="by default the same")
    parser.add_argument("--base", action="append", default=[], help="NAME=DIR of weights")
    parser.add_argument("--only", choices=BASES)
    parser.add_argument("--calibrate-only", action="store_true", help="of what OUT has already")
    arguments = parser.parse_args()
    given = dict(one.split("=", 1) for one in arguments.base)
    for name, base in BASES.items():
        if arguments.only not in (None, name):
            continue
        place = given.get(base, base)
        if arguments.calibrate_only:
            calibrate(name, place, arguments.out / name, arguments.data_dir)
        else:
            paper_dir = arguments.paper_dir or arguments.data_dir
            make(name, place, arguments.out, arguments.data_dir, paper_dir)


if __name__ == "__main__":
    main()
