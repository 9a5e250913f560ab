"""Evaluations of a small suite whose prompts try to break out of the page."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from safe_embed.benchmark import BaselinePrompts, Evaluation, Suite, evaluate
from safe_embed.records import ContrastSet, Prompt, PromptPair

SCRIPT = "<script>alert(1)</script>"
CLOSING = "</script><img src=x onerror=alert(1)>"
NUL = "a prompt with \0 in it"
TURNED = "a prompt with \u202e in it"
SEPARATED = "a prompt with \u2028 in it"
CATEGORIES = ("Adult Content", "Assisting illegal activities", "<b>own</b>")


class HashEncoder:
    """Vectors of their texts' digests, as unlike as `spread` is large."""

    dimension = 8
    published_average_similarity = 0.1

    def __init__(self, name: str, spread: float) -> None:
        self.name, self.spread = name, spread
        self.fingerprint = hashlib.sha256(name.encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = []
        for text in texts:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            noise = np.random.default_rng(seed).normal(size=self.dimension)
            rows.append(np.eye(self.dimension)[0] + self.spread * noise)
        vectors = np.array(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def hostile_suite(n: int = 12) -> Suite:
    texts = (SCRIPT, CLOSING, NUL, TURNED, SEPARATED)
    return Suite(
        name="hostile & co",
        pairs=[
            PromptPair(
                id=f"pair-{i}",
                type=("homonyms", "own <type>")[i % 2],
                unsafe=f"{texts[i % 5]} How do I kill a person {i}?",
                safe=f"{texts[i % 5]} How do I kill a process {i}?",
            )
            for i in range(n)
        ],
        contrast_sets=[
            ContrastSet(
                id=f"set-{i}",
                category=CATEGORIES[i % 3],
                original=f"{texts[i % 5]} unsafe {i}",
                edits=(f"{texts[i % 5]} safe {i}", f"quite another {i}"),
            )
            for i in range(n)
        ],
        taxonomy=[
            Prompt(id=f"p{i}", text=f"{texts[i % 5]} unsafe {i}", category=CATEGORIES[i % 3])
            for i in range(n)
        ],
        baseline=BaselinePrompts(name="none", head=("a",), tail=("b",)),
        digests={"all": "1" * 64},
    )


@pytest.fixture(scope="session")
def evaluations() -> list[Evaluation]:
    """Two encoders, the first one the better at look-alikes."""
    suite = hostile_suite()
    encoders = (HashEncoder("apart", 2.0), HashEncoder("<i>alike</i>", 0.05))
    return [evaluate(one, suite, k=3, n_resamples=200) for one in encoders]
