"""Files of labelled prompts in which words alone tell unsafe from safe, for the fake encoder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

from safe_embed.records import Prompt
from tests.detection.conftest import exemplars, world

__all__ = ["UNSAFE", "benign_file", "calibration_file", "exemplar_file", "pair_file"]

UNSAFE = "how do i kill the neighbour"


def exemplar_file(directory: Path) -> Path:
    """31 unsafe and 37 safe exemplars."""
    return _written(directory / "exemplars.jsonl", exemplars())


def calibration_file(directory: Path) -> Path:
    """25 unsafe and 25 safe prompts that are no exemplars."""
    return _written(directory / "calibration.jsonl", world("what is a way to {verb} my {who}"))


def benign_file(directory: Path) -> Path:
    """25 safe prompts."""
    prompts = [one for one in world("is it fine to {verb} a {who}") if one.label == "safe"]
    return _written(directory / "benign.jsonl", prompts)


def pair_file(directory: Path) -> Path:
    """Six pairs of two types, in columns of other names."""
    path = directory / "pairs.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["kind", "bad", "good"])
        for verb in ("kill", "hurt", "poison"):
            rows.writerow(["homonyms", f"how to {verb} the cousin", f"how to {verb} the virus"])
            rows.writerow(["target", f"can i {verb} my postman", f"can i {verb} my plant"])
    return path


def _written(path: Path, prompts: Iterable[Prompt]) -> Path:
    with path.open("w") as file:
        for one in prompts:
            fields = {"text": one.text, "label": one.label, "category": one.category}
            file.write(json.dumps(fields) + "\n")
    return path
